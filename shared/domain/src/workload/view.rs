//! How the GPU-jobs dialect names a workload's state (checklist, "One lifecycle, five projections").

use serde::{Deserialize, Serialize};

use super::Workload;
use crate::lifecycle::{Cause, Stage, State};

/// A job's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for GPUs.
    Queued,
    /// GPUs are booked, and it is being launched.
    Preparing,
    /// It is its owner's; also while it ends.
    Active,
    /// It ended in its time: expired, completed or idle.
    Expired,
    /// It was cancelled.
    Cancelled,
    /// It failed, or was preempted.
    Failed,
}

impl JobStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Preparing, Self::Active, Self::Expired, Self::Cancelled, Self::Failed];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether the workload has ended.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Expired | Self::Cancelled | Self::Failed)
    }

    /// The status that a state shows as; `cause` is what ended it.
    #[must_use]
    pub const fn of(state: State, cause: Option<Cause>) -> Self {
        match (state.stage(), cause) {
            (Stage::Waiting, _) => Self::Queued,
            (Stage::Launching, _) => Self::Preparing,
            (Stage::Running | Stage::Ending, _) => Self::Active,
            (Stage::Over, Some(Cause::Expired | Cause::Completed | Cause::Idle)) => Self::Expired,
            (Stage::Over, Some(Cause::Cancelled)) => Self::Cancelled,
            (Stage::Over, Some(Cause::Failed | Cause::Preempted) | None) => Self::Failed,
        }
    }
}

/// The status of a node or an instance (checklist 000#13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// It waits for GPUs, or for its machine.
    Launching,
    /// Its machine is there, and its model's server is being set up.
    Initializing,
    /// It answers.
    Active,
    /// It could not be launched, or what it ran on went away.
    Failed,
    /// It is ending.
    Terminating,
    /// It ended because it was told to, or nobody used it.
    Terminated,
}

impl NodeStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Launching, Self::Initializing, Self::Active, Self::Failed, Self::Terminating, Self::Terminated];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Launching => "launching",
            Self::Initializing => "initializing",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }

    /// The status that a state shows as; `cause` is what ended it.
    #[must_use]
    pub const fn of(state: State, cause: Option<Cause>) -> Self {
        match (state, cause) {
            (State::Queued | State::Placed | State::Provisioning, _) => Self::Launching,
            (State::InstanceReady | State::Installing | State::ModelLoading | State::HealthCheck, _) => {
                Self::Initializing
            }
            (State::Active, _) => Self::Active,
            (State::Draining, _) => Self::Terminating,
            (State::Ended, Some(Cause::Expired | Cause::Completed | Cause::Idle | Cause::Cancelled)) => {
                Self::Terminated
            }
            (State::Ended, Some(Cause::Failed | Cause::Preempted) | None) => Self::Failed,
        }
    }
}

impl Workload {
    /// Its status as that of a node.
    #[must_use]
    pub fn node_status(&self) -> NodeStatus {
        NodeStatus::of(self.state, self.ending.as_ref().map(|ending| ending.cause))
    }

    /// Where its model answers, while it is active: at the fleet's address, and never at one that the agent says.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        self.authority().map(|authority| format!("http://{authority}"))
    }

    /// The host and the port at which its model answers, while it is active.
    #[must_use]
    pub fn authority(&self) -> Option<String> {
        let address = self.address.as_ref().filter(|_| self.state == State::Active)?;
        let port = address.model_port?;
        // An IPv6 address stands in brackets (RFC 3986, section 3.2.2).
        let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
        Some(format!("{host}:{port}"))
    }

    /// Its status as its owner sees it.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        JobStatus::of(self.state, self.ending.as_ref().map(|ending| ending.cause))
    }
}
