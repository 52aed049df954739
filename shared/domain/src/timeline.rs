//! What happened to a workload, in order: read by the events operation, live streams, history and the audit trail.

use serde::{Deserialize, Serialize};

use crate::{MessageId, NodeId, Timestamp, lifecycle::State, message::Message};

/// One change of a workload. There is exactly one for each version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The workload's version after the change, counting from 1.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// What kind of change: `submitted`, `placed`, `extended`, `note`, ...
    pub kind: String,
    /// The state after the change.
    pub phase: State,
    /// How far a launch has come, in percent.
    pub progress: u8,
    /// What happened, in words for the owner.
    pub message: String,
    /// Who did it: a user's name, or the part of the plane.
    pub by: String,
}

impl Entry {
    /// A workload was placed.
    #[must_use]
    pub fn placed(version: u64, node: &NodeId, at: Timestamp) -> Self {
        Self {
            version,
            at,
            kind: "placed".to_owned(),
            phase: State::Placed,
            progress: State::Placed.progress(),
            message: format!("Placed on node {node}"),
            by: "slipway".to_owned(),
        }
    }
}

/// Messages that a change sends: kept with its timeline entry, in the same transaction, until they have been handed to the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// What an answer calls the message.
    pub id: MessageId,
    /// The messages.
    pub messages: Vec<Message>,
    /// Whoever commits the change sends them. Others are left to the sweep, which sends what was not sent: nobody waits for them.
    pub urgent: bool,
}
