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

impl Workload {
    /// Its status as its owner sees it.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        JobStatus::of(self.state, self.ending.as_ref().map(|ending| ending.cause))
    }
}
