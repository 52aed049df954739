//! What travels through the queues.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{DiskId, PoolId, TenantId, UserName, WorkloadId};

/// A message. None carries a decision: each says *look at this again*, so that a doubled, late or reordered one does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Message {
    /// Something about this pool changed: place what can be placed. For the dispatcher.
    Doorbell {
        /// The pool to look at.
        pool: PoolId,
    },
    /// Bring the world in line with this workload's row. For the launcher.
    Reconcile {
        /// The workload's tenant.
        tenant: TenantId,
        /// The workload.
        workload: WorkloadId,
    },
    /// Do what is missing about this disk. For the disk worker.
    Disk {
        /// The disk's tenant.
        tenant: TenantId,
        /// The disk's owner.
        owner: UserName,
        /// The disk.
        disk: DiskId,
    },
}

/// The queues, as a deployment names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueName {
    /// FIFO, a group per pool: one dispatcher at a time looks at a pool.
    Doorbells,
    /// Standard with fair queueing, a group per tenant.
    Reconciles,
    /// FIFO, a group per disk: one worker at a time looks at a disk.
    Disks,
}

impl QueueName {
    /// Every queue.
    pub const ALL: [Self; 3] = [Self::Doorbells, Self::Reconciles, Self::Disks];

    /// The name in tables and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Doorbells => "doorbells",
            Self::Reconciles => "reconciles",
            Self::Disks => "disks",
        }
    }

    /// Whether messages of a group are handed over in order, the next only when the one before is done.
    #[must_use]
    pub const fn is_fifo(self) -> bool {
        match self {
            Self::Doorbells | Self::Disks => true,
            Self::Reconciles => false,
        }
    }
}

impl Message {
    /// The queue that this message goes to.
    #[must_use]
    pub const fn queue(&self) -> QueueName {
        match self {
            Self::Doorbell { .. } => QueueName::Doorbells,
            Self::Reconcile { .. } => QueueName::Reconciles,
            Self::Disk { .. } => QueueName::Disks,
        }
    }

    /// The message's group: what is kept in order (of FIFO queues) or treated fairly (of the others).
    #[must_use]
    pub fn group(&self) -> Cow<'_, str> {
        match self {
            Self::Doorbell { pool } => pool.as_str().into(),
            Self::Reconcile { tenant, .. } => tenant.as_str().into(),
            Self::Disk { disk, .. } => disk.to_string().into(),
        }
    }
}
