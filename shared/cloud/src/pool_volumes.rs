//! Several ways to fix a volume as one.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use domain::{SnapshotId, VolumeId, names::DiskName};

use crate::{
    Attacher, Attachment, Attempt, PortError, SnapshotOrder, SnapshotState, TaggedSnapshot, TaggedVolume, VolumeError,
    VolumeOrder, Volumes,
};

/// The volumes of an installation with several fleets, which share one storage. Where a volume is made, and how it is fixed to what runs a workload,
/// is said by the first part of the pool's name, as for [`crate::Fleets`]; everything else about volumes and snapshots is asked of the storage.
#[derive(Clone)]
pub struct PoolVolumes {
    storage: Arc<dyn Volumes>,
    fleets: BTreeMap<&'static str, Arc<dyn Attacher>>,
}

impl PoolVolumes {
    /// A storage, of which nothing is fixed to anything yet.
    #[must_use]
    pub fn new(storage: Arc<dyn Volumes>) -> Self {
        Self { storage, fleets: BTreeMap::new() }
    }

    /// With the way of the fleet whose pools' names begin with `name` and a slash.
    #[must_use]
    pub fn with(mut self, name: &'static str, attacher: Arc<dyn Attacher>) -> Self {
        self.fleets.insert(name, attacher);
        self
    }

    fn of(&self, attempt: &Attempt) -> Result<&Arc<dyn Attacher>, VolumeError> {
        let name = attempt.pool.as_str().split('/').next().unwrap_or_default();
        let missing = || VolumeError::Refused(format!("nothing here brings disks to what {} offers", attempt.pool));
        self.fleets.get(name).ok_or_else(missing)
    }
}

#[async_trait]
impl Attacher for PoolVolumes {
    async fn create(&self, order: &VolumeOrder) -> Result<Option<VolumeId>, VolumeError> {
        self.of(&order.attempt)?.create(order).await
    }

    async fn attach(&self, volume: &VolumeId, attempt: &Attempt) -> Result<Attachment, VolumeError> {
        self.of(attempt)?.attach(volume, attempt).await
    }
}

#[async_trait]
impl Volumes for PoolVolumes {
    async fn detach(&self, volume: &VolumeId) -> Result<bool, PortError> {
        self.storage.detach(volume).await
    }

    async fn snapshot(&self, order: &SnapshotOrder) -> Result<SnapshotId, VolumeError> {
        self.storage.snapshot(order).await
    }

    async fn snapshot_state(&self, snapshot: &SnapshotId) -> Result<SnapshotState, PortError> {
        self.storage.snapshot_state(snapshot).await
    }

    async fn tag(&self, snapshot: &SnapshotId, name: &DiskName) -> Result<(), VolumeError> {
        self.storage.tag(snapshot, name).await
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), PortError> {
        self.storage.delete_volume(volume).await
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), PortError> {
        self.storage.delete_snapshot(snapshot).await
    }

    async fn volumes(&self) -> Result<Vec<TaggedVolume>, PortError> {
        self.storage.volumes().await
    }

    async fn snapshots(&self) -> Result<Vec<TaggedSnapshot>, PortError> {
        self.storage.snapshots().await
    }
}
