//! A disk: files that outlive the workloads that use them.
//!
//! Each decision takes the disk as it is and gives the disk as it is to be, or a refusal; nothing is changed until the store has written
//! it under the condition that the version is still the one that was decided upon. Three rules hold everywhere:
//! - a volume is known by its id before anything can be written to it, and forgotten only together with the record of a completed
//!   snapshot that was taken after the last write (invariants I11, I15);
//! - what is restored is the disk's head, a completed snapshot of our own tables (invariant I12, trap T18);
//! - one workload has it at a time, and gives it back when the cloud says that its volume is free (invariant I10).

mod decisions;
pub mod life;
mod operation;
mod snapshot;

use serde::{Deserialize, Serialize};

pub use decisions::Asked;
pub use life::{DiskState, DiskStep};
pub use operation::{Action, Operation, Status};
pub use snapshot::{Snapshot, expired};

use crate::{
    DiskId, OperationId, SnapshotId, TenantId, Timestamp, UserName, VolumeId, WorkloadId, message::Message,
    names::DiskName, policy,
};

/// One disk: what changes and is read often. Its snapshots and operations lie beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Its id, which stays when it is renamed.
    pub id: DiskId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The person whose it is.
    pub owner: UserName,
    /// What its owner calls it.
    pub name: DiskName,
    /// Grows by one with each change.
    pub version: u64,
    /// Where it stands.
    pub state: DiskState,
    /// Since when.
    pub since: Timestamp,
    /// Its size, in GB.
    pub size_gb: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When a workload last began or ended to use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// The workload that has it, until its volume is free again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<WorkloadId>,
    /// Counts the workloads that were given it. The number is stored before a volume is asked for, and is in what it is asked with.
    pub uses: u64,
    /// The volume of the present use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeId>,
    /// What the next volume is made of; none while nothing was ever written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Counts its snapshots, those included that are gone.
    pub taken: u64,
    /// How many complete ones there are.
    pub complete: u32,
    /// The snapshot that is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// The operation that is under way in its present state: its making or its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// When it is gone for good; set while it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_at: Option<Timestamp>,
    /// When old snapshots are looked for next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_at: Option<Timestamp>,
    /// What became of the last change of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub naming: Option<Naming>,
}

/// A completed snapshot that a volume can be made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its number among the disk's.
    pub number: u64,
}

/// A snapshot that is being made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The operation, with whose id it is tagged; stored before the cloud is asked.
    pub operation: OperationId,
    /// Its number among the disk's.
    pub number: u64,
    /// What the cloud calls it, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// When it was decided.
    pub begun_at: Timestamp,
    /// It is made while a workload has the disk: it does not stand for what is written after it.
    pub live: bool,
}

/// The tags of a disk's snapshots after its name was changed: they carry the name for people to see (checklist 002#22).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Naming {
    /// The version of the disk that has this name: whoever changed it waits for this one.
    pub version: u64,
    /// How many snapshots there were.
    pub total: u32,
    /// How many carry the name.
    pub updated: u32,
    /// Why others do not, each as `snapshot: reason`.
    pub errors: Vec<String>,
    /// They were all tried.
    pub tried: bool,
}

/// Why something cannot be done with a disk. `Display` is written for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskRefusal {
    /// A workload has it.
    #[error("Disk '{0}' is in use: it can be had when its job has ended and its snapshot is complete")]
    InUse(String),
    /// It is being made or backed up.
    #[error("Disk '{name}' is {state}: try again when it is available")]
    Busy {
        /// Its name.
        name: String,
        /// What is being done with it.
        state: &'static str,
    },
    /// It is deleted, and can be had back.
    #[error("Disk '{name}' is marked for deletion on {}; undelete it first", day(*.at))]
    Deleted {
        /// Its name.
        name: String,
        /// When it is gone.
        at: Timestamp,
    },
    /// It has less room than what is on it was made with.
    #[error("Disk '{name}' has {has} GB: it cannot be made smaller")]
    TooSmall {
        /// Its name.
        name: String,
        /// Its size, in GB.
        has: u32,
    },
    /// There is nothing on it.
    #[error("Disk '{0}' has no completed snapshot: nothing has been written to it yet")]
    Empty(String),
    /// Its own workload has it no more, or never had: whoever meets this was late.
    #[error("Disk '{name}' is {state}: {step} is not possible")]
    NoSuchStep {
        /// Its name.
        name: String,
        /// Where it stands.
        state: &'static str,
        /// What was to be done.
        step: &'static str,
    },
}

/// The day of an instant, in UTC.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// A change of a disk that waits to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskChange {
    /// The disk before; none where it is new.
    pub before: Option<Disk>,
    /// The disk as it is to be.
    pub disk: Disk,
    /// Operations as they are to be.
    pub operations: Vec<Operation>,
    /// Snapshots as they are to be.
    pub snapshots: Vec<Snapshot>,
    /// Snapshots that the disk has no more.
    pub dropped: Vec<Snapshot>,
    /// A volume that is of no use any more, since a completed snapshot has all that is on it.
    pub spent: Option<VolumeId>,
}

impl Disk {
    /// The message that tells the disk worker to look at it.
    #[must_use]
    pub fn tend(&self) -> Message {
        Message::Disk { tenant: self.tenant.clone(), owner: self.owner.clone(), disk: self.id }
    }

    /// Whether a workload has it, or has not quite given it back.
    #[must_use]
    pub const fn in_use(&self) -> bool {
        self.holder.is_some()
    }

    /// Whether a snapshot of it is being made, or is about to be.
    #[must_use]
    pub const fn is_backing_up(&self) -> bool {
        self.pending.is_some() || matches!(self.state, DiskState::Detaching | DiskState::BackingUp)
    }

    /// Whether it is deleted, be it for good or not.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        matches!(self.state, DiskState::Deleting | DiskState::Deleted)
    }

    /// The day on which it is gone for good, as `YYYY-MM-DD`; `None` while it is not deleted.
    #[must_use]
    pub fn delete_on(&self) -> Option<String> {
        self.delete_at.map(day)
    }

    /// Why a workload that is to have it must wait, in words for its owner; `None` when it need not.
    #[must_use]
    pub fn keeps_waiting(&self) -> Option<&'static str> {
        match self.state {
            DiskState::Available => None,
            DiskState::Creating => Some("is being made"),
            DiskState::Attached => Some("is in use by another job"),
            DiskState::Detaching | DiskState::BackingUp => Some("is being backed up"),
            DiskState::Deleting | DiskState::Deleted => Some("is marked for deletion"),
        }
    }

    /// When the worker has to look at it next; `None` while nothing is to be done.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        let state = match self.state {
            DiskState::Creating => Some(self.since.plus(policy::SECOND_TRY)),
            DiskState::Detaching | DiskState::BackingUp => Some(self.since.plus(policy::DISK_LOOK)),
            DiskState::Deleting if self.operation.is_some() => Some(self.since.plus(policy::SECOND_TRY)),
            DiskState::Deleting => self.delete_at,
            DiskState::Deleted => Some(self.since),
            DiskState::Attached => self.pending.as_ref().map(|pending| pending.begun_at.plus(policy::DISK_LOOK)),
            DiskState::Available => self.prune_at,
        };
        // Tags are changed while nobody uses it: until then there is nothing to look at.
        let tags = self.naming.as_ref().filter(|_| self.state == DiskState::Available);
        let tags = tags.filter(|naming| !naming.tried || !naming.errors.is_empty());
        let tags =
            tags.map(|naming| self.since.plus(if naming.tried { policy::TAGS_AGAIN } else { policy::SECOND_TRY }));
        state.into_iter().chain(tags).min()
    }
}

#[cfg(test)]
mod tests;
