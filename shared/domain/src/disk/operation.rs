//! What was asked of a disk and takes its time.

use serde::{Deserialize, Serialize};

use crate::{OperationId, Timestamp};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A new disk.
    Create,
    /// Its deletion.
    Delete,
    /// Its return.
    Undelete,
    /// A snapshot.
    Snapshot,
    /// A new disk that begins as another one is.
    Branch,
    /// An earlier snapshot as what the disk is from now on.
    Restore,
}

impl Action {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Undelete => "undelete",
            Self::Snapshot => "snapshot",
            Self::Branch => "branch",
            Self::Restore => "restore",
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody has begun.
    Queued,
    /// It is being done.
    Running,
    /// It is done.
    Completed,
    /// It cannot be done.
    Failed,
}

impl Status {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// An operation, as its owner asks about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What was asked.
    pub action: Action,
    /// How far it is.
    pub status: Status,
    /// Why it failed, in words for the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
}

impl Operation {
    /// What was asked at `at`, as it stands then.
    #[must_use]
    pub const fn new(id: OperationId, action: Action, status: Status, at: Timestamp) -> Self {
        Self { id, action, status, error: None, created_at: at, updated_at: at }
    }
}
