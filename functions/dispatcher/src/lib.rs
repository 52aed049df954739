//! The worker that gives GPUs to those who wait.
//!
//! A doorbell says *look at this pool*. The queue lets one dispatcher at a time look at a pool; the conditions of its transactions
//! keep it right when that rule is broken.

use cloud::{PortError, launches::Launch};
use domain::{PoolId, Workload, placement};
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
        if !book(plane, &place).await? {
            // Somebody else was here: what was decided on is no longer so.
            plane.ring(pool).await;
            return Ok(());
        }
    }
    let left = view.counts.queued.saturating_sub(placed);
    if left != view.left_waiting {
        plane.store.passed(pool, left, plane.ports.clock.now()).await?;
    }
    if whole_page {
        plane.ring(pool).await;
    }
    Ok(())
}

/// Books a workload's GPUs and starts its launch; false when the ledger is not as it was when this was decided.
async fn book(plane: &Plane, place: &placement::Place) -> Result<bool, WorkError> {
    let now = plane.ports.clock.now();
    let (tenant, id) = (&place.waiting.tenant, place.waiting.workload);
    let found = plane.store.workload(tenant, id).await?;
    let Some(change) = found.and_then(|workload| workload.place(&place.node, now).ok()) else { return Ok(false) };
    let changes = [change];
    match plane.store.write(&Write::of(&changes)).await {
        Ok(()) => {}
        Err(StoreError::Moved | StoreError::NoRoom) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let [change] = changes;
    if let Err(error) = launch(plane, &change.workload).await {
        // It is placed, and the sweep starts its launch within a minute.
        tracing::warn!(workload = %id, %error, "launch.left_to_the_sweep");
    }
    Ok(true)
}

async fn launch(plane: &Plane, workload: &Workload) -> Result<(), PortError> {
    plane.ports.launches.start(&Launch { tenant: workload.tenant.clone(), workload: workload.id }).await
}
