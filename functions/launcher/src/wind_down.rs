//! The undo of every step: what runs is ended, and when the fleet says that nothing runs any more, the GPUs are free.

use cloud::{Attempt, Sighting};
use domain::{Timestamp, Workload};
use store::{Plane, StoreError, WorkError, workloads::Write};

/// Ends what a draining workload runs. While it may still finish by itself it is left alone; the sweep comes back when grace is over.
pub(crate) async fn wind_down(plane: &Plane, workload: Workload) -> Result<(), WorkError> {
    let attempt = Attempt::of(&workload);
    // Nothing was ever asked for, and nothing can be any more: an attempt is stored first, and a draining workload begins none.
    if attempt.number == 0 {
        return end(plane, workload, None).await;
    }
    let now = plane.ports.clock.now();
    let finishing = workload.ending.as_ref().is_some_and(|ending| ending.left_at.is_none() && now < ending.kill_at);
    if finishing && plane.ports.fleet.describe(&attempt).await? == Sighting::Running {
        return Ok(());
    }
    // Also of what is gone: an order that is still on its way must not make anything any more (invariant I4).
    plane.ports.fleet.terminate(&attempt).await?;
    match plane.ports.fleet.describe(&attempt).await? {
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
    let seen = plane.ports.fleet.describe(&Attempt::of(workload)).await?;
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
    plane.ports.fleet.terminate(&Attempt::of(&workload)).await?;
    end(plane, workload, stopped_at).await
}

/// Gives its GPUs back and rings for the next.
async fn end(plane: &Plane, workload: Workload, stopped_at: Option<Timestamp>) -> Result<(), WorkError> {
    let ended = plane.decide_on(&workload, |held, now| async move {
        let change = held.and_then(|held| held.end(stopped_at, now).ok());
        let ends = change.is_some();
        Ok((change.map(Write::of), ends))
    });
    let ended: Result<bool, WorkError> = ended.await;
    if ended? {
        plane.ring(workload.pool()).await;
    }
    Ok(())
}
