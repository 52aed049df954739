//! Snapshots: begun, awaited, tagged, let go.

use std::time::Duration;

use cloud::{DiskRef, SnapshotOrder, SnapshotState, VolumeError};
use domain::{
    Disk, Workload,
    disk::{Pending, Snapshot, expired},
    lifecycle::State,
    policy,
};
use store::{Plane, StoreError, WorkError, workloads::Write};

use crate::{Look, apply};

/// That a snapshot is not there, or has failed, is believed when it is as old as this.
const BELIEVED_AFTER: Duration = Duration::from_secs(60);

/// How many snapshots are let go in one transaction.
const A_BATCH: usize = 20;

/// What a disk's volumes and snapshots are tagged with.
pub(crate) fn tags_of(disk: &Disk) -> DiskRef {
    DiskRef { tenant: disk.tenant.clone(), owner: disk.owner.clone(), disk: disk.id }
}

/// Goes on with a snapshot of a disk in use: the file system is to hold still when it begins, if the agent can make it.
pub(crate) async fn live(plane: &Plane, disk: &Disk, pending: &Pending) -> Result<Look, WorkError> {
    let workload = match disk.holder {
        Some(holder) => plane.store.workload(&disk.tenant, holder).await?,
        None => None,
    };
    if pending.snapshot.is_some() {
        thaw(plane, workload.as_ref()).await?;
        return go_on(plane, disk, pending).await;
    }
    let waited = plane.ports.clock.now() >= pending.begun_at.plus(policy::FREEZE_WITHIN);
    let still = |workload: &Workload| {
        let frozen = workload.disk.as_ref().is_some_and(|disk| disk.frozen == Some(pending.number));
        frozen || workload.state != State::Active
    };
    if !waited && !workload.as_ref().is_none_or(still) {
        return Ok(Look::Rest);
    }
    go_on(plane, disk, pending).await
}

/// Lets an agent's file system go on. Nobody waits for it: the agent does so by itself, too.
async fn thaw(plane: &Plane, workload: Option<&Workload>) -> Result<(), WorkError> {
    let Some(change) = workload.and_then(|workload| workload.thaw(plane.ports.clock.now())) else { return Ok(()) };
    match plane.commit(&Write::of(change)).await {
        Ok(()) | Err(StoreError::Moved) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Begins a snapshot that was decided on, or looks how far it is.
pub(crate) async fn go_on(plane: &Plane, disk: &Disk, pending: &Pending) -> Result<Look, WorkError> {
    let Some(snapshot) = &pending.snapshot else { return begin(plane, disk, pending).await };
    match plane.ports.volumes.snapshot_state(snapshot).await? {
        SnapshotState::Pending => Ok(Look::Rest),
        SnapshotState::Completed => apply(plane, disk, Disk::snapshot_completed).await,
        // Lists are late: one that was begun just now may not be known yet.
        SnapshotState::Failed(_) if plane.ports.clock.now() < pending.begun_at.plus(BELIEVED_AFTER) => Ok(Look::Rest),
        SnapshotState::Failed(why) => {
            tracing::error!(disk = %disk.id, %snapshot, why, "snapshot.failed");
            // Another is made at the next look, not at once: what failed may need a moment.
            apply(plane, disk, |disk, now| disk.snapshot_failed(&why, now)).await.map(|_| Look::Rest)
        }
    }
}

async fn begin(plane: &Plane, disk: &Disk, pending: &Pending) -> Result<Look, WorkError> {
    let Some(volume) = disk.volume.clone() else { return Ok(Look::Rest) };
    let order = SnapshotOrder { of: tags_of(disk), operation: pending.operation, name: disk.name.clone(), volume };
    match plane.ports.volumes.snapshot(&order).await {
        Ok(snapshot) => apply(plane, disk, |disk, now| disk.snapshot_begun(snapshot, now)).await,
        Err(VolumeError::Refused(why)) => {
            tracing::error!(disk = %disk.id, why, "snapshot.refused");
            apply(plane, disk, |disk, now| disk.snapshot_failed(&why, now)).await.map(|_| Look::Rest)
        }
        Err(VolumeError::Port(error)) => Err(error.into()),
    }
}

/// Writes the disk's name on each of its snapshots, and keeps what could not be.
pub(crate) async fn tag(plane: &Plane, disk: &Disk) -> Result<Look, WorkError> {
    let mut errors = Vec::new();
    let mut updated = 0;
    for snapshot in plane.store.disk_snapshots(&disk.tenant, disk.id).await? {
        match plane.ports.volumes.tag(&snapshot.id, &disk.name).await {
            Ok(()) => updated += 1,
            Err(VolumeError::Refused(why)) => errors.push(format!("{}: {why}", snapshot.id)),
            Err(VolumeError::Port(error)) => errors.push(format!("{}: {error}", snapshot.id)),
        }
    }
    apply(plane, disk, |disk, now| Ok(disk.tagged(updated, errors, now))).await
}

/// Lets go what need not be kept.
pub(crate) async fn prune(plane: &Plane, disk: &Disk) -> Result<Look, WorkError> {
    let snapshots = plane.store.disk_snapshots(&disk.tenant, disk.id).await?;
    let mut gone = expired(&snapshots, disk.head.as_ref(), plane.ports.clock.now());
    gone.truncate(A_BATCH);
    apply(plane, disk, |disk, now| Ok(disk.let_go(gone, now))).await
}

/// Lets go everything of a disk that is gone for good, and then its name.
pub(crate) async fn let_all_go(plane: &Plane, disk: &Disk) -> Result<Look, WorkError> {
    let mut snapshots: Vec<Snapshot> = plane.store.disk_snapshots(&disk.tenant, disk.id).await?;
    if snapshots.is_empty() {
        return match plane.store.forget_disk(disk).await {
            Ok(()) => Ok(Look::Rest),
            Err(StoreError::Moved) => Ok(Look::Again),
            Err(error) => Err(error.into()),
        };
    }
    snapshots.truncate(A_BATCH);
    apply(plane, disk, |disk, now| Ok(disk.let_go(snapshots, now))).await
}
