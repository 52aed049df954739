//! Bugs about disks, each of which must break a law. They sit at the port, in the worlds' settings, on the wire and in what workers do.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use async_trait::async_trait;
use cloud::{
    Attacher, Attachment, Attempt, PortError, SnapshotOrder, SnapshotState, TaggedSnapshot, TaggedVolume, VolumeError,
    VolumeOrder, Volumes, sim::World,
};
use domain::{
    Disk, SnapshotId, VolumeId, Workload,
    disk::{DiskChange, DiskState},
    lifecycle::State,
    names::DiskName,
};
use futures::executor::block_on;
use store::Store;

use super::random;
use crate::laws::{
    harness::Harness,
    mutants::{Bug, all_are_caught},
};

/// Says when something was asked about volumes, and has one of the bugs that sit here or none.
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Volumes>,
    pub(crate) world: World,
    pub(crate) moved: Arc<AtomicBool>,
    pub(crate) bug: Option<Bug>,
    /// How many volumes were asked for.
    pub(crate) asked: AtomicU32,
}

/// Sets its flag when a call is over, whatever became of its caller: its effect may be there.
struct Moving<'a>(&'a AtomicBool);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Watched {
    fn moving(&self) -> Moving<'_> {
        Moving(&self.moved)
    }

    /// The newest snapshot with a disk's tags, whoever made it.
    fn latest(&self, order: &VolumeOrder) -> Option<SnapshotId> {
        let now = self.world.now();
        let tagged = self.world.snapshots().into_iter().filter(|one| one.of == order.of && one.is_complete(now));
        tagged.max_by_key(|one| one.ends_at).map(|one| one.id)
    }
}

#[async_trait]
impl Attacher for Watched {
    async fn create(&self, order: &VolumeOrder) -> Result<Option<VolumeId>, VolumeError> {
        let _moving = self.moving();
        match self.bug {
            Some(Bug::LatestByTag) => {
                self.inner.create(&VolumeOrder { from: self.latest(order), ..order.clone() }).await
            }
            // Every second time the cloud is said to refuse it, which is rare otherwise.
            Some(Bug::EmptyOnFailure) if self.asked.fetch_add(1, Ordering::Relaxed) % 2 == 1 => {
                self.inner.create(&VolumeOrder { from: None, ..order.clone() }).await
            }
            // An answer is lost every time.
            Some(Bug::VolumesWithoutToken) => {
                drop(self.inner.create(order).await);
                self.inner.create(order).await
            }
            _ => self.inner.create(order).await,
        }
    }

    async fn attach(&self, volume: &VolumeId, attempt: &Attempt) -> Result<Attachment, VolumeError> {
        let _moving = self.moving();
        self.inner.attach(volume, attempt).await
    }
}

#[async_trait]
impl Volumes for Watched {
    async fn detach(&self, volume: &VolumeId) -> Result<bool, PortError> {
        let _moving = self.moving();
        let free = self.inner.detach(volume).await?;
        Ok(free || self.bug == Some(Bug::DetachNotAwaited))
    }

    async fn snapshot(&self, order: &SnapshotOrder) -> Result<SnapshotId, VolumeError> {
        let _moving = self.moving();
        let snapshot = self.inner.snapshot(order).await?;
        if self.bug == Some(Bug::DeletedBeforeComplete) {
            drop(self.inner.delete_volume(&order.volume).await);
        }
        Ok(snapshot)
    }

    async fn snapshot_state(&self, snapshot: &SnapshotId) -> Result<SnapshotState, PortError> {
        let _moving = self.moving();
        match self.inner.snapshot_state(snapshot).await {
            Ok(SnapshotState::Pending) if self.bug == Some(Bug::SnapshotNotAwaited) => Ok(SnapshotState::Completed),
            state => state,
        }
    }

    async fn tag(&self, snapshot: &SnapshotId, name: &DiskName) -> Result<(), VolumeError> {
        let _moving = self.moving();
        if self.bug == Some(Bug::TagsLeft) { Ok(()) } else { self.inner.tag(snapshot, name).await }
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), PortError> {
        let _moving = self.moving();
        if self.bug == Some(Bug::VolumesLeft) { Ok(()) } else { self.inner.delete_volume(volume).await }
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), PortError> {
        let _moving = self.moving();
        self.inner.delete_snapshot(snapshot).await
    }

    async fn volumes(&self) -> Result<Vec<TaggedVolume>, PortError> {
        self.inner.volumes().await
    }

    async fn snapshots(&self) -> Result<Vec<TaggedSnapshot>, PortError> {
        self.inner.snapshots().await
    }
}

/// A disk as somebody makes it who asks nobody.
fn bluntly(disk: &Disk, edit: impl FnOnce(&mut DiskChange)) -> DiskChange {
    let mut after = disk.clone();
    after.version += 1;
    let before = Some(disk.clone());
    let (operations, snapshots, dropped) = (vec![], vec![], vec![]);
    let mut change = DiskChange { before, disk: after, operations, snapshots, dropped, spent: None };
    edit(&mut change);
    change
}

/// The disk is given back with the cancel, while its job still ends.
async fn unlock(truth: &Store, row: &Workload) {
    let Some(of) = row.needs_disk() else { return };
    let Ok(Some(disk)) = truth.disk(&row.tenant, &of.owner, of.disk).await else { return };
    if disk.holder == Some(row.id) {
        let change = bluntly(&disk, |change| {
            (change.disk.holder, change.disk.state, change.disk.volume) = (None, DiskState::Available, None);
        });
        drop(truth.write_disk(&change, None, None).await);
    }
}

/// Retention that counts days and nothing else: everything goes.
async fn let_everything_go(truth: &Store, disk: &Disk) {
    let Ok(snapshots) = truth.disk_snapshots(&disk.tenant, disk.id).await else { return };
    let change = bluntly(disk, |change| {
        (change.disk.complete, change.dropped) = (0, snapshots);
    });
    drop(truth.write_disk(&change, None, None).await);
}

impl Harness {
    /// What those bugs do that are nobody's call.
    pub(crate) fn meddle(&mut self) -> bool {
        let now = self.world.now();
        match self.bug {
            Some(Bug::UnlockedOnCancel) => {
                for row in self.rows.workloads.values().filter(|row| row.state == State::Draining) {
                    block_on(unlock(&self.truth, row));
                }
            }
            Some(Bug::RetentionTakesLast) => {
                let old = |disk: &&Disk| {
                    let day = std::time::Duration::from_secs(24 * 3600);
                    disk.state == DiskState::Available && disk.head.is_some() && disk.created_at.plus(day) <= now
                };
                for disk in self.disks.rows.values().filter(old) {
                    block_on(let_everything_go(&self.truth, disk));
                }
            }
            _ => return false,
        }
        true
    }
}

/// Every bug about disks, and the laws of which one must catch it.
const ALL: [(Bug, &[&str]); 11] = [
    (Bug::VolumesWithoutToken, &["I10"]),
    (Bug::DeletedBeforeComplete, &["I11"]),
    (Bug::LatestByTag, &["I12"]),
    (Bug::UnlockedOnCancel, &["I10"]),
    (Bug::RetentionTakesLast, &["I13"]),
    (Bug::RenamedInTwo, &["I14"]),
    (Bug::SnapshotNotAwaited, &["I11"]),
    (Bug::EmptyOnFailure, &["I12", "I15"]),
    (Bug::DetachNotAwaited, &["I10", "I11"]),
    (Bug::VolumesLeft, &["I24"]),
    (Bug::TagsLeft, &["I14"]),
];

#[test]
fn every_sown_bug_about_disks_is_caught() {
    println!("{}", all_are_caught(&ALL, &["I10", "I11", "I12", "I13", "I14"], |_| random::schedule));
}
