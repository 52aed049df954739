//! The undo of every step: what runs is ended, and when the fleet says that nothing runs any more, the GPUs are free.

use cloud::{Attempt, Sighting};
use domain::{Disk, Timestamp, Workload, disk::DiskChange};
use store::{
    Plane, StoreError, WorkError,
    workloads::{DiskWrite, Write},
};

/// Ends what a draining workload runs. While it may still finish by itself it is left alone; the sweep comes back when grace is over.
pub(crate) async fn wind_down(plane: &Plane, workload: Workload) -> Result<(), WorkError> {
    let attempt = Attempt::of(&workload);
    // Nothing was ever asked for, and nothing can be any more: an attempt is stored first, and a draining workload begins none.
    if attempt.number == 0 {
        return end(plane, workload, None).await;
    }
    let fleet = plane.fleet_of(&workload).await?;
    let now = plane.ports.clock.now();
    let finishing = workload.ending.as_ref().is_some_and(|ending| ending.left_at.is_none() && now < ending.kill_at);
    if finishing && fleet.describe(&attempt).await? == Sighting::Running {
        return Ok(());
    }
    // Also of what is gone: an order that is still on its way must not make anything any more (invariant I4).
    fleet.terminate(&attempt).await?;
    match fleet.describe(&attempt).await? {
        Sighting::Gone { stopped_at } => end(plane, workload, stopped_at).await,
        Sighting::Running => Ok(()),
    }
}

/// Fails a workload whose instance is gone while it should run.
pub(crate) async fn notice_loss(plane: &Plane, workload: &Workload) -> Result<(), WorkError> {
    // Before the fleet has answered, its not knowing the attempt says nothing.
    if workload.instance.is_none() {
        return Ok(());
    }
    let fleet = plane.fleet_of(workload).await?;
    let seen = fleet.describe(&Attempt::of(workload)).await?;
    let Sighting::Gone { stopped_at } = seen else { return Ok(()) };
    let now = plane.ports.clock.now();
    let Ok(change) = workload.fail("what it ran on is gone", now) else { return Ok(()) };
    let (workload, message) = (change.workload.clone(), change.workload.reconcile());
    match plane.commit(&Write::of(change.sending(plane.ports.ids.message(now), vec![message]))).await {
        Ok(()) => {}
        // Whoever moved it has sent a message of their own, or the sweep will.
        Err(StoreError::Moved) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    // Its launch may still wait for the agent, and nobody looks at a workload again that has ended.
    crate::release_launch(plane, &workload).await?;
    fleet.terminate(&Attempt::of(&workload)).await?;
    end(plane, workload, stopped_at).await
}

/// Gives its GPUs and its disk back, and rings for the next.
async fn end(plane: &Plane, workload: Workload, stopped_at: Option<Timestamp>) -> Result<(), WorkError> {
    let ended = plane.decide_on(&workload, |held, now| async move {
        let Some(change) = held.and_then(|held| held.end(stopped_at, now).ok()) else { return Ok((None, None)) };
        let disk = release_disk(plane, &change.workload, now).await?;
        let released = disk.as_ref().map(|disk| disk.disk.clone());
        Ok((Some(Write { disk: disk.map(DiskWrite::of), ..Write::of(change) }), Some(released)))
    });
    let ended: Result<Option<Option<Disk>>, WorkError> = ended.await;
    let Some(released) = ended? else { return Ok(()) };
    plane.ring(workload.pool()).await;
    if let Some(disk) = released {
        plane.tend(&disk).await;
    }
    Ok(())
}

/// Its disk is given back in the transaction that ends it; nobody else has it before its worker has backed it up.
async fn release_disk(plane: &Plane, workload: &Workload, now: Timestamp) -> Result<Option<DiskChange>, WorkError> {
    let Some(of) = workload.needs_disk() else { return Ok(None) };
    let disk = plane.store.disk(&workload.tenant, &of.owner, of.disk).await?;
    Ok(disk.and_then(|disk| disk.release(workload.id, now).ok()))
}
