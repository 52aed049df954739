//! The disks' part of the sweep: what is due is looked at, what is of no use any more is removed, and what nobody knows is ended.

use cloud::{TaggedSnapshot, TaggedVolume};
use domain::{
    Disk,
    disk::{DiskChange, DiskState},
};
use store::{Plane, WorkError, disks::DueDisk};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Disks that their worker was told to look at.
    pub nudged: u32,
    /// Volumes and snapshots that were removed.
    pub removed: u32,
    /// Rows whose turn failed; they come again with the next sweep.
    pub failed: u32,
}

/// Does what is due about disks.
///
/// # Errors
/// When the index of what is due could not be read; what was done until then is done.
pub async fn sweep(plane: &Plane) -> Result<Swept, WorkError> {
    let (now, mut mark, mut swept) = (plane.ports.clock.now(), None, Swept::default());
    loop {
        let (rows, next) = plane.store.due_disks(now, mark).await?;
        for row in rows {
            match turn(plane, &row).await {
                Ok(()) if matches!(row, DueDisk::Disk(..)) => swept.nudged += 1,
                Ok(()) => swept.removed += 1,
                Err(error) => {
                    tracing::warn!(?row, %error, "disks.row_failed");
                    swept.failed += 1;
                }
            }
        }
        match next {
            Some(_) => mark = next,
            None => return Ok(swept),
        }
    }
}

async fn turn(plane: &Plane, row: &DueDisk) -> Result<(), WorkError> {
    match row {
        DueDisk::Disk(tenant, owner, name) => {
            let Some(disk) = plane.store.disk_named(tenant, owner, name).await? else { return Ok(()) };
            plane.ports.queue.send(&disk.tend()).await?;
            plane.store.disk_looked_at(&disk, plane.ports.clock.now()).await?;
        }
        DueDisk::Snapshot(id) => {
            if plane.store.snapshot_is_spare(id).await? {
                plane.ports.volumes.delete_snapshot(id).await?;
                plane.store.forget_snapshot(id).await?;
            }
        }
        DueDisk::Volume(id) => {
            plane.ports.volumes.delete_volume(id).await?;
            plane.store.forget_volume(id).await?;
        }
    }
    Ok(())
}

/// Removes at once what a change has left of no use. What fails here is found by the sweep.
pub(crate) async fn reap_dropped(plane: &Plane, change: &DiskChange) {
    let snapshots = change.dropped.iter().map(|snapshot| DueDisk::Snapshot(snapshot.id.clone()));
    for row in snapshots.chain(change.spent.clone().map(DueDisk::Volume)) {
        if let Err(error) = turn(plane, &row).await {
            tracing::warn!(?row, %error, "disks.left_to_the_sweep");
        }
    }
}

/// Removes volumes and snapshots with our tags that no disk knows (invariant I3). A volume is known before anything is written to it, and
/// forgotten only when a completed snapshot has all of it; so one that is not its disk's present one holds nothing that could be lost.
///
/// # Errors
/// When a list could not be read; the next time comes.
pub async fn end_orphans(plane: &Plane) -> Result<u32, WorkError> {
    let mut ended = 0;
    for found in plane.ports.volumes.volumes().await? {
        // The disk is read after the list, and strongly: what the list shows was decided on before.
        let disk = plane.store.disk(&found.of.tenant, &found.of.owner, found.of.disk).await?;
        if disk.as_ref().is_some_and(|disk| is_wanted(disk, &found)) {
            continue;
        }
        match plane.ports.volumes.delete_volume(&found.volume).await {
            Ok(()) => ended += 1,
            Err(error) => tracing::warn!(volume = %found.volume, %error, "volume.not_ended"),
        }
    }
    for found in plane.ports.volumes.snapshots().await? {
        if is_a_double(plane, &found).await? {
            match plane.ports.volumes.delete_snapshot(&found.snapshot).await {
                Ok(()) => ended += 1,
                Err(error) => tracing::warn!(snapshot = %found.snapshot, %error, "snapshot.not_ended"),
            }
        }
    }
    Ok(ended)
}

fn is_wanted(disk: &Disk, found: &TaggedVolume) -> bool {
    let is_being_made = disk.state == DiskState::Attached && disk.volume.is_none() && disk.uses == found.uses;
    is_being_made || disk.uses < found.uses || disk.volume.as_ref() == Some(&found.volume)
}

/// Whether this is a snapshot that nobody came to know: the answer about it was lost just when it had begun, and the next look made one
/// more. It goes when another of the same volume is complete. Whatever we cannot tell is left alone: a copy that somebody made carries our
/// tags, but is of no volume of ours (trap T18).
async fn is_a_double(plane: &Plane, found: &TaggedSnapshot) -> Result<bool, WorkError> {
    // Read before the others: what is recorded after this was under way here.
    let disk = plane.store.disk(&found.of.tenant, &found.of.owner, found.of.disk).await?;
    let under_way = disk.and_then(|disk| disk.pending).is_some_and(|pending| pending.operation == found.operation);
    if under_way {
        return Ok(false);
    }
    let known = plane.store.disk_snapshots(&found.of.tenant, found.of.disk).await?;
    let kept = known.iter().any(|known| known.volume == found.volume && known.completed_at.is_some());
    Ok(kept && !plane.store.snapshot_is_had(&found.snapshot).await?)
}
