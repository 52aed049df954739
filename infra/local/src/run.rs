//! Starting and stopping the plane.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::serve::ListenerExt;
use cloud::{
    Clock, FixedSecrets, GithubKeys, HttpProviders, HttpUpstreams, Ids, InstallationSecrets, KeyVault, OsIds, Ports,
    Queue, SystemClock,
};
use domain::{PoolId, Secret, policy::Policy};
use store::{Plane, Pool, Store, embedded::Embedded};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use web::{
    Surface,
    serve::{Front, Hosts},
};

use crate::{
    StartError,
    data::DataDir,
    fleet::{FleetSettings, LocalFleet},
    identity::LocalIdentity,
    launches::{LocalLaunches, Steps},
    nodes,
    queue::{Consumer, LocalQueue},
    settings::{NodeSpec, Nodes, Settings},
    volumes::{LocalVolumes, Way},
    work::{self, Upkeep, Workers},
};

/// How often agents say how they are, in milliseconds: while a workload is launched, and later.
const SYNC_MS: (u64, u64) = (200, 2_000);

/// How long a stop waits for work that was begun, for the agents, and for answers that are being given.
const LAST_WORK: Duration = Duration::from_secs(2);
const LAST_AGENTS: Duration = Duration::from_secs(14);
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The plane, running.
#[expect(missing_debug_implementations, reason = "it is made of ports, which have nothing to show")]
pub struct Local {
    address: SocketAddr,
    plane: Plane,
    made_token: Option<Secret>,
    queue: LocalQueue,
    launches: LocalLaunches,
    fleet: LocalFleet,
    /// How disks are copied.
    way: Way,
    workers: [JoinHandle<()>; 3],
    close: oneshot::Sender<()>,
    server: JoinHandle<()>,
    /// Held until the end, so that no second process uses the data.
    data: DataDir,
}

impl Local {
    /// Starts everything and begins to answer. It takes well under a second.
    ///
    /// # Errors
    /// When something that it needs cannot be had; the error says what to do.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let specs = settings.nodes.named(agent::gpus)?;
        let data = DataDir::open(&settings.data_dir)?;
        // The port is taken before anything is changed, so that a start that cannot succeed changes nothing.
        let address = SocketAddr::new(settings.listen, settings.port);
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock), Arc::new(OsIds));
        let vault = KeyVault::new(data.vault_key(settings.vault_key.as_ref(), &*ids)?, Arc::clone(&ids));
        let (token, made) = match &settings.admin_token {
            Some(token) => (token.clone(), false),
            None => data.admin_token(&*ids)?,
        };

        let database = Embedded::open(&data.database()?)?;
        let store = Store::new(database.client(), "", Arc::clone(&clock), Arc::clone(&ids));
        // The folder is locked: nobody else opens the file while this process runs.
        let store = store.with_changes(database.changes());
        store.create_tables().await?;
        nodes::keep(&store, &specs).await?;

        let queue = LocalQueue::open(store.clone(), Arc::clone(&clock), Arc::clone(&ids)).await?;
        let launches = LocalLaunches::new(store.clone(), Arc::clone(&clock), Arc::clone(&ids), &launcher::HANDLERS)?;
        let fleet_settings = fleet_settings(&settings, &data, &specs, address)?;
        let identity = LocalIdentity::new(!settings.is_wide(), Arc::clone(&clock));
        let sender = Arc::new(queue.clone()) as Arc<dyn Queue>;
        let fleet = LocalFleet::open(fleet_settings, Arc::clone(&clock), Arc::clone(&sender))?;
        let volumes = LocalVolumes::open(&data.disks(), Arc::new(fleet.clone()))?;
        let way = volumes.way();
        let providers = HttpProviders::new(settings.providers.clone(), Arc::clone(&clock))?;
        let ports = Ports {
            clock,
            ids,
            queue: sender,
            launches: Arc::new(launches.clone()),
            fleet: Arc::new(fleet.clone()),
            volumes: Arc::new(volumes),
            identity: Arc::new(identity),
            vault: Arc::new(vault),
            people: Arc::new(GithubKeys::new(&settings.github_url)?),
            providers: Arc::new(providers),
            upstreams: Arc::new(HttpUpstreams::new()),
        };
        let plane =
            Plane { store, ports, settings: Arc::new(offered(&settings, &specs, &token)), memory: Arc::default() };

        fleet.settle().await?;
        let workers = Arc::new(Workers { plane: plane.clone() });
        launches.run(Arc::clone(&workers) as Arc<dyn Steps>).await?;
        let consuming = tokio::spawn(queue.clone().run(workers as Arc<dyn Consumer>));
        let nodes = specs.clone();
        let upkeep = Upkeep { plane: plane.clone(), launches: launches.clone(), fleet: fleet.clone(), database, nodes };
        let sweeping = tokio::spawn(work::sweeps(upkeep));
        let keeping = tokio::spawn({
            let plane = plane.clone();
            async move { plane.keep_memory().await }
        });
        let (close, server) = serve(listener, plane.clone(), front(&settings, address));
        let made_token = made.then_some(token);
        let workers = [consuming, sweeping, keeping];
        let local = Self { address, plane, made_token, queue, launches, fleet, way, workers, close, server, data };
        local.welcome(&settings, &specs);
        Ok(local)
    }

    /// Where it answers.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the operations touch, for tests that look behind the API.
    #[must_use]
    pub const fn plane(&self) -> &Plane {
        &self.plane
    }

    /// The admin's token, if it was made by this start: it is to be shown once.
    #[must_use]
    pub const fn made_admin_token(&self) -> Option<&Secret> {
        self.made_token.as_ref()
    }

    /// Stops in order: nothing new is begun, agents end their jobs and still find somebody to tell, then nobody answers any more.
    ///
    /// What waits in the tables goes on with the next start; what ran has ended, and the next start tells its owners.
    pub async fn stop(self) {
        tracing::info!("stopping: jobs that run are ended, and jobs that wait go on with the next start");
        let [consuming, sweeping, keeping] = self.workers;
        sweeping.abort();
        self.queue.stop(LAST_WORK).await;
        consuming.abort();
        self.launches.stop().await;
        self.fleet.stop(LAST_AGENTS).await;
        if self.close.send(()).is_err() {
            tracing::warn!("the server had stopped by itself");
        }
        let mut server = self.server;
        if tokio::time::timeout(LAST_ANSWERS, &mut server).await.is_err() {
            // Somebody follows a stream, which has no end of its own.
            server.abort();
        }
        keeping.abort();
        self.plane.leave_memory().await;
        drop(self.data);
    }

    fn welcome(&self, settings: &Settings, nodes: &[NodeSpec]) {
        let url = self_url(self.address);
        let mut counts = BTreeMap::<String, u32>::new();
        for node in nodes {
            *counts.entry(format!("{}x{}", node.gpu, node.indexes.len())).or_default() += 1;
        }
        let nodes = counts.iter().map(|(node, count)| format!("{count} of {node}")).collect::<Vec<_>>().join(", ");
        let kind = match settings.nodes {
            Nodes::Auto => "this machine's own GPUs",
            Nodes::Simulated(_) => "simulated GPUs; jobs run as real processes here",
        };
        tracing::info!("Slipway answers at {url}");
        tracing::info!("  documentation  {url}/docs");
        tracing::info!("  data           {}", self.data.root().display());
        tracing::info!("  nodes          {nodes} ({kind})");
        tracing::info!("  disks          {}", self.way.words());
        if let Some(warning) = settings.sky.warning() {
            tracing::warn!("{warning}");
        }
        if settings.is_wide() {
            tracing::info!("  open to        {}", settings.hosts.join(", "));
            tracing::warn!(
                "nobody can log in: the login with any AWS keys is for this machine alone, and others cannot be given keys yet; \
                 only keys that are live already open anything. To log in, unset SLIPWAY_LISTEN and SLIPWAY_HOSTS"
            );
        }
    }
}

/// What this installation allows and offers.
fn offered(settings: &Settings, nodes: &[NodeSpec], admin_token: &Secret) -> store::Settings {
    let mut pools = BTreeMap::<PoolId, Pool>::new();
    for node in nodes {
        let offered = Pool { id: node.pool.clone(), gpu: node.gpu, max_per_node: 0, nodes: 0, gpu_hour_usd: None };
        let pool = pools.entry(node.pool.clone()).or_insert(offered);
        pool.max_per_node = pool.max_per_node.max(node.count());
    }
    store::Settings {
        version: env!("CARGO_PKG_VERSION"),
        policy: Policy { key_ttl_hours: settings.key_ttl_hours, ..Policy::default() },
        pools: pools.into_values().collect(),
        region: None,
        secrets: Arc::new(FixedSecrets(Arc::new(InstallationSecrets {
            admin_token: admin_token.hash(),
            login: settings.login.clone(),
            origin: None,
            jwt: settings.jwt_secret.clone(),
            service_token: settings.sky.service_token.as_ref().map(Secret::hash),
        }))),
        sync_ms: SYNC_MS,
    }
}

fn fleet_settings(
    settings: &Settings,
    data: &DataDir,
    nodes: &[NodeSpec],
    address: SocketAddr,
) -> Result<FleetSettings, StartError> {
    let own = || std::env::current_exe().map_err(|source| StartError::System { what: "finding this program", source });
    let program = settings.program.clone().map_or_else(own, Ok)?;
    let absolute = |path: &std::path::PathBuf| std::fs::canonicalize(path).map_err(StartError::file("using", path));
    Ok(FleetSettings {
        program,
        nodes: nodes.to_vec(),
        plane_url: self_url(address),
        listen: settings.listen,
        public_host: settings.public_host(),
        host_key: data.host_key(),
        attempts: data.attempts(),
        pods: data.pods(),
        images: settings.images.as_ref().map(absolute).transpose()?,
        sandbox: settings.sandbox,
        model_server: settings.model_server.clone(),
        log_level: settings.log_level.clone(),
    })
}

/// Where programs of this machine find us.
fn self_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

fn front(settings: &Settings, address: SocketAddr) -> Front {
    let hosts = if settings.is_wide() {
        // Agents on this machine come by its own addresses. No web page can have those for its name.
        let own = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), address.ip().to_string()];
        Hosts::Listed(settings.hosts.iter().cloned().chain(own).collect())
    } else {
        Hosts::Loopback
    };
    Front { hosts, cors_origins: settings.cors_origins.clone() }
}

/// Every surface, in the order of the API document.
#[must_use]
pub fn surfaces() -> Vec<Surface> {
    vec![
        meta::surface(),
        auth::surface(),
        keys::surface(),
        jobs::surface(),
        disks::surface(),
        credentials::surface(),
        cluster::surface(),
        tenants::surface(),
        models::surface(),
        usage::surface(),
        clusters::surface(),
        ::nodes::surface(),
        instances::surface(),
        inference::surface(),
        agent_api::surface(),
    ]
}

/// Answers until it is told to close.
fn serve(listener: TcpListener, plane: Plane, front: Front) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let routes = web::serve::mount(plane.settings.version, surfaces());
    let router = web::serve::router(plane, routes, front);
    let listener = listener.tap_io(|stream| {
        // Small answers should not wait for each other.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays as it is");
        }
    });
    let (close, closed) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let closing = async move {
            // A sender that is gone means the same as one that has spoken.
            drop(closed.await);
        };
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(closing).await {
            tracing::error!(%error, "the server stopped");
        }
    });
    (close, server)
}
