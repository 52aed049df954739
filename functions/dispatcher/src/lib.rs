//! The worker that gives GPUs to those who wait.
//!
//! A doorbell says *look at this pool*. The queue lets one dispatcher at a time look at a pool; the conditions of its transactions
//! keep it right when that rule is broken.

use cloud::launches::Launch;
use domain::{PoolId, Timestamp, placement};
use store::{Plane, StoreError, WorkError, workloads::Write};

/// How many of those who wait are looked at in one pass. A pass that places all of them rings for another.
const A_PASS: i32 = 100;

/// Places what can be placed in a pool.
///
/// # Errors
/// When a pass could not be finished; the doorbell comes again, and what was placed stays placed.
pub async fn ring(plane: &Plane, pool: &PoolId) -> Result<(), WorkError> {
    let view = plane.store.pool(pool).await?;
    let waiting = plane.store.waiting(pool, A_PASS).await?;
    let decided = placement::decide(&view.nodes, &waiting);
    let placed = u64::try_from(decided.len()).unwrap_or(u64::MAX);
    let whole_page =
        !waiting.is_empty() && decided.len() == waiting.len() && waiting.len() >= usize::try_from(A_PASS).unwrap_or(0);
    for place in decided {
        if !book(plane, pool, &place).await? {
            // Somebody else was here: what was decided on is no longer so.
            plane.ring(pool).await;
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

/// Books a workload's GPUs and starts its launch; false when the ledger is not as it was when this was decided.
async fn book(plane: &Plane, pool: &PoolId, place: &placement::Place) -> Result<bool, WorkError> {
    let now = plane.ports.clock.now();
    let launch = Launch { tenant: place.waiting.tenant.clone(), workload: place.waiting.workload };
    match plane.store.place(pool, place, now).await {
        Ok(()) => {}
        Err(StoreError::NoRoom) => return Ok(false),
        Err(StoreError::Moved) if !book_changed(plane, place, now).await? => return Ok(false),
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
async fn book_changed(plane: &Plane, place: &placement::Place, now: Timestamp) -> Result<bool, WorkError> {
    let found = plane.store.workload(&place.waiting.tenant, place.waiting.workload).await?;
    let Some(change) = found.and_then(|workload| workload.place(&place.node, now).ok()) else { return Ok(false) };
    match plane.store.write(&Write::of(change)).await {
        Ok(()) => Ok(true),
        Err(StoreError::Moved | StoreError::NoRoom) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
