//! The harness can see: bugs that are sown at the ports, on the wire to the tables and around the router, each of which must break a
//! law within a few hundred schedules. Without this the zeros of the other tests would mean nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use cloud::{
    Clock, Fleet, FleetError, Launches, Order, PortError, Ports, Provisioned, Queue, Sighting, Tagged, TaskToken,
    launches::Launch, sim::World,
};
use domain::{TenantId, Timestamp, WorkloadId, message::Message};
use http::{Method, StatusCode, header};
use store::Plane;

use super::{random, secrets, wire::Ear};

/// A sown bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The fleet takes every repetition of an order for a new one.
    NoToken,
    /// What was told to end counts as ended at once, so that its GPUs are given on while it runs.
    GoneAtOnce,
    /// What a late list does not show counts as ended.
    AbsenceIsGone,
    /// The fleet says that it ends things and does not.
    EndsNothing,
    /// The fleet does not say when what it ran has stopped.
    NoStopTimes,
    /// A queue that delivers once: what its consumer could not do is lost.
    AtMostOnce,
    /// Every third message is lost after it was taken.
    MessagesLost,
    /// The launches' service forgets the names of launches, and runs each twice.
    LaunchesTwice,
    /// The agent's word never completes a launch's step.
    TokensLost,
    /// The tables take every write, whatever its conditions.
    NoConditions,
    /// The tables acknowledge some writes without doing them.
    LyingWrites,
    /// The sweep never runs.
    NoSweep,
    /// The sweep's clock stands still, so that nothing is ever due.
    SweepClockStands,
    /// A quarter of an hour after its end a key is still good.
    LateClock,
    /// Whoever was let in once is let in for ever.
    KeysCached,
    /// An extension moves the end twice as far.
    ExtendsTwice,
    /// A session that was replaced is good for ever.
    OldSessionLives,
    /// Answers are cached by their path alone.
    SharedCache,
    /// Idempotency keys are ignored.
    OnceForgotten,
    /// Requests are logged with their bodies.
    SecretsLogged,
    /// A refusal gives back what it refused.
    SecretsEchoed,
}

const ALL: [Bug; 21] = [
    Bug::ExtendsTwice,
    Bug::OldSessionLives,
    Bug::NoToken,
    Bug::GoneAtOnce,
    Bug::AbsenceIsGone,
    Bug::EndsNothing,
    Bug::NoStopTimes,
    Bug::AtMostOnce,
    Bug::MessagesLost,
    Bug::LaunchesTwice,
    Bug::TokensLost,
    Bug::NoConditions,
    Bug::LyingWrites,
    Bug::NoSweep,
    Bug::SweepClockStands,
    Bug::LateClock,
    Bug::KeysCached,
    Bug::SharedCache,
    Bug::OnceForgotten,
    Bug::SecretsLogged,
    Bug::SecretsEchoed,
];

/// Within so many schedules each must be caught.
const MOST: u64 = 400;

type Attempt = (WorkloadId, u32);

/// Says when the fleet has moved, and has one of the fleet's bugs or none.
struct Watched {
    inner: Arc<dyn Fleet>,
    moved: Arc<AtomicBool>,
    bug: Option<Bug>,
    ordered: Mutex<BTreeMap<Attempt, u32>>,
    ended: Mutex<BTreeSet<Attempt>>,
}

/// Sets its flag when a call is over, whatever became of its caller: its effect may be there.
struct Moving(Arc<AtomicBool>);

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Fleet for Watched {
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError> {
        let _moving = Moving(self.moved.clone());
        let mut order = order.clone();
        if self.bug == Some(Bug::NoToken) {
            let mut ordered = locked(&self.ordered);
            let times = ordered.entry((order.workload, order.attempt)).or_default();
            order.attempt += 1_000 * *times;
            *times += 1;
        }
        self.inner.provision(&order).await
    }

    async fn describe(&self, tenant: &TenantId, workload: WorkloadId, attempt: u32) -> Result<Sighting, PortError> {
        let gone = Ok(Sighting::Gone { stopped_at: None });
        if self.bug == Some(Bug::GoneAtOnce) && locked(&self.ended).contains(&(workload, attempt)) {
            return gone;
        }
        if self.bug == Some(Bug::AbsenceIsGone) {
            let shown = self.inner.list().await?.iter().any(|one| one.workload == workload && one.attempt == attempt);
            return if shown { Ok(Sighting::Running) } else { gone };
        }
        match self.inner.describe(tenant, workload, attempt).await {
            Ok(Sighting::Gone { .. }) if self.bug == Some(Bug::NoStopTimes) => gone,
            seen => seen,
        }
    }

    async fn terminate(&self, tenant: &TenantId, workload: WorkloadId, attempt: u32) -> Result<(), PortError> {
        let _moving = Moving(self.moved.clone());
        if self.bug == Some(Bug::EndsNothing) {
            return Ok(());
        }
        let ended = self.inner.terminate(tenant, workload, attempt).await;
        locked(&self.ended).insert((workload, attempt));
        ended
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        self.inner.list().await
    }
}

/// Loses every third message.
struct Leaky {
    inner: Arc<dyn Queue>,
    sent: AtomicU32,
}

#[async_trait]
impl Queue for Leaky {
    async fn send(&self, message: &Message) -> Result<(), PortError> {
        if self.sent.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            return Ok(());
        }
        self.inner.send(message).await
    }

    async fn healthy(&self) -> bool {
        self.inner.healthy().await
    }
}

/// Completes nothing.
struct Deaf(Arc<dyn Launches>);

#[async_trait]
impl Launches for Deaf {
    async fn start(&self, launch: &Launch) -> Result<(), PortError> {
        self.0.start(launch).await
    }

    async fn complete(&self, _: &TaskToken) -> Result<(), PortError> {
        Ok(())
    }

    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<(), PortError> {
        self.0.fail(token, error, cause).await
    }
}

/// Lets an ear hear what is said to a queue and to the launches' service, where anybody may read it who may look at those.
struct Overheard<P: ?Sized> {
    inner: Arc<P>,
    ear: Ear,
}

#[async_trait]
impl Queue for Overheard<dyn Queue> {
    async fn send(&self, message: &Message) -> Result<(), PortError> {
        self.ear.said("a queue", &serde_json::to_string(message).unwrap_or_default());
        self.inner.send(message).await
    }

    async fn healthy(&self) -> bool {
        self.inner.healthy().await
    }
}

#[async_trait]
impl Launches for Overheard<dyn Launches> {
    async fn start(&self, launch: &Launch) -> Result<(), PortError> {
        self.ear.said("a launch", &format!("{launch:?}"));
        self.inner.start(launch).await
    }

    async fn complete(&self, token: &TaskToken) -> Result<(), PortError> {
        self.inner.complete(token).await
    }

    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<(), PortError> {
        self.ear.said("a launch", &format!("{error}: {cause}"));
        self.inner.fail(token, error, cause).await
    }
}

/// A clock that is behind, or stands where it began.
struct Wrong {
    inner: Arc<dyn Clock>,
    behind: Duration,
    stands: Option<Timestamp>,
}

#[async_trait]
impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        self.stands.unwrap_or_else(|| self.inner.now().minus(self.behind))
    }

    async fn sleep(&self, pause: Duration) {
        self.inner.sleep(pause).await;
    }
}

fn with_clock(plane: &Plane, behind: Duration, stands: Option<Timestamp>) -> Plane {
    let mut wrong = plane.clone();
    wrong.ports.clock = Arc::new(Wrong { inner: plane.ports.clock.clone(), behind, stands });
    wrong
}

/// The ports of a plane over `world`, which say when the fleet has moved.
pub(crate) fn ports(world: &World, bug: Option<Bug>, moved: Arc<AtomicBool>, ear: &Ear) -> Ports {
    let ports = world.ports();
    let (ordered, ended) = (Mutex::default(), Mutex::default());
    let fleet = Arc::new(Watched { inner: ports.fleet.clone(), moved, bug, ordered, ended });
    let queue: Arc<dyn Queue> = match bug {
        Some(Bug::MessagesLost) => Arc::new(Leaky { inner: ports.queue.clone(), sent: AtomicU32::new(0) }),
        _ => ports.queue.clone(),
    };
    let launches: Arc<dyn Launches> = match bug {
        Some(Bug::TokensLost) => Arc::new(Deaf(ports.launches.clone())),
        _ => ports.launches.clone(),
    };
    let queue = Arc::new(Overheard { inner: queue, ear: ear.clone() });
    let launches = Arc::new(Overheard { inner: launches, ear: ear.clone() });
    Ports { fleet, queue, launches, ..ports }
}

/// The plane that the sweep is given.
pub(crate) fn sweeper(plane: &Plane, bug: Option<Bug>) -> Plane {
    let stands = plane.ports.clock.now();
    if bug == Some(Bug::SweepClockStands) { with_clock(plane, Duration::ZERO, Some(stands)) } else { plane.clone() }
}

/// Everything that answers.
pub(crate) fn router(plane: &Plane, bug: Option<Bug>) -> Router {
    if bug == Some(Bug::LateClock) {
        return crate::support::router(&with_clock(plane, Duration::from_secs(900), None));
    }
    let router = crate::support::router(plane);
    match bug {
        Some(
            bug @ (Bug::KeysCached | Bug::SharedCache | Bug::OnceForgotten | Bug::SecretsLogged | Bug::SecretsEchoed),
        ) => {
            let memory = Arc::new(Memory::default());
            router.layer(from_fn(move |request: Request, next: Next| around(bug, memory.clone(), request, next)))
        }
        _ => router,
    }
}

/// What the layers around the router remember.
#[derive(Default)]
struct Memory {
    keys: Mutex<BTreeSet<String>>,
    answers: Mutex<BTreeMap<String, String>>,
}

async fn around(bug: Bug, memory: Arc<Memory>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let path = parts.uri.path().to_owned();
    let key = parts.headers.get(header::AUTHORIZATION).and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let cacheable = bug == Bug::SharedCache && parts.method == Method::GET;
    if let Some(known) = locked(&memory.answers).get(&path).filter(|_| cacheable) {
        return known.clone().into_response();
    }
    match bug {
        Bug::OnceForgotten => drop(parts.headers.remove("idempotency-key")),
        Bug::SecretsLogged => tracing::info!(body = text, "request"),
        _ => {}
    }
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    let status = response.status();
    match bug {
        Bug::KeysCached if status == StatusCode::UNAUTHORIZED && locked(&memory.keys).contains(&key) => {
            "{}".into_response()
        }
        Bug::KeysCached => {
            locked(&memory.keys).insert(key);
            response
        }
        Bug::SecretsEchoed if status.is_client_error() => (status, text).into_response(),
        Bug::SharedCache if cacheable && status == StatusCode::OK => {
            let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
            let answer = String::from_utf8_lossy(&bytes).into_owned();
            locked(&memory.answers).insert(path, answer.clone());
            answer.into_response()
        }
        _ => response,
    }
}

/// The first schedule that catches a bug, with the law that it breaks.
fn caught(bug: Bug) -> Option<(u64, &'static str)> {
    let breaks = |seed: u64| random::schedule(seed, Some(bug)).err().map(|violation| (seed, violation.law));
    secrets::listening(|| (0..MOST).find_map(breaks))
}

#[test]
fn every_sown_bug_is_caught() {
    let lines = ALL.chunks(ALL.len().div_ceil(2)).map(|bugs| {
        let catch = |bug: &Bug| match caught(*bug) {
            Some((seed, law)) => Ok(format!("{bug:?}: {law} in schedule {seed}")),
            None => Err(format!("{bug:?} goes unseen in {MOST} schedules")),
        };
        std::thread::spawn(move || bugs.iter().map(catch).collect::<Vec<_>>())
    });
    let lines = lines.collect::<Vec<_>>().into_iter().flat_map(|worker| worker.join().expect("a worker's bugs"));
    let lines = lines.collect::<Vec<_>>();
    println!(
        "{}",
        lines.iter().map(|line| line.as_ref().unwrap_or_else(|line| line).as_str()).collect::<Vec<_>>().join("\n")
    );
    assert_eq!(lines.iter().find_map(|line| line.as_ref().err()), None);
}
