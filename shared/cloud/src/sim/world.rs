//! The one state machine, its settings, and the way that every call takes into it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt,
    future::pending,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use domain::{Timestamp, names::GithubName, ssh::PublicKey};

use super::{
    faults::{Failure, Fault, FaultPlan, FaultPoint, Faults, Verdict},
    fleet::Ground,
    launches::LaunchBook,
    queues::Queues,
    rng::Rng,
    time::{Timers, yield_now},
    upstreams::Server,
    volumes::Shelf,
};
use crate::{
    FleetError, IdentityError, Ids, KeyVault, PeopleError, PortError, Ports, Question, Upstream, VaultError,
    VolumeError,
};

/// How the simulated cloud behaves. Spans are drawn from evenly, by the seed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a new instance takes to run.
    pub boot: RangeInclusive<Duration>,
    /// How long an instance goes on running after it was told to end.
    pub stop: RangeInclusive<Duration>,
    /// How long the list of instances takes to show a new one, and to lose one that has stopped.
    pub list_lag: RangeInclusive<Duration>,
    /// How long a request that nobody answered may still take to arrive ([`Fault::TimeoutLate`]).
    pub late: RangeInclusive<Duration>,
    /// How many GPUs the fleet has altogether; an order beyond them finds no capacity.
    pub capacity: Option<u32>,
    /// The fleet refuses every new order for good, with this reason.
    pub refuses: Option<String>,
    /// How long a delivered message stays hidden before it is delivered again.
    pub visibility: Duration,
    /// After this many deliveries a message goes to the dead letters.
    pub most_receives: u32,
    /// How many deliveries of a standard queue, out of a thousand, leave the message for somebody else as well.
    pub duplicates: u16,
    /// By how much, at most, each task's clock is wrong in either direction.
    pub skew: Duration,
    /// Whoever sleeps outside an executor moves the time to when they awake: for tests in which nobody else would.
    pub time_flies: bool,
    /// How long a volume takes until it is there for an instance.
    pub attach: RangeInclusive<Duration>,
    /// How long a volume takes to come off, and how long it stays fixed to an instance that has stopped.
    pub detach: RangeInclusive<Duration>,
    /// How long a snapshot takes to be complete, or to fail.
    pub snapshot: RangeInclusive<Duration>,
    /// How many snapshots, out of a thousand, fail.
    pub failing_snapshots: u16,
    /// How many snapshots, out of a thousand, somebody else copies with all their tags.
    pub strangers: u16,
    /// Asked twice for a volume or a snapshot, it makes two: a cloud without client tokens, which ours is not.
    pub forgets_tokens: bool,
    /// How many changes of a tag, out of a thousand, are refused.
    pub failing_tags: u16,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = |from, to| Duration::from_secs(from)..=Duration::from_secs(to);
        Self {
            boot: seconds(1, 60),
            stop: seconds(0, 30),
            list_lag: seconds(0, 120),
            late: seconds(1, 120),
            capacity: None,
            refuses: None,
            visibility: Duration::from_secs(180),
            most_receives: domain::policy::MOST_RECEIVES,
            duplicates: 0,
            skew: Duration::ZERO,
            time_flies: false,
            attach: seconds(1, 20),
            detach: seconds(0, 20),
            snapshot: seconds(5, 3 * 3_600),
            failing_snapshots: 0,
            strangers: 0,
            forgets_tokens: false,
            failing_tags: 0,
        }
    }
}

/// A task of an [`super::Executor`]; numbered from 1 in each world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub(super) u64);

/// One call that went through a fault point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number in the world, counting from 1: what a [`FaultPlan`] names it by.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The task that made it; `None` outside an executor.
    pub task: Option<TaskId>,
    /// The port and its method, as in `fleet.provision`, or `store.` and the action.
    pub label: String,
    /// What went wrong.
    pub fault: Option<Fault>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.task.map_or(0, |task| task.0);
        write!(f, "{:>5} {} task {task:>3} {}", self.number, self.at, self.label)?;
        self.fault.map_or(Ok(()), |fault| write!(f, " !{fault:?}"))
    }
}

/// Everything that the simulated cloud knows.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) now: Timestamp,
    pub(super) timers: Timers,
    pub(super) faults: Faults,
    pub(super) log: Vec<Call>,
    pub(super) tasks: u64,
    pub(super) current: Option<TaskId>,
    pub(super) crashed: BTreeSet<TaskId>,
    pub(super) queues: Queues,
    pub(super) launches: LaunchBook,
    pub(super) fleet: Ground,
    pub(super) shelf: Shelf,
    pub(super) people: BTreeMap<GithubName, Vec<PublicKey>>,
    pub(super) servers: BTreeMap<Upstream, Server>,
    pub(super) asked: Vec<(Upstream, Question)>,
}

/// When an effect is to take place, or as of when it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    Stale,
    Late,
}

/// A simulated cloud. Clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    seed: u64,
    vault: KeyVault,
    ids: Arc<SeededIds>,
    state: Mutex<State>,
}

/// The implementation of every port, apart from [`World`] so that a test reads ground truth by methods that no handler can call.
pub(super) struct Port(pub(super) World);

/// Ids that a seed determines.
pub(super) struct SeededIds(Mutex<Rng>);

impl Ids for SeededIds {
    fn random(&self) -> [u8; 32] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }
}

impl World {
    /// A world in which nothing has happened yet, on an evening in January 2026.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let ids = |name| Arc::new(SeededIds(Mutex::new(Rng::stream(seed, name))));
        let state = State {
            settings: Settings::default(),
            now: Timestamp::from_millis(1_768_932_000_000),
            timers: Timers::default(),
            faults: Faults::new(seed),
            log: Vec::new(),
            tasks: 0,
            current: None,
            crashed: BTreeSet::new(),
            queues: Queues::new(seed),
            launches: LaunchBook::default(),
            fleet: Ground::new(seed),
            shelf: Shelf::new(seed),
            people: BTreeMap::new(),
            servers: BTreeMap::new(),
            asked: Vec::new(),
        };
        let vault = KeyVault::new(Rng::stream(seed, "master").bytes(), ids("vault"));
        Self(Arc::new(Inner { seed, vault, ids: ids("ids"), state: Mutex::new(state) }))
    }

    /// Every port, as a plane is given them.
    #[must_use]
    pub fn ports(&self) -> Ports {
        let port = Arc::new(Port(self.clone()));
        Ports {
            clock: port.clone(),
            ids: self.0.ids.clone(),
            queue: port.clone(),
            launches: port.clone(),
            fleet: port.clone(),
            volumes: port.clone(),
            identity: port.clone(),
            vault: port.clone(),
            people: port.clone(),
            providers: port.clone(),
            upstreams: port,
        }
    }

    /// The fault point that the store's connector is given.
    #[must_use]
    pub fn fault_point(&self) -> Arc<dyn FaultPoint> {
        Arc::new(self.clone())
    }

    /// The seed that this world was made from, for a test's message.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Changes how the world behaves from now on.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().settings);
    }

    /// From now on calls go wrong by this plan.
    pub fn follow(&self, plan: FaultPlan) {
        self.state().faults.follow(plan);
    }

    /// Every call whose label begins with `prefix` is unavailable until this is turned off: `identity`, `queue.send`, `store.`.
    pub fn set_outage(&self, prefix: &str, on: bool) {
        self.state().faults.set_outage(prefix, on);
    }

    /// Every call so far, in the order in which they took effect. Two runs are the same when these are.
    #[must_use]
    pub fn log(&self) -> Vec<Call> {
        self.state().log.clone()
    }

    /// The calls but for the first `skipped`.
    #[must_use]
    pub fn log_after(&self, skipped: usize) -> Vec<Call> {
        self.state().log.get(skipped..).unwrap_or_default().to_vec()
    }

    /// How many calls there were: the next has this number and one.
    #[must_use]
    pub fn calls(&self) -> u64 {
        calls(&self.state())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already; the rest may still be looked at.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn key_vault(&self) -> &KeyVault {
        &self.0.vault
    }
}

fn calls(state: &State) -> u64 {
    u64::try_from(state.log.len()).unwrap_or(u64::MAX)
}

#[async_trait]
impl FaultPoint for World {
    async fn before(&self, label: &str) -> Verdict {
        // Others go first, perhaps; the call is numbered when it takes effect, so that the log is the order of effects.
        yield_now().await;
        match self.enter(label) {
            Some(verdict) => verdict,
            None => pending().await,
        }
    }

    async fn crash(&self) -> Infallible {
        self.mark_crashed();
        pending().await
    }
}

impl World {
    /// What the call named `label` does; `None` when its caller is dead.
    fn enter(&self, label: &str) -> Option<Verdict> {
        let mut state = self.state();
        let task = state.current;
        if task.is_some_and(|task| state.crashed.contains(&task)) {
            // A part of this task died before; its other parts die with it.
            return None;
        }
        let number = calls(&state) + 1;
        let planned = state.faults.decide(number, label, task.is_some());
        let call = Call { number, at: state.now, task, label: label.to_owned(), fault: planned.fault };
        state.log.push(call);
        if planned.verdict.is_none() {
            state.crashed.extend(task);
        }
        planned.verdict
    }

    fn mark_crashed(&self) {
        let mut state = self.state();
        let task = state.current;
        state.crashed.extend(task);
    }

    /// One call of a port: its fault point around its effect.
    pub(super) async fn call<T: Send, E: Fails>(
        &self,
        label: &'static str,
        mut effect: impl FnMut(&mut State, When) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let mut happen = |when| effect(&mut self.state(), when);
        let (times, when, failure) = match self.before(label).await {
            Verdict::Proceed => (1, When::Now, None),
            Verdict::Stale => (1, When::Stale, None),
            Verdict::Twice => (2, When::Now, None),
            Verdict::FailBefore(failure) => return Err(E::from_failure(failure)),
            Verdict::FailAfter(failure) => (1, When::Now, Some(failure)),
            Verdict::FailLate(failure) => (1, When::Late, Some(failure)),
            Verdict::CrashAfter => {
                drop(happen(When::Now));
                match self.crash().await {}
            }
        };
        let mut answer = happen(when);
        if times > 1 {
            answer = happen(when);
        }
        failure.map_or(answer, |failure| Err(E::from_failure(failure)))
    }
}

/// An error of a port that a simulated failure can be told with.
pub(super) trait Fails: Send {
    fn from_failure(failure: Failure) -> Self;
}

impl Fails for PortError {
    fn from_failure(failure: Failure) -> Self {
        match failure {
            Failure::Throttled => Self::Throttled,
            Failure::Conflict | Failure::Unavailable => Self::Unavailable("simulated error".into()),
            Failure::Timeout => Self::Unavailable("simulated time-out".into()),
        }
    }
}

impl Fails for FleetError {
    fn from_failure(failure: Failure) -> Self {
        Self::Port(PortError::from_failure(failure))
    }
}

impl Fails for VolumeError {
    fn from_failure(failure: Failure) -> Self {
        Self::Port(PortError::from_failure(failure))
    }
}

impl Fails for IdentityError {
    fn from_failure(_failure: Failure) -> Self {
        Self::Unavailable
    }
}

impl Fails for VaultError {
    fn from_failure(_failure: Failure) -> Self {
        Self::Unavailable
    }
}

impl Fails for PeopleError {
    fn from_failure(failure: Failure) -> Self {
        Self::Unavailable(PortError::from_failure(failure).to_string())
    }
}
