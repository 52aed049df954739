//! The worker of the clock: what is due is done, and what was lost on the way is done again.
//!
//! Expiry and clean-up are two operations, so that a slow clean-up never keeps a job running past its end (trap T8).

mod meters;

pub use meters::close_meters;

use cloud::{Sighting, Tagged, launches::Launch};
use domain::{Timestamp, Workload, lifecycle::State, workload::Due};
use store::{
    Plane, StoreError, WorkError,
    workloads::{DueRow, Write},
};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Workloads that were moved on.
    pub moved: u32,
    /// Launches that were started again, and workloads that a launcher was told to look at again.
    pub nudged: u32,
    /// Outboxes whose messages were sent.
    pub relayed: u32,
    /// Pools in which somebody waits, and whose doorbell was rung.
    pub rung: u32,
    /// Rows whose turn failed; they come again with the next sweep.
    pub failed: u32,
}

/// Does what is due now, and rings for those who wait.
///
/// # Errors
/// When an index of what is due could not be read; what was done until then is done.
pub async fn sweep(plane: &Plane) -> Result<Swept, WorkError> {
    let mut swept = Swept::default();
    due(plane, &mut swept).await?;
    let (now, mut mark) = (plane.ports.clock.now(), None);
    loop {
        let (pools, next) = plane.store.due_pools(now, mark).await?;
        for pool in pools {
            plane.ring(&pool).await;
            swept.rung += 1;
        }
        match next {
            Some(_) => mark = next,
            None => return Ok(swept),
        }
    }
}

/// Goes through everything that is due, once, to the end: a row that stays due comes again with the next sweep.
async fn due(plane: &Plane, swept: &mut Swept) -> Result<(), WorkError> {
    let (now, mut mark) = (plane.ports.clock.now(), None);
    loop {
        let (rows, next) = plane.store.due(now, mark).await?;
        for row in rows {
            if let Err(error) = turn(plane, &row, now, swept).await {
                tracing::warn!(?row, %error, "sweep.row_failed");
                swept.failed += 1;
            }
        }
        match next {
            Some(_) => mark = next,
            None => return Ok(()),
        }
    }
}

async fn turn(plane: &Plane, row: &DueRow, now: Timestamp, swept: &mut Swept) -> Result<(), WorkError> {
    let (tenant, id) = match row {
        DueRow::Outbox(key) => {
            let messages = plane.store.outbox(key).await?;
            plane.relay(key, &messages).await?;
            swept.relayed += 1;
            return Ok(());
        }
        DueRow::Workload(tenant, id) => (tenant, *id),
    };
    let Some(workload) = plane.store.workload(tenant, id).await? else { return Ok(()) };
    match workload.due(now) {
        Due::Nothing if workload.state == State::Active => {
            // Nothing is due but a look: what it runs on may have gone away, and the message that said so may be lost.
            plane.ports.queue.send(&workload.reconcile()).await?;
            plane.store.looked_at(&workload, now).await?;
            swept.nudged += 1;
        }
        Due::Nothing => {}
        Due::Launch => {
            plane.ports.launches.start(&Launch { tenant: tenant.clone(), workload: id }).await?;
            swept.nudged += 1;
        }
        Due::Reconcile => {
            plane.ports.queue.send(&workload.reconcile()).await?;
            swept.nudged += 1;
        }
        Due::Change(change) => {
            // Whatever moves here has something to be done about it: GPUs to be given on, or processes to be ended.
            let message = change.rouses();
            let sends = change.workload.state != workload.state;
            let change = if sends { change.sending(plane.ports.ids.message(now), vec![message]) } else { *change };
            match plane.commit(&Write::of(change)).await {
                Ok(()) => swept.moved += 1,
                // Somebody else moved it meanwhile; if it is still due, the next sweep sees it.
                Err(StoreError::Moved) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Keeps the ledger's nodes of bought pools as the pools' budgets say. What is sold off while it is held goes when it is idle.
///
/// # Errors
/// When the tables fail; the next time comes.
pub async fn keep_nodes(plane: &Plane) -> Result<(), WorkError> {
    for pool in &plane.settings.pools {
        plane.store.keep_nodes(&pool.id, &pool.budget()).await?;
    }
    Ok(())
}

/// Ends what the fleet runs and nobody knows any more: workloads that are over, and attempts that were given up (invariant I3). Gives
/// how many were told to end. It has a clock of its own, so that a long list of instances delays nobody's expiry.
///
/// # Errors
/// When the fleet's list could not be read; the next time comes.
pub async fn end_orphans(plane: &Plane) -> Result<u32, WorkError> {
    let mut ended = 0;
    for Tagged { attempt, .. } in plane.ports.fleet.list().await? {
        let workload = plane.store.workload(&attempt.tenant, attempt.workload).await?;
        let wanted = |workload: &Workload| workload.state != State::Ended && workload.attempt == attempt.number;
        if workload.as_ref().is_some_and(wanted) {
            continue;
        }
        let seen = plane.ports.fleet.describe(&attempt).await?;
        if seen == Sighting::Running {
            plane.ports.fleet.terminate(&attempt).await?;
            ended += 1;
        }
    }
    Ok(ended)
}

/// Goes on with tenants that are being deleted. Gives how many are gone.
///
/// # Errors
/// When the list of them could not be read; the next time comes.
pub async fn let_tenants_go(plane: &Plane) -> Result<u32, WorkError> {
    let (now, mut mark, mut gone) = (plane.ports.clock.now(), None, 0);
    loop {
        let (tenants, next) = plane.store.due_tenants(now, mark).await?;
        for tenant in tenants {
            match plane.let_go(&tenant).await {
                Ok(went) => gone += u32::from(went),
                Err(error) => tracing::warn!(%tenant, %error, "sweep.tenant_failed"),
            }
        }
        match next {
            Some(_) => mark = next,
            None => return Ok(gone),
        }
    }
}
