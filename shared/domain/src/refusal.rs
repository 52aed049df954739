//! What a rule says when it says no.

use crate::{disk::DiskRefusal, lifecycle::State};

/// A rule that said no, in the domain's words. `web` turns it into a status and a body, in one place.
///
/// `Display` is written for the caller: it names what was wrong and what would be right, and holds nobody else's data.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The action needs a running job. When: extend, Jupyter, users on a job that is not active.
    #[error("Job is {status}: {action} needs a running job")]
    NotRunning {
        /// What was asked.
        action: &'static str,
        /// The job's status as its owner sees it.
        status: &'static str,
    },
    /// The job is over or ending. When: cancel, or anything else that comes too late.
    #[error("Job is already {status}")]
    AlreadyOver {
        /// The job's status as its owner sees it.
        status: &'static str,
    },
    /// The total life would pass the limit.
    #[error("A job runs for at most {most} hours in all, extensions included: at most {left} more can be asked for")]
    TooLong {
        /// The limit in hours.
        most: u32,
        /// What may still be asked for, in hours.
        left: f64,
    },
    /// It runs until it is ended: there is no end to move.
    #[error("This has no end that could be moved: it runs until it is ended")]
    OpenEnded,
    /// Nobody of that name was added to the job.
    #[error("User '{0}' is not on this job")]
    NoSuchUser(String),
    /// The owner's own keys cannot be taken away.
    #[error("User '{0}' owns this job and cannot be removed from it")]
    OwnerStays(String),
    /// As many people as a job takes have been added.
    #[error("A job takes at most {0} users: remove one first")]
    TooManyUsers(usize),
    /// It is about a disk.
    #[error(transparent)]
    Disk(#[from] DiskRefusal),
    /// The state does not allow this step. A worker that meets this was late: somebody else moved the workload on.
    #[error("A workload that is {} cannot {step}", .from.name())]
    NoSuchStep {
        /// The state it is in.
        from: State,
        /// The step that was asked for.
        step: &'static str,
    },
}
