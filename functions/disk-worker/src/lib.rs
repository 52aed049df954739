//! The worker that does what takes its time about disks: backing up, tagging, letting go.
//!
//! A message says *look at this disk*. The worker reads how far things are and does what is missing, one thing after the other; what has
//! to be waited for it leaves to the next look, which the sweep sends. Each thing is written before it is asked of the cloud, and each is
//! asked in a way that can be repeated, so that it may die anywhere.

mod snapshots;
mod sweep;

use domain::{
    Disk, DiskId, TenantId, Timestamp, UserName,
    disk::{DiskChange, DiskRefusal, DiskState},
};
use store::{Plane, StoreError, WorkError};

pub use sweep::{Swept, end_orphans, sweep};

/// How many things are done about a disk in one go. More are left to the next look.
const A_GO: usize = 20;

/// What a look at a disk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Something was done, and something may follow.
    Again,
    /// Nothing is to be done, or it has to be waited for.
    Rest,
}

/// Does what is missing about a disk.
///
/// # Errors
/// When it could not be done; the message comes again, and so does the sweep's.
pub async fn tend(plane: &Plane, tenant: &TenantId, owner: &UserName, id: DiskId) -> Result<(), WorkError> {
    for _ in 0..A_GO {
        let Some(disk) = plane.store.disk(tenant, owner, id).await? else { return Ok(()) };
        if look(plane, &disk).await? == Look::Rest {
            return Ok(());
        }
    }
    Ok(())
}

async fn look(plane: &Plane, disk: &Disk) -> Result<Look, WorkError> {
    let now = plane.ports.clock.now();
    match disk.state {
        DiskState::Creating => apply(plane, disk, Disk::made).await,
        DiskState::Attached => match &disk.pending {
            Some(pending) => snapshots::live(plane, disk, pending).await,
            None => Ok(Look::Rest),
        },
        DiskState::Detaching => match (&disk.pending, &disk.volume) {
            // One that was begun while the disk was in use is waited for: it comes before the last one.
            (Some(pending), _) => snapshots::go_on(plane, disk, pending).await,
            (None, None) => apply(plane, disk, Disk::unused).await,
            (None, Some(volume)) if plane.ports.volumes.detach(volume).await? => {
                let operation = plane.ports.ids.operation(now);
                apply(plane, disk, |disk, now| disk.back_up(operation, now)).await
            }
            (None, Some(_)) => Ok(Look::Rest),
        },
        DiskState::BackingUp => match &disk.pending {
            Some(pending) => snapshots::go_on(plane, disk, pending).await,
            None => Ok(Look::Rest),
        },
        DiskState::Available => at_rest(plane, disk, now).await,
        DiskState::Deleting if disk.operation.is_some() => apply(plane, disk, Disk::deleted).await,
        DiskState::Deleting if disk.delete_at.is_some_and(|at| at <= now) => apply(plane, disk, Disk::purge).await,
        DiskState::Deleting => Ok(Look::Rest),
        DiskState::Deleted => snapshots::let_all_go(plane, disk).await,
    }
}

/// What is to be done about a disk that nobody uses.
async fn at_rest(plane: &Plane, disk: &Disk, now: Timestamp) -> Result<Look, WorkError> {
    let tags = disk.naming.as_ref().filter(|naming| !naming.tried || !naming.errors.is_empty());
    match tags {
        Some(naming) if !naming.tried || disk.due_at().is_some_and(|due| due <= now) => {
            snapshots::tag(plane, disk).await
        }
        _ if disk.prune_at.is_some_and(|at| at <= now) => snapshots::prune(plane, disk).await,
        _ => Ok(Look::Rest),
    }
}

/// Writes what `decide` decides about a disk, unless it was changed since it was read: then it is looked at again.
pub(crate) async fn apply(
    plane: &Plane,
    disk: &Disk,
    decide: impl FnOnce(&Disk, Timestamp) -> Result<DiskChange, DiskRefusal>,
) -> Result<Look, WorkError> {
    let Ok(change) = decide(disk, plane.ports.clock.now()) else { return Ok(Look::Rest) };
    match plane.store.write_disk(&change, None, None).await {
        Ok(()) => {}
        Err(StoreError::Moved) => return Ok(Look::Again),
        Err(error) => return Err(error.into()),
    }
    sweep::reap_dropped(plane, &change).await;
    if change.disk.state == DiskState::Available && disk.state != DiskState::Available {
        // Somebody may wait for it, in any pool; the sweep rings too.
        for pool in &plane.settings.pools {
            plane.ring(&pool.id).await;
        }
    }
    Ok(Look::Again)
}
