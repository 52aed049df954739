//! The real handlers over the simulated cloud, stepped one fault point at a time.
//!
//! What AWS would do around the handlers is done here: messages are delivered and come back when their consumer fails or dies, the
//! clock's rule fires every minute, launches are interpreted, instances bring agents with them.

mod disks;
mod story;
mod time;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_dynamodb::Client;
use axum::body::Body;
use cloud::sim::{Delivery, Executor, FaultPlan, Instance, Outcome, Rng, TaskId, World};
use domain::{
    NodeId, PoolId, TenantId, Timestamp, Workload, WorkloadId,
    message::{Message, QueueName},
};
use futures::executor::block_on;
use http::Request;
use http_body_util::BodyExt;
use store::{Plane, Store, WorkError, capacity::PoolView, embedded::Embedded};
use tower::ServiceExt;

use super::{
    agents::Agents,
    at_once,
    disks::{Disks, asks::Said},
    launches::Flights,
    mutants::{self, Bug},
    people::{Exchange, Exchanges},
    wire::{self, Ear},
};

/// A law was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Its id in the list of invariants.
    pub(crate) law: &'static str,
    /// What was seen.
    pub(crate) seen: String,
    /// What happened until then.
    pub(crate) story: String,
}

/// Breaks `law`.
pub(crate) fn broken<T>(law: &'static str, seen: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { law, seen: seen.into(), story: String::new() })
}

/// How often the clock's rule fires.
const A_SWEEP: Duration = Duration::from_secs(60);

/// So many steps at one instant are a livelock.
const MOST_STEPS: u32 = 50_000;

/// What a task is for.
enum Purpose {
    Exchange(usize),
    Delivery(Delivery),
    Step {
        flight: usize,
        attempt: u32,
        tenant: TenantId,
    },
    Sweep,
    Ask(usize),
    /// Something whose answer nobody waits for.
    Errand,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers, one a line.
    pub(crate) headers: String,
    /// The body.
    pub(crate) body: String,
}

/// What the tables say, as far as it was read: every workload that was ever written, and the pools.
#[derive(Default)]
pub(crate) struct Rows {
    /// By id.
    pub(crate) workloads: BTreeMap<WorkloadId, Workload>,
    /// Each pool.
    pub(crate) pools: Vec<(PoolId, PoolView)>,
}

/// Everything together.
pub(crate) struct Harness {
    /// The simulated cloud, which is also the ground truth.
    pub(crate) world: World,
    /// What the workers are given.
    pub(crate) plane: Plane,
    /// The same tables without faults, for whoever checks.
    pub(crate) truth: Store,
    /// The same tables, row by row.
    pub(crate) books: Client,
    /// What the tables say.
    pub(crate) rows: Rows,
    /// Every instance that ever was, as of the last look.
    pub(crate) instances: Vec<Instance>,
    /// Who asks what, and what was answered.
    pub(crate) exchanges: Exchanges,
    /// Agents.
    pub(crate) agents: Agents,
    /// Launches.
    pub(crate) flights: Flights,
    /// Disks, and what was asked of them.
    pub(crate) disks: Disks,
    /// The schedule's own dice.
    pub(crate) rng: Rng,
    /// Since when nothing goes wrong any more; `None` while it does.
    pub(crate) calm_since: Option<Timestamp>,
    /// How many GPUs each node has, whatever the tables say.
    pub(crate) nodes: BTreeMap<NodeId, u32>,
    pub(crate) bug: Option<Bug>,
    /// Nothing was ever made to go wrong.
    pub(crate) peaceful: bool,
    /// By how much clocks are wrong at most.
    pub(crate) skew: Duration,
    /// What somebody ordered past the plane. I3 gives the sweep its time to end it.
    pub(crate) strays: BTreeSet<WorkloadId>,
    router: axum::Router,
    sweeper: Plane,
    executor: Executor,
    ear: Ear,
    fleet_moved: Arc<AtomicBool>,
    tasks: BTreeMap<TaskId, Purpose>,
    names: BTreeMap<TaskId, String>,
    next_sweep: Timestamp,
    disk_sweeps: u32,
}

impl Harness {
    /// A plane over a new world, with a seeded bug or none.
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let world = World::new(seed);
        let ear = Ear::default();
        let database = Embedded::in_memory().expect("a database in memory");
        let ports = world.ports();
        let books = wire::client(database.clone(), Ear::default(), None);
        let truth = Store::new(books.clone(), "", ports.clock.clone(), ports.ids.clone());
        let nodes = [("local/h100", "h100-1", 8), ("local/h100", "h100-2", 8), ("local/a10g", "a10g-1", 4)];
        block_on(async {
            truth.create_tables().await.expect("tables");
            for (pool, node, gpus) in nodes {
                truth.enter_node(&PoolId::new(pool), &NodeId::new(node), gpus).await.expect("a node");
            }
        });
        let client = wire::client(database.with_faults(world.fault_point()), ear.clone(), bug);
        let fleet_moved = Arc::new(AtomicBool::new(false));
        let ports = mutants::ports(&world, bug, fleet_moved.clone(), &ear);
        let settings = store::Settings { sync_ms: (4_000, 300_000), ..crate::support::settings() };
        let store = Store::new(client, "", ports.clock.clone(), ports.ids.clone());
        let plane = Plane { store, ports, settings: Arc::new(settings), memory: Arc::default() };
        let router = mutants::router(&plane, bug);
        let mut harness = Self {
            plane: plane.clone(),
            sweeper: mutants::sweeper(&plane, bug),
            truth,
            books,
            rows: Rows::default(),
            instances: Vec::new(),
            exchanges: Exchanges::default(),
            agents: Agents::default(),
            flights: Flights::new(),
            disks: Disks::default(),
            rng: Rng::stream(seed, "schedule"),
            calm_since: None,
            nodes: nodes.iter().map(|(_, node, gpus)| (NodeId::new(*node), *gpus)).collect(),
            bug,
            peaceful: true,
            skew: Duration::ZERO,
            strays: BTreeSet::new(),
            router,
            executor: Executor::new(&world),
            ear,
            fleet_moved,
            tasks: BTreeMap::new(),
            names: BTreeMap::new(),
            next_sweep: world.now().plus(A_SWEEP),
            disk_sweeps: 0,
            world,
        };
        harness.rows.pools = plane.settings.pools.iter().map(|pool| (pool.id.clone(), PoolView::default())).collect();
        harness.read_pools(|_| true).expect("the pools are as they were entered");
        harness
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.world.follow(FaultPlan::None);
        self.world.set(|settings| {
            settings.capacity = None;
            settings.duplicates = 0;
            settings.failing_snapshots = 0;
            settings.failing_tags = 0;
        });
        self.calm_since = Some(self.world.now());
    }

    /// Whether nothing has gone wrong for long enough that everything is in its time again.
    pub(crate) fn is_calm(&self) -> Option<Timestamp> {
        self.calm_since.filter(|since| self.world.now() >= since.plus(Duration::from_secs(240)))
    }

    /// Sends a request, whose answer [`Exchanges`] will hold.
    pub(crate) fn send(&mut self, exchange: Exchange) -> usize {
        let router = self.router.clone();
        let mut request = Request::builder().method(exchange.method).uri(&exchange.path).header("host", "localhost");
        if let Some(key) = &exchange.key {
            request = request.header("authorization", format!("Bearer {}", key.reveal()));
        }
        if let Some(once) = &exchange.once {
            request = request.header("idempotency-key", once);
        }
        if exchange.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Body::from(exchange.body.clone().unwrap_or_default())).expect("a request");
        let name = exchange.path.clone();
        let number = self.exchanges.add(exchange, self.world.now());
        let task = self.executor.spawn(name.clone(), async move {
            let response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status().as_u16();
            let lines = response.headers().iter();
            let lines = lines.map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
            let headers = lines.collect();
            let bytes = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Answer { status, headers, body: String::from_utf8_lossy(&bytes).into_owned() }
        });
        self.names.insert(task, name);
        self.tasks.insert(task, Purpose::Exchange(number));
        number
    }

    /// Does something whose answer nobody waits for.
    pub(crate) fn errand(&mut self, name: String, work: impl Future<Output = ()> + 'static) {
        let task = self.executor.spawn(name.clone(), work);
        self.names.insert(task, name);
        self.tasks.insert(task, Purpose::Errand);
    }

    /// Runs at most `most` steps of whoever can go on; true when nobody can.
    pub(crate) fn run(&mut self, most: u32) -> Result<bool, Violation> {
        for _ in 0..most {
            self.begin()?;
            let Some(task) = self.executor.step() else { return Ok(true) };
            self.reap(task)?;
            self.look()?;
        }
        Ok(false)
    }

    /// Work that has not ended: requests, deliveries, steps, sweeps.
    pub(crate) fn busy(&self) -> usize {
        self.tasks.len()
    }

    /// Begins whatever waits to be begun now.
    fn begin(&mut self) -> Result<(), Violation> {
        for queue in QueueName::ALL {
            while let Some(delivery) = self.world.receive(queue) {
                self.deliver(delivery);
            }
        }
        let now = self.world.now();
        if now >= self.next_sweep {
            self.next_sweep = now.plus(A_SWEEP);
            self.sweep();
        }
        for (flight, invocation) in self.flights.calls(&self.world, self.bug) {
            let plane = self.plane.clone();
            let attempt = invocation.attempt;
            let tenant = TenantId::new(invocation.payload["tenant"].as_str().unwrap_or_default());
            at_once::step_said(&invocation.handler, &tenant, &invocation.payload.to_string())?;
            let name = format!("{} of {flight}", invocation.handler);
            let work = async move { Box::pin(launcher::step(&plane, &invocation.handler, invocation.payload)).await };
            let task = self.executor.spawn("step", work);
            self.names.insert(task, name);
            self.tasks.insert(task, Purpose::Step { flight, attempt, tenant });
        }
        for (agent, exchange) in self.agents.calls(&self.world, self.bug) {
            let number = self.send(exchange);
            self.agents.sent(agent, number);
        }
        Ok(())
    }

    fn sweep(&mut self) {
        if self.bug == Some(Bug::NoSweep) {
            return;
        }
        let plane = self.sweeper.clone();
        let task = self.executor.spawn("sweep", async move { sweeper::sweep(&plane).await.map(drop) });
        self.tasks.insert(task, Purpose::Sweep);
        self.sweep_disks();
        if self.bug == Some(Bug::OrphansLive) {
            return;
        }
        let plane = self.sweeper.clone();
        let task = self.executor.spawn("orphans", async move { sweeper::end_orphans(&plane).await.map(drop) });
        self.tasks.insert(task, Purpose::Sweep);
    }

    fn deliver(&mut self, delivery: Delivery) {
        let plane = self.plane.clone();
        let message = delivery.message.clone();
        let work = async move {
            match message {
                Message::Doorbell { pool } => dispatcher::ring(&plane, &pool).await,
                Message::Reconcile { tenant, workload } => {
                    Box::pin(launcher::reconcile(&plane, &tenant, workload)).await
                }
                Message::Disk { tenant, owner, disk } => disk_worker::tend(&plane, &tenant, &owner, disk).await,
            }
        };
        let task = self.executor.spawn("delivery", work);
        self.names.insert(task, format!("{:?}", delivery.message));
        self.tasks.insert(task, Purpose::Delivery(delivery));
    }

    /// Looks at what became of a task, and does what the platform around it would.
    fn reap(&mut self, task: TaskId) -> Result<(), Violation> {
        let outcome = self.executor.outcome(task);
        if outcome == Some(Outcome::Unfinished) {
            return Ok(());
        }
        let Some(purpose) = self.tasks.remove(&task) else { return Ok(()) };
        match purpose {
            Purpose::Exchange(number) => {
                let answer = self.executor.take::<Answer>(task);
                let now = self.world.now();
                self.exchanges.answered(number, answer, (now, self.skew))?;
                let replaced = self.agents.answered(number, &self.exchanges, &self.world);
                self.exchanges.rotated_out(replaced);
            }
            Purpose::Delivery(delivery) => match self.executor.take::<Result<(), WorkError>>(task) {
                Some(Ok(())) => drop(self.world.acknowledge(&delivery)),
                // A consumer that fails may give the message back, or let its time run out.
                Some(Err(_)) if self.rng.chance(500) => drop(self.world.hand_back(&delivery)),
                Some(Err(_)) | None if self.bug == Some(Bug::AtMostOnce) => drop(self.world.acknowledge(&delivery)),
                Some(Err(_)) | None => {}
            },
            Purpose::Step { flight, attempt, tenant } => {
                let result = self.executor.take::<Result<serde_json::Value, launcher::StepError>>(task);
                at_once::step_said("a step's end", &tenant, &format!("{result:?}"))?;
                self.flights.answered(flight, attempt, result, &self.world, &mut self.rng);
            }
            Purpose::Ask(number) => {
                let said = self.executor.take::<Said>(task);
                self.said(number, said);
            }
            Purpose::Errand => drop(self.executor.take::<()>(task)),
            Purpose::Sweep => {
                drop(self.executor.take::<Result<(), WorkError>>(task));
                if let Some(since) = self.is_calm() {
                    self.nothing_overdue(since)?;
                }
            }
        }
        Ok(())
    }

    /// Reads what has changed, in the tables and in the cloud, and checks the laws about it.
    fn look(&mut self) -> Result<(), Violation> {
        let heard = self.ear.take();
        let fleet_moved = self.agents.take_stopped() | self.fleet_moved.swap(false, Ordering::Relaxed);
        if fleet_moved {
            self.instances = self.world.instances();
            self.agents.meet(&self.instances, &self.world);
        }
        let rows_moved = heard.is_some();
        let disks_moved = heard.as_ref().is_some_and(|heard| heard.disks);
        if let Some(heard) = heard {
            if let Some(leak) = heard.leaks.first() {
                return broken("I19", leak);
            }
            self.read_pools(|pool| heard.pools.contains(pool))?;
            for (tenant, id) in heard.touched {
                let row = block_on(self.truth.workload(&tenant, id)).expect("the tables are read");
                self.row_moved(id, row)?;
            }
        }
        if rows_moved || fleet_moved {
            self.at_each_step(rows_moved)?;
            if self.disks.any() {
                self.look_at_disks(disks_moved)?;
                if self.meddle() {
                    self.look_at_disks(true)?;
                }
            }
        }
        for number in self.exchanges.take_unchecked() {
            at_once::answered(self, number)?;
        }
        at_once::i19_log()
    }

    /// Reads pools again.
    pub(crate) fn read_pools(&mut self, wanted: impl Fn(&PoolId) -> bool) -> Result<(), Violation> {
        for (id, view) in self.rows.pools.iter_mut().filter(|(id, _)| wanted(id)) {
            *view = block_on(self.truth.pool(id)).expect("the tables are read");
            at_once::i22_none_negative(&self.books, "capacity", &format!("pool#{id}"))?;
        }
        Ok(())
    }

    /// The names of what has not ended.
    pub(crate) fn unfinished(&self) -> String {
        format!("{:?}", self.executor.unfinished())
    }
}
