//! What drives the workers: the queues, the launches and the clock.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::message::Message;
use serde_json::Value;
use store::{Plane, WorkError};

use crate::{
    launches::{LocalLaunches, Steps},
    machine::TaskError,
    nodes,
    queue::Consumer,
    settings::NodeSpec,
};

/// The first sweep comes soon, because a start is when most is left over; but not before what was left over counts as such
/// (`domain::policy::SECOND_TRY`). On AWS a sweep costs money and comes every minute; here it costs next to nothing.
const FIRST_SWEEP: Duration = Duration::from_secs(6);
const BETWEEN_SWEEPS: Duration = Duration::from_secs(10);

/// The workers, over one plane.
pub(crate) struct Workers {
    pub(crate) plane: Plane,
}

#[async_trait]
impl Consumer for Workers {
    async fn consume(&self, message: Message) -> Result<(), WorkError> {
        match message {
            Message::Doorbell { pool } => dispatcher::ring(&self.plane, &pool).await,
            Message::Reconcile { tenant, workload } => launcher::reconcile(&self.plane, &tenant, workload).await,
        }
    }
}

#[async_trait]
impl Steps for Workers {
    async fn step(&self, handler: &str, payload: Value) -> Result<Value, TaskError> {
        let stepped = launcher::step(&self.plane, handler, payload).await;
        stepped.map_err(|error| TaskError::new(error.error, error.cause))
    }
}

/// Sweeps until it is aborted. A sweep that takes long delays the next, so that there are never two at once.
pub(crate) async fn sweeps(plane: Plane, launches: LocalLaunches, nodes: Vec<NodeSpec>) {
    let clock = Arc::clone(&plane.ports.clock);
    clock.sleep(FIRST_SWEEP).await;
    loop {
        let swept = tokio::spawn({
            let plane = plane.clone();
            async move {
                let swept = sweeper::sweep(&plane).await?;
                Ok::<_, WorkError>((swept, sweeper::end_orphans(&plane).await?))
            }
        });
        match swept.await {
            Ok(Ok((swept, orphans))) => tracing::debug!(?swept, orphans, "sweep.done"),
            Ok(Err(error)) => tracing::error!(%error, "sweep.failed"),
            Err(died) => tracing::error!(error = %died, "sweep.died"),
        }
        if let Err(error) = launches.forget_old().await {
            tracing::warn!(%error, "launches.not_forgotten");
        }
        if let Err(error) = nodes::keep(&plane.store, &nodes).await {
            tracing::warn!(%error, "nodes.not_kept");
        }
        clock.sleep(BETWEEN_SWEEPS).await;
    }
}
