//! What workloads run on: EC2 instances, Kubernetes pods, or processes of this machine.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    DiskId, InstanceId, NodeId, PoolId, Secret, TenantId, Timestamp, Workload, WorkloadId, credential::CloudKeys,
    gpu::Gpu, workload::Address,
};

use crate::PortError;

/// What a fleet is asked to run: one attempt of one workload. The pair of workload and attempt is the client token: asking twice
/// makes one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The workload's tenant.
    pub tenant: TenantId,
    /// The workload.
    pub workload: WorkloadId,
    /// The attempt, counting from 1; stored before the fleet is asked.
    pub attempt: u32,
    /// Where it was placed: which fleet, which type of GPU.
    pub pool: PoolId,
    /// The node that GPUs were booked on. In a fleet that buys its machines it stands for room in a budget, not for a machine.
    pub node: NodeId,
    /// How many GPUs.
    pub gpus: u32,
    /// The type of GPU.
    pub gpu: Gpu,
    /// The machine type that was asked for.
    pub instance_type: String,
    /// How long it runs once it is active: a machine that is still there long after that ends by itself. `None` is open-ended.
    pub life: Option<Duration>,
    /// It serves a model: it needs a port for that, and the program that serves models there.
    pub serves: bool,
    /// Capacity that may be taken back at any time, and no other, where the fleet has both kinds.
    pub use_spot: bool,
    /// The container image.
    pub image: String,
    /// It needs a disk, which comes after it ([`crate::Volumes::attach`]): nothing of the job starts before.
    pub disk: Option<DiskId>,
    /// The agent's one-time token; the same in every repetition of an order.
    pub enroll_token: Secret,
}

impl Order {
    /// The attempt that it is for.
    #[must_use]
    pub fn of(&self) -> Attempt {
        let Self { tenant, workload, attempt, pool, .. } = self;
        Attempt { tenant: tenant.clone(), workload: *workload, number: *attempt, pool: pool.clone() }
    }
}

/// One attempt at running one workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// The workload's tenant.
    pub tenant: TenantId,
    /// The workload.
    pub workload: WorkloadId,
    /// Which of its attempts, counting from 1.
    pub number: u32,
    /// Where it was placed, and so which fleet is asked about it.
    pub pool: PoolId,
}

impl Attempt {
    /// The attempt that a workload is at.
    #[must_use]
    pub fn of(workload: &Workload) -> Self {
        let Workload { tenant, id, attempt, .. } = workload;
        Self { tenant: tenant.clone(), workload: *id, number: *attempt, pool: workload.pool().clone() }
    }
}

/// What a fleet made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// What the fleet calls it.
    pub instance: InstanceId,
    /// How to reach it.
    pub address: Address,
}

/// What a fleet sees of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Something of it runs, or may come to run.
    Running,
    /// It was there and has stopped, or never came to be and never will: the fleet answers for it.
    Gone {
        /// When the last of it stopped, where the fleet knows.
        stopped_at: Option<Timestamp>,
    },
}

/// Something of ours that a fleet runs, by the tags that it was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// What the fleet calls it.
    pub instance: InstanceId,
    /// What it was made for.
    pub attempt: Attempt,
}

/// A fleet did not make what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// There is no room now; there may be later.
    #[error("no capacity: {0}")]
    Capacity(String),
    /// It will never do this.
    #[error("refused: {0}")]
    Refused(String),
    /// It may have done it, or may do it later.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Runs workloads. Every call can be repeated.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// Runs an attempt. The same workload and attempt again gives the same instance.
    ///
    /// # Errors
    /// [`FleetError::Port`] when it is not known whether anything was made.
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError>;

    /// What is to be seen of an attempt; also of one whose order was never answered. Absence alone is not [`Sighting::Gone`]: lists
    /// are late (skypilot#4431), so a fleet says so only of what it has seen end, or of what can no longer come to be.
    ///
    /// # Errors
    /// When it could not be looked.
    async fn describe(&self, attempt: &Attempt) -> Result<Sighting, PortError>;

    /// Ends an attempt, and keeps a late order for it from making anything. Of what has ended, or was never made, this is no error.
    ///
    /// # Errors
    /// When it is not known to have been taken; repeating it does no harm.
    async fn terminate(&self, attempt: &Attempt) -> Result<(), PortError>;

    /// Everything of ours that runs or may come to run, for the sweep of what nobody knows any more. It may be late by a minute or two.
    ///
    /// # Errors
    /// When the list could not be had in full.
    async fn list(&self) -> Result<Vec<Tagged>, PortError>;

    /// This fleet in the account that a tenant's own keys open: what it makes there is the tenant's to pay for. A fleet that has machines of
    /// the installation's alone is [`Nowhere`] there. Nothing is asked yet.
    fn in_account(&self, _keys: &CloudKeys) -> Arc<dyn Fleet> {
        Arc::new(Nowhere)
    }
}

/// A fleet that has no machines: it refuses every order, and answers for it that nothing was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

#[async_trait]
impl Fleet for Nowhere {
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError> {
        Err(FleetError::Refused(format!("{} has no machines in a tenant's own account", order.pool)))
    }

    async fn describe(&self, _: &Attempt) -> Result<Sighting, PortError> {
        Ok(Sighting::Gone { stopped_at: None })
    }

    async fn terminate(&self, _: &Attempt) -> Result<(), PortError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        Ok(Vec::new())
    }
}
