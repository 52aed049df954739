//! What travels through the queues.

use serde::{Deserialize, Serialize};

use crate::{PoolId, TenantId, WorkloadId};

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
}

/// The queues, as a deployment names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueName {
    /// FIFO, a group per pool: one dispatcher at a time looks at a pool.
    Doorbells,
    /// Standard with fair queueing, a group per tenant.
    Reconciles,
}

impl QueueName {
    /// Every queue.
    pub const ALL: [Self; 2] = [Self::Doorbells, Self::Reconciles];

    /// The name in tables and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Doorbells => "doorbells",
            Self::Reconciles => "reconciles",
        }
    }

    /// Whether messages of a group are handed over in order, the next only when the one before is done.
    #[must_use]
    pub const fn is_fifo(self) -> bool {
        match self {
            Self::Doorbells => true,
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
        }
    }

    /// The message's group: what is kept in order (doorbells) or treated fairly (the rest).
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Doorbell { pool } => pool.as_str(),
            Self::Reconcile { tenant, .. } => tenant.as_str(),
        }
    }
}
