//! Everything that an operation or a worker may touch.

use std::{future::Future, sync::Arc};

use cloud::{Ports, Secrets};
use domain::{
    Disk, DiskId, NodeId, PoolId, TenantId, Timestamp, UserName, Workload, WorkloadId,
    credential::Provider,
    disk::DiskChange,
    gpu::Gpu,
    message::Message,
    names::{DiskName, RegionName},
    offer::{Offer, Place},
    policy::Policy,
    price::{Price, dollars},
};

use serde::{Deserialize, Serialize};

use crate::{
    Memory, Store, StoreError,
    identities::Claim,
    workloads::{OutboxKey, Write},
};

/// How often something is decided anew while others are faster. With the pauses between that is about three seconds.
pub(crate) const DECISIONS: u32 = 8;

/// The tables, the ports and the settings.
#[derive(Clone)]
pub struct Plane {
    /// The tables.
    pub store: Store,
    /// The world.
    pub ports: Ports,
    /// What this installation allows and offers.
    pub settings: Arc<Settings>,
    /// What this process remembers between requests to models.
    pub memory: Arc<Memory>,
}

/// What an installation allows and offers.
#[derive(Clone)]
pub struct Settings {
    /// The version that is shown.
    pub version: &'static str,
    /// Limits.
    pub policy: Policy,
    /// The pools that are offered.
    pub pools: Vec<Pool>,
    /// The region of AWS that its pools are in; `None` on one machine, whose pools stand for any provider and region.
    pub region: Option<RegionName>,
    /// Who may log in, the admin's token, and what the edge adds to each request.
    pub secrets: Arc<dyn Secrets>,
    /// How often an agent says how it is, in milliseconds: while its workload is launched, and later.
    pub sync_ms: (u64, u64),
}

impl Settings {
    /// The pools as requests that name a provider and a region choose among them.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        let place = self.region.clone().map_or(Place::Here, |region| Place::At(Provider::Aws, region));
        let offer = |pool: &Pool| {
            let gpu_hour = pool.gpu_hour();
            let Pool { id, gpu, max_per_node, .. } = pool.clone();
            Offer { pool: id, gpu, max_per_node, gpu_hour, place: place.clone() }
        };
        self.pools.iter().map(offer).collect()
    }
}

/// A pool that is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Its id.
    pub id: PoolId,
    /// Its type of GPU.
    pub gpu: Gpu,
    /// The most GPUs that one workload can have.
    pub max_per_node: u32,
    /// How many nodes of that size there may be at once, where nodes are bought: a budget, which the ledger keeps as rows like those of
    /// nodes that are there. None where the nodes are entered by somebody else.
    #[serde(default)]
    pub nodes: u32,
    /// What an hour of one GPU costs, in dollars; its list price where none is given.
    #[serde(default, with = "dollars", skip_serializing_if = "Option::is_none")]
    pub gpu_hour_usd: Option<Price>,
}

impl Pool {
    /// What an hour of one GPU costs: what is set, or its list price; nothing where neither is known.
    #[must_use]
    pub fn gpu_hour(&self) -> Price {
        self.gpu_hour_usd.or_else(|| self.gpu.list_price()).unwrap_or_default()
    }

    /// The nodes of its budget, by name.
    #[must_use]
    pub fn budget(&self) -> Vec<(NodeId, u32)> {
        let name = self.id.as_str().replace('/', "-");
        (1..=self.nodes).map(|number| (NodeId::new(format!("{name}-{number}")), self.max_per_node)).collect()
    }
}

/// One of an owner's disks.
#[derive(Clone, Copy, Debug)]
pub enum WhichDisk<'a> {
    /// By its id, whatever it is called.
    Id(DiskId),
    /// By its name, whichever it is.
    Named(&'a DiskName),
}

impl Plane {
    /// Writes what was decided and sends its messages.
    ///
    /// Once the write is acknowledged the messages are sure to be sent: what fails here is sent by the sweep.
    ///
    /// # Errors
    /// When nothing was written; see [`Store::write`].
    pub async fn commit(&self, write: &Write) -> Result<(), StoreError> {
        self.store.write(write).await?;
        for change in &write.changes {
            if let Some(outbox) = change.outbox.as_ref().filter(|outbox| outbox.urgent)
                && let Err(error) = self.relay(&OutboxKey::of(&change.workload), &outbox.messages).await
            {
                tracing::warn!(workload = %change.workload.id, %error, "outbox.left_to_the_sweep");
            }
        }
        Ok(())
    }

    /// The pattern of everything that changes a workload: read it, let `decide` decide, write, and begin again when somebody else was
    /// faster. `decide` is given `None` where there is no such workload, and gives what is to be written, if anything, with the answer.
    ///
    /// # Errors
    /// What `decide` refuses; [`StoreError::Contended`] when others were faster again and again; see [`Store::write`].
    pub async fn decide<T, E, F>(
        &self,
        of: (&TenantId, WorkloadId),
        decide: impl Fn(Option<Workload>, Timestamp) -> F,
    ) -> Result<T, E>
    where
        E: From<StoreError>,
        F: Future<Output = Result<(Option<Write>, T), E>>,
    {
        self.decide_anew(None, of, decide).await
    }

    /// As [`Plane::decide`], of a workload that has just been read: it is read again only when somebody else was faster.
    ///
    /// # Errors
    /// As [`Plane::decide`].
    pub async fn decide_on<T, E, F>(
        &self,
        read: &Workload,
        decide: impl Fn(Option<Workload>, Timestamp) -> F,
    ) -> Result<T, E>
    where
        E: From<StoreError>,
        F: Future<Output = Result<(Option<Write>, T), E>>,
    {
        self.decide_anew(Some(read.clone()), (&read.tenant, read.id), decide).await
    }

    async fn decide_anew<T, E, F>(
        &self,
        mut read: Option<Workload>,
        (tenant, id): (&TenantId, WorkloadId),
        decide: impl Fn(Option<Workload>, Timestamp) -> F,
    ) -> Result<T, E>
    where
        E: From<StoreError>,
        F: Future<Output = Result<(Option<Write>, T), E>>,
    {
        for attempt in 0..DECISIONS {
            if attempt > 0 {
                self.store.back_off(attempt).await;
            }
            let workload = match read.take() {
                Some(read) => Some(read),
                None => self.store.workload(tenant, id).await?,
            };
            let (write, answer) = decide(workload, self.ports.clock.now()).await?;
            let Some(write) = write else { return Ok(answer) };
            match self.commit(&write).await {
                Ok(()) => return Ok(answer),
                Err(StoreError::Moved) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended.into())
    }

    /// As [`Plane::decide`], of a disk; with the change goes the claim of the request that asked for it.
    ///
    /// # Errors
    /// As [`Plane::decide`].
    pub async fn decide_disk<T, E>(
        &self,
        (tenant, owner, which): (&TenantId, &UserName, WhichDisk<'_>),
        decide: impl Fn(Option<Disk>, Timestamp) -> Result<(Option<(DiskChange, Option<Claim>)>, T), E>,
    ) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        for attempt in 0..DECISIONS {
            if attempt > 0 {
                self.store.back_off(attempt).await;
            }
            let disk = match which {
                WhichDisk::Id(id) => self.store.disk(tenant, owner, id).await?,
                WhichDisk::Named(name) => self.store.disk_named(tenant, owner, name).await?,
            };
            let (change, answer) = decide(disk, self.ports.clock.now())?;
            let Some((change, claim)) = change else { return Ok(answer) };
            match self.store.write_disk(&change, claim.as_ref(), None).await {
                Ok(()) => return Ok(answer),
                Err(StoreError::Moved) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended.into())
    }

    /// Tells a disk's worker to look at it. A lost message is sent again by the sweep, so that this never fails its caller.
    pub async fn tend(&self, disk: &Disk) {
        if let Err(error) = self.ports.queue.send(&disk.tend()).await {
            tracing::warn!(disk = %disk.id, %error, "disk.left_to_the_sweep");
        }
    }

    /// Sends the messages of an outbox and marks it as sent.
    ///
    /// # Errors
    /// When they may not have been sent; sending them again does no harm.
    pub async fn relay(&self, key: &OutboxKey, messages: &[Message]) -> Result<(), WorkError> {
        for message in messages {
            self.ports.queue.send(message).await?;
        }
        Ok(self.store.sent(key).await?)
    }

    /// Rings a pool's doorbell. A lost one is rung again by the sweep, so that this never fails its caller.
    pub async fn ring(&self, pool: &PoolId) {
        if let Err(error) = self.ports.queue.send(&Message::Doorbell { pool: pool.clone() }).await {
            tracing::warn!(%pool, %error, "doorbell.left_to_the_sweep");
        }
    }
}

/// A worker could not finish. Its message comes back, and it begins again from what the tables say.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A port failed.
    #[error(transparent)]
    Port(#[from] cloud::PortError),
    /// The tables failed, or the row moved too often.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something sealed does not open, or the key service is away.
    #[error(transparent)]
    Vault(#[from] cloud::VaultError),
}

impl WorkError {
    /// Whether it passes by itself, because somebody is away or busy. What does not is a fault in what is stored, or one of ours.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Port(_) | Self::Vault(cloud::VaultError::Unavailable) => true,
            Self::Vault(cloud::VaultError::Forged) => false,
            Self::Store(error) => !matches!(error, StoreError::Broken(_)),
        }
    }
}
