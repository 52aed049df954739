//! The worker that gives GPUs to those who wait.
//!
//! A doorbell says *look at this pool*. The queue lets one dispatcher at a time look at a pool; the conditions of its transactions
//! keep it right when that rule is broken.

use std::collections::BTreeMap;

use cloud::launches::Launch;
use domain::{
    Disk, PoolId, Timestamp, WorkloadId,
    disk::DiskChange,
    message::Message,
    placement::{self, Waiting},
};
use store::{
    Plane, StoreError, WorkError,
    workloads::{DiskWrite, Write},
};

/// How many of those who wait are looked at in one pass. A pass that places all of them rings for another.
const A_PASS: i32 = 100;

/// Places what can be placed in a pool.
///
/// # Errors
/// When a pass could not be finished; the doorbell comes again, and what was placed stays placed.
pub async fn ring(plane: &Plane, pool: &PoolId) -> Result<(), WorkError> {
    let view = plane.store.pool(pool).await?;
    let waiting = plane.store.waiting(pool, A_PASS).await?;
    let (waiting, disks) = without_those_kept_waiting(plane, waiting).await?;
    let decided = placement::decide(&view.nodes, &waiting);
    let placed = u64::try_from(decided.len()).unwrap_or(u64::MAX);
    let whole_page =
        !waiting.is_empty() && decided.len() == waiting.len() && waiting.len() >= usize::try_from(A_PASS).unwrap_or(0);
    for place in decided {
        if !book(plane, pool, &place, disks.get(&place.waiting.workload)).await? {
            // Somebody else was here: what was decided on is no longer so. The sweep does not know yet that somebody waits here, so that a
            // bell which cannot be rung has to fail this one, which then comes again.
            plane.ports.queue.send(&Message::Doorbell { pool: pool.clone() }).await?;
            return Ok(());
        }
    }
    let left = view.counts.queued.saturating_sub(placed);
    if left != view.left_waiting {
        plane.store.passed(pool, view.left_waiting, left, plane.ports.clock.now()).await?;
    }
    if whole_page {
        plane.ring(pool).await;
    }
    Ok(())
}

/// Those whose disk can be had, with their disks; and whoever waits for another is told so. Two that wait for one disk go one after the
/// other.
async fn without_those_kept_waiting(
    plane: &Plane,
    waiting: Vec<Waiting>,
) -> Result<(Vec<Waiting>, BTreeMap<WorkloadId, Disk>), WorkError> {
    let (mut free, mut disks) = (Vec::new(), BTreeMap::new());
    for one in waiting {
        let Some(needed) = &one.disk else {
            free.push(one);
            continue;
        };
        let disk = plane.store.disk(&one.tenant, &needed.owner, needed.disk).await?;
        let taken = disk.as_ref().is_some_and(|disk| disks.values().any(|other: &Disk| other.id == disk.id));
        let why = match &disk {
            Some(_) if taken => Some("is in use by another job"),
            Some(disk) => disk.keeps_waiting(),
            None => Some("is not there any more"),
        };
        match (why, disk) {
            (None, Some(disk)) => {
                disks.insert(one.workload, disk);
                free.push(one);
            }
            (Some(why), _) => tell(plane, &one, why).await?,
            (None, None) => {}
        }
    }
    Ok((free, disks))
}

/// Tells an owner, once, why a job waits.
async fn tell(plane: &Plane, waiting: &Waiting, why: &str) -> Result<(), WorkError> {
    plane
        .decide((&waiting.tenant, waiting.workload), |workload, now| async move {
            Ok((workload.and_then(|workload| workload.kept_waiting(why, now)).map(Write::of), ()))
        })
        .await
}

/// Books a workload's GPUs, gives it its disk and starts its launch; false when the ledger is not as it was when this was decided.
async fn book(plane: &Plane, pool: &PoolId, place: &placement::Place, disk: Option<&Disk>) -> Result<bool, WorkError> {
    let now = plane.ports.clock.now();
    let launch = Launch { tenant: place.waiting.tenant.clone(), workload: place.waiting.workload };
    let held = disk.zip(place.waiting.disk.as_ref());
    let held = held.map(|(disk, needed)| disk.hold(place.waiting.workload, needed.size_gb, now)).transpose();
    let Ok(held) = held else { return Ok(false) };
    match plane.store.place(pool, place, held.as_ref(), now).await {
        Ok(()) => {}
        Err(StoreError::NoRoom) => return Ok(false),
        Err(StoreError::Moved) if !book_changed(plane, place, held, now).await? => return Ok(false),
        Err(StoreError::Moved) => {}
        Err(error) => return Err(error.into()),
    }
    if let Err(error) = plane.ports.launches.start(&launch).await {
        // It is placed, and the sweep starts its launch within a minute.
        tracing::warn!(workload = %launch.workload, %error, "launch.left_to_the_sweep");
    }
    Ok(true)
}

/// Books for a workload that was changed since it began to wait: its keys were fetched, say.
async fn book_changed(
    plane: &Plane,
    place: &placement::Place,
    held: Option<DiskChange>,
    now: Timestamp,
) -> Result<bool, WorkError> {
    let found = plane.store.workload(&place.waiting.tenant, place.waiting.workload).await?;
    let Some(change) = found.and_then(|workload| workload.place(&place.node, now).ok()) else { return Ok(false) };
    match plane.store.write(&Write { disk: held.map(DiskWrite::of), ..Write::of(change) }).await {
        Ok(()) => Ok(true),
        Err(StoreError::Moved | StoreError::NoRoom) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
