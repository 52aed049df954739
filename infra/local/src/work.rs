//! What drives the workers: the queues, the launches and the clock.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::message::Message;
use serde_json::Value;
use store::{Plane, WorkError, embedded::Embedded};

use crate::{
    fleet::LocalFleet,
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
/// What nobody knows does no harm for a while: this reads every disk that there is.
const BETWEEN_ORPHANS: Duration = Duration::from_secs(60);
/// Rows outlive what they are needed for by a day and more, so that nobody waits for them to go.
const BETWEEN_EXPIRIES: Duration = Duration::from_secs(3600);

/// The workers, over one plane.
pub(crate) struct Workers {
    pub(crate) plane: Plane,
}

#[async_trait]
impl Consumer for Workers {
    async fn consume(&self, message: Message) -> Result<(), WorkError> {
        match message {
            Message::Doorbell { pool } => dispatcher::ring(&self.plane, &pool).await,
            Message::Reconcile { tenant, workload } => {
                Box::pin(launcher::reconcile(&self.plane, &tenant, workload)).await
            }
            Message::Disk { tenant, owner, disk } => disk_worker::tend(&self.plane, &tenant, &owner, disk).await,
        }
    }

    async fn give_up(&self, message: Message, error: Option<WorkError>) -> Result<(), WorkError> {
        match message {
            // They are about no job, and so fail none: the sweep rings again while somebody waits, and looks again at each disk.
            Message::Doorbell { .. } | Message::Disk { .. } => Ok(()),
            Message::Reconcile { tenant, workload } => {
                launcher::give_up(&self.plane, &tenant, workload, error.as_ref()).await
            }
        }
    }
}

#[async_trait]
impl Steps for Workers {
    async fn step(&self, handler: &str, payload: Value) -> Result<Value, TaskError> {
        let stepped = Box::pin(launcher::step(&self.plane, handler, payload)).await;
        stepped.map_err(|error| TaskError::new(error.error, error.cause))
    }
}

/// What is kept in order, again and again.
pub(crate) struct Upkeep {
    pub(crate) plane: Plane,
    pub(crate) launches: LocalLaunches,
    pub(crate) fleet: LocalFleet,
    pub(crate) database: Embedded,
    pub(crate) nodes: Vec<NodeSpec>,
}

/// Sweeps until it is aborted. A sweep that takes long delays the next, so that there are never two at once.
pub(crate) async fn sweeps(upkeep: Upkeep) {
    let Upkeep { plane, launches, fleet, database, nodes } = upkeep;
    let clock = Arc::clone(&plane.ports.clock);
    clock.sleep(FIRST_SWEEP).await;
    let (mut expire_at, mut orphans_at) = (clock.now(), clock.now());
    loop {
        let swept = tokio::spawn({
            let plane = plane.clone();
            async move {
                let swept = sweeper::sweep(&plane).await?;
                sweeper::close_meters(&plane).await?;
                sweeper::let_tenants_go(&plane).await?;
                Ok::<_, WorkError>((swept, sweeper::end_orphans(&plane).await?))
            }
        });
        match swept.await {
            Ok(Ok((swept, orphans))) => tracing::debug!(?swept, orphans, "sweep.done"),
            Ok(Err(error)) => tracing::error!(%error, "sweep.failed"),
            Err(died) => tracing::error!(error = %died, "sweep.died"),
        }
        let orphans_too = clock.now() >= orphans_at;
        if orphans_too {
            orphans_at = clock.now().plus(BETWEEN_ORPHANS);
        }
        disks(&plane, orphans_too).await;
        fleet.forget_old().await;
        if let Err(error) = launches.forget_old().await {
            tracing::warn!(%error, "launches.not_forgotten");
        }
        if let Err(error) = nodes::keep(&plane.store, &nodes).await {
            tracing::warn!(%error, "nodes.not_kept");
        }
        if clock.now() >= expire_at {
            expire(&database).await;
            expire_at = clock.now().plus(BETWEEN_EXPIRIES);
        }
        clock.sleep(BETWEEN_SWEEPS).await;
    }
}

/// Does what is due about disks, and ends what no disk knows.
async fn disks(plane: &Plane, orphans_too: bool) {
    let plane = plane.clone();
    let swept = tokio::spawn(async move {
        let swept = disk_worker::sweep(&plane).await?;
        let orphans = if orphans_too { disk_worker::end_orphans(&plane).await? } else { 0 };
        Ok::<_, WorkError>((swept, orphans))
    });
    match swept.await {
        Ok(Ok((swept, orphans))) => tracing::debug!(?swept, orphans, "disks.swept"),
        Ok(Err(error)) => tracing::error!(%error, "disks.sweep_failed"),
        Err(died) => tracing::error!(error = %died, "disks.sweep_died"),
    }
}

/// Removes the rows whose time is over, which on AWS the tables do by themselves.
async fn expire(database: &Embedded) {
    let database = database.clone();
    match tokio::task::spawn_blocking(move || database.expire()).await {
        Ok(Ok(rows)) => tracing::debug!(rows, "tables.expired"),
        Ok(Err(error)) => tracing::warn!(%error, "tables.not_expired"),
        Err(died) => tracing::error!(error = %died, "tables.not_expired"),
    }
}

#[cfg(test)]
mod tests {
    use cloud::{Attempt, Clock, Fleet, TaskToken, sim::World};
    use domain::{PoolId, Secret, TenantId, Timestamp, WorkloadId};
    use store::{Store, embedded::simulated, workloads::Awaited};

    use super::*;
    use crate::{fleet::FleetSettings, settings::SandboxKind};

    /// A clock that stands still in 1970, so that whatever is written by it was over long ago.
    struct LongAgo;

    #[async_trait]
    impl Clock for LongAgo {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }

        async fn sleep(&self, _pause: Duration) {}
    }

    fn fleet(folder: &std::path::Path, world: &World) -> LocalFleet {
        let settings = FleetSettings {
            model_server: domain::agent::ModelServer::Vllm,
            program: folder.join("none"),
            nodes: Vec::new(),
            plane_url: String::new(),
            listen: std::net::Ipv4Addr::LOCALHOST.into(),
            public_host: String::new(),
            host_key: folder.join("host_key"),
            attempts: folder.join("attempts"),
            pods: folder.join("pods"),
            images: None,
            sandbox: SandboxKind::Auto,
            log_level: String::new(),
        };
        LocalFleet::open(settings, world.ports().clock, world.ports().queue).unwrap()
    }

    /// Lets `seconds` pass since the world began, and waits until the turn that begins then is over.
    async fn turn(world: &World, begun: Timestamp, seconds: u64) {
        world.move_to(begun.plus(Duration::from_secs(seconds)));
        while world.next_timer().is_none() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_over_goes_once_an_hour() {
        let (folder, world, database) = (tempfile::tempdir().unwrap(), World::new(1), Embedded::in_memory().unwrap());
        let begun = world.now();
        let store = Store::new(database.client(), "", Arc::new(LongAgo), world.ports().ids);
        store.create_tables().await.unwrap();
        let (clock, ids) = (world.ports().clock, world.ports().ids);
        let launches = LocalLaunches::new(store.clone(), clock, ids, &launcher::HANDLERS).unwrap();
        let (plane, fleet) = (simulated::plane(&world, store.clone()), fleet(folder.path(), &world));
        let (tenant, workload) = (TenantId::new("t"), WorkloadId::new(begun, &[1; 32]));
        let keep = async || {
            let token = TaskToken(Secret::new("a token"));
            store.keep_token((&tenant, workload), Awaited::Boot, &token).await.unwrap();
        };
        let attempt = Attempt { tenant: tenant.clone(), workload, number: 1, pool: PoolId::new("local/h100") };
        let left = async || store.tokens(&tenant, workload, &[Awaited::Boot]).await.unwrap().len();
        keep().await;
        fleet.describe(&attempt).await.unwrap();
        let records = || std::fs::read_dir(folder.path().join("attempts")).unwrap().count();
        tokio::spawn(sweeps(Upkeep { plane, launches, fleet, database, nodes: Vec::new() }));
        turn(&world, begun, 0).await;
        for (second, expected) in [(5, 1), (6, 0)] {
            turn(&world, begun, second).await;
            assert_eq!(left().await, expected, "{second}");
        }
        keep().await;
        for (second, expected) in [(3_605, 1), (3_620, 0)] {
            turn(&world, begun, second).await;
            assert_eq!(left().await, expected, "{second}");
        }
        assert_eq!(records(), 1);
        turn(&world, begun, 8 * 24 * 3_600).await;
        assert_eq!(records(), 0, "what the fleet ended long ago is forgotten");
    }
}
