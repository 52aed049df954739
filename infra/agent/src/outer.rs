//! The copy of the agent on the host.

use std::{path::PathBuf, sync::Arc, time::Duration};

use cloud::{Clock, Ids, OsIds, SystemClock};
use domain::{
    Secret,
    agent::{Boot, Bye, Desired, Enroll, Enrolled, Progress, Room},
    api_key::{KeyKind, mint},
};
use nix::sys::signal::Signal;
use tokio::{
    signal::unix::{Signal as Signals, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    AgentError,
    coming::{Coming, Next},
    disk::{Disk, Means, Tools},
    gpu,
    link::{FromInner, ModelNews, ToInner},
    logs::Logs,
    machine::Machine,
    orphans,
    plane::{Backoff, CallError, Plane},
    processes, reach,
    room::{Making, Place, Running},
    sync::{Seen, Syncing},
};

/// How long enrolling is tried.
const ENROLL_FOR: Duration = Duration::from_secs(10 * 60);
/// How long its SSH server may take to answer, and the model's endpoint once its server does.
const REACHED_WITHIN: Duration = Duration::from_secs(60);
/// How long the inner copy may take to end the job when it is told to, and to be gone when it is killed itself.
const KILL_WITHIN: Duration = Duration::from_secs(3);
/// How long the last lines of the log, and the last words, are tried.
const LAST_LOGS: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_secs(30);

/// What the outer copy is to do, and with what.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) boot: Boot,
    /// Where the inner copy comes to; `None` for the usual place in the job's folder.
    pub(crate) socket: Option<PathBuf>,
    /// The folder in which a bought machine looks for what its agent tells it.
    pub(crate) etc: PathBuf,
    /// What stands before the command in this program's arguments.
    pub(crate) words: &'static [&'static str],
}

/// Serves one job from enrolment to its end. A machine that was bought for the job ends with it: it is powered off when the job has ended,
/// and when the control plane does not want this agent, which will be so the next time too.
pub(crate) async fn run(orders: Orders) -> Result<(), AgentError> {
    orphans::adopt();
    tokio::spawn(orphans::reap_forever());
    let machine = (orders.boot.room == Room::Container).then(|| Machine::new(orders.etc.clone()));
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::system("listening for signals"))?;
    let session = mint(KeyKind::Session, &OsIds.random());
    let enroll = Enroll { session: session.hash(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let plane = Arc::new(Plane::new(&orders.boot.plane, session)?);
    let enrolled = tokio::select! {
        enrolled = enrolled(&plane, &SystemClock, &orders.boot.token, &enroll) => enrolled,
        _signalled = terminate.recv() => return Ok(()),
    };
    let ended = match enrolled {
        Ok(enrolled) => Box::pin(served(&orders, machine.as_ref(), plane, enrolled, terminate)).await,
        Err(error @ AgentError::Refused { .. }) => Err(error),
        // Somebody else may start it again, and the machine's own limits end it if that does not help.
        Err(error) => return Err(error),
    };
    if let Some(machine) = machine {
        if let Err(error) = &ended {
            tracing::error!(%error, "the job ended");
        }
        // Should it fail, this program does, and is started again: it is refused then, and comes here.
        machine.power_off().await?;
    }
    ended
}

/// Serves the job of an agent that has enrolled, and says how it ended.
async fn served(
    orders: &Orders,
    machine: Option<&Machine>,
    plane: Arc<Plane>,
    enrolled: Enrolled,
    terminate: Signals,
) -> Result<(), AgentError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    tracing::info!(workload = %orders.boot.workload, "enrolled");
    let seen = Arc::new(watch::Sender::new(Seen::default()));
    let (tell, heard) = mpsc::channel(16);
    let ids: Arc<dyn Ids> = Arc::new(OsIds);
    let syncing = Syncing { plane: Arc::clone(&plane), clock: Arc::clone(&clock), ids, seen: Arc::clone(&seen), tell };
    let syncing = tokio::spawn(syncing.run(enrolled.synced.next_sync_ms));
    let logs = Logs::default();
    let shipping = tokio::spawn(logs.clone().ship(Arc::clone(&plane), Arc::clone(&clock)));

    let coming = Coming::new(Arc::clone(&clock), heard, terminate, enrolled.synced.clone());
    let means = Means { plane: Arc::clone(&plane), clock: Arc::clone(&clock), seen: Arc::clone(&seen) };
    let job = Job { orders, machine, enrolled: &enrolled, logs: &logs, means: &means };
    let ended = Box::pin(job.run(coming)).await;
    logs.close();
    if tokio::time::timeout(LAST_LOGS, shipping).await.is_err() {
        tracing::warn!("the end of the log could not be sent in time");
    }
    syncing.abort();
    let reason = ended.as_ref().map_or_else(ToString::to_string, Clone::clone);
    last_words(&plane, &*clock, &seen, reason).await;
    ended.map(drop)
}

/// A job from the first thing that is made for it to the last that is cleared away.
struct Job<'a> {
    orders: &'a Orders,
    machine: Option<&'a Machine>,
    enrolled: &'a Enrolled,
    logs: &'a Logs,
    means: &'a Means,
}

impl Job<'_> {
    /// Runs it, and answers why it ended.
    async fn run(&self, mut coming: Coming) -> Result<String, AgentError> {
        if let Some(machine) = self.machine {
            machine.enrolled().await?;
        }
        if !self.orders.boot.disk {
            return Box::pin(self.placed(coming, None)).await;
        }
        let mount = match coming.mount().await {
            Ok(mount) => mount,
            Err(reason) => return Ok(reason),
        };
        let boot = &self.orders.boot;
        // What was begun with a device is brought to its end, however long it takes.
        let disk = Arc::new(Disk::there(&mount, boot.room, boot.work_dir.as_ref(), Tools::default()).await?);
        if let Some(note) = disk.note() {
            self.means.seen.send_modify(|seen| seen.note(note));
        }
        let keeping = disk.kept(self.means.clone());
        let ended = Box::pin(self.placed(coming, Some(&disk))).await;
        keeping.abort();
        disk.closed(self.means).await;
        ended
    }

    /// Makes the job's place, and clears it away when nothing runs there any more.
    async fn placed(&self, mut coming: Coming, disk: Option<&Disk>) -> Result<String, AgentError> {
        let (boot, seen) = (&self.orders.boot, &self.means.seen);
        let place = Place::of(boot);
        let (orders, enrolled, logs, clock) = (self.orders, self.enrolled, self.logs, &*self.means.clock);
        let making = Making { orders, disk: disk.map(Disk::path), enrolled, seen, logs, clock };
        let started = tokio::select! {
            started = place.started(&making) => started.map(Ok),
            reason = coming.over() => Ok(Err(reason)),
        };
        let ended = match started {
            Ok(Ok(running)) => {
                let watching = self.watch_gpus();
                let ready = Ways { ssh: false, model: self.enrolled.serve.is_none() };
                let mut agent = Agent { boot, place: &place, disk, seen: Arc::clone(seen), running, coming, ready };
                agent.pass_on();
                let ended = Box::pin(agent.serve()).await;
                watching.inspect(JoinHandle::abort);
                ended
            }
            Ok(Err(reason)) => Ok(reason),
            Err(error) => Err(error),
        };
        place.cleared().await;
        processes::kill_workload(&boot.workload.to_string()).await;
        ended
    }

    /// Begins to look whether the job's GPUs are at work, where it has some and this copy of the agent is on the machine with them.
    fn watch_gpus(&self) -> Option<JoinHandle<()>> {
        let boot = &self.orders.boot;
        let here = boot.room != Room::Pod && !boot.gpus_simulated && !boot.gpus.is_empty();
        here.then(|| {
            let (seen, clock) = (Arc::clone(&self.means.seen), Arc::clone(&self.means.clock));
            let now = Arc::clone(&clock);
            tokio::spawn(gpu::watch(boot.gpus.clone(), clock, move |doing| {
                seen.send_if_modified(|seen| seen.gpus_are(doing, now.now()));
            }))
        })
    }
}

/// Enrols; only the control plane's own word or much time ends the attempts.
async fn enrolled(plane: &Plane, clock: &dyn Clock, token: &Secret, enroll: &Enroll) -> Result<Enrolled, AgentError> {
    let until = clock.now().plus(ENROLL_FOR);
    let mut backoff = Backoff::default();
    loop {
        match plane.enroll(token, enroll).await {
            Ok(enrolled) => return Ok(enrolled),
            Err(CallError::Refused(status)) => return Err(AgentError::Refused { status }),
            Err(error) if clock.now() >= until => return Err(AgentError::Unreachable { last: error.to_string() }),
            Err(error) => tracing::warn!(%error, "could not enrol"),
        }
        clock.sleep(backoff.next()).await;
    }
}

/// The last report, so that the exit code is known, and the farewell.
async fn last_words(plane: &Plane, clock: &dyn Clock, seen: &watch::Sender<Seen>, reason: String) {
    let bye = Bye { reason };
    let said = async {
        let mut backoff = Backoff::default();
        loop {
            let report = seen.borrow().report(clock.now());
            match plane.sync(&report).await {
                Ok(_synced) => {
                    let mut more = false;
                    seen.send_modify(|seen| more = seen.heard(&report));
                    if !more {
                        break;
                    }
                }
                // A refusal means that the job is over for the control plane, which needs no report then.
                Err(CallError::Refused(_) | CallError::Rejected(_)) => break,
                Err(CallError::Unavailable(_)) => clock.sleep(backoff.next()).await,
            }
        }
        while let Err(CallError::Unavailable(error)) = plane.bye(&bye).await {
            tracing::debug!(%error, "the farewell was not heard");
            clock.sleep(backoff.next()).await;
        }
    };
    if tokio::time::timeout(LAST_WORDS, said).await.is_err() {
        tracing::warn!("the control plane could not be told that the job ended");
    }
}

/// The agent while its job runs.
struct Agent<'a> {
    boot: &'a Boot,
    place: &'a Place,
    disk: Option<&'a Disk>,
    seen: Arc<watch::Sender<Seen>>,
    running: Running,
    coming: Coming,
    ready: Ways,
}

/// What a job's users come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Ssh,
    Model,
}

/// Which ways in have been seen to work; one that the job does not have works.
#[derive(Clone, Copy, Debug)]
struct Ways {
    ssh: bool,
    model: bool,
}

impl Agent<'_> {
    /// Passes on what should be true, and what happened, until nothing of the job runs any more. Answers why it ended.
    async fn serve(&mut self) -> Result<String, AgentError> {
        let (tell_way, mut ways) = mpsc::channel(2);
        loop {
            tokio::select! {
                next = self.coming.next() => match next {
                    Next::Apply => self.pass_on(),
                    Next::Stop => self.running.say(ToInner::Stop),
                    Next::Kill => return Ok(self.kill().await),
                },
                Some((way, answered)) = ways.recv() => self.reached(way, answered)?,
                message = self.running.from_inner.recv() => match message {
                    Some(FromInner::Ended) => return Ok(self.kill().await),
                    Some(FromInner::Listening) => {
                        // A model has yet to be made ready: for a job this is the last step.
                        if self.ready.model {
                            self.enter(Progress::HealthCheck);
                        }
                        self.check(Way::Ssh, &tell_way);
                    }
                    Some(FromInner::Model { news: ModelNews::Answers }) => {
                        self.enter(Progress::HealthCheck);
                        self.check(Way::Model, &tell_way);
                    }
                    Some(FromInner::ModelFailed { error }) => return Err(self.without_model(error)),
                    Some(FromInner::Failed { error }) => return Err(AgentError::SandboxDied(error)),
                    Some(message) => self.learn(message),
                    None => return self.lost().await,
                },
            }
        }
    }

    /// Tells the inner copy what should be true from now on.
    fn pass_on(&mut self) {
        let Some(Desired { users, jupyter, notices, disk, .. }) = self.coming.desired.take() else { return };
        if let (Some(ours), Some(mount)) = (self.disk, &disk) {
            ours.want(mount);
        }
        self.running.say(ToInner::Apply { version: self.coming.version, users, jupyter, notices });
    }

    /// Takes what the inner copy says about the job.
    fn learn(&self, message: FromInner) {
        let now = self.coming.clock.now();
        self.seen.send_if_modified(|seen| {
            match message {
                FromInner::Applied { version } => seen.applied = version,
                FromInner::Main { main } => seen.main = main,
                FromInner::Jupyter { jupyter } => seen.jupyter = jupyter,
                FromInner::Model { news: ModelNews::Note { text, percent } } => seen.note_at(text, percent),
                FromInner::Model { news: ModelNews::Loads } => seen.enter(Progress::ModelLoading, now),
                // It is told with whatever is told next: by itself it is no news.
                FromInner::Doing { doing } => return seen.inside_is(doing, now),
                FromInner::Model { news: ModelNews::Answers }
                | FromInner::ModelFailed { .. }
                | FromInner::Listening
                | FromInner::Log { .. }
                | FromInner::Ended
                | FromInner::Failed { .. } => {}
            }
            true
        });
    }

    /// The launch has come so far.
    fn enter(&self, progress: Progress) {
        let now = self.coming.clock.now();
        self.seen.send_modify(|seen| seen.enter(progress, now));
    }

    /// Begins to look whether a way in can be used from out here, as its users will.
    fn check(&self, way: Way, tell: &mpsc::Sender<(Way, bool)>) {
        let host = reach::host(&self.boot.listen);
        let (ssh, model, tell) = (self.boot.ssh_port, self.boot.model_port, tell.clone());
        tokio::spawn(async move {
            let reached = async {
                match (way, model) {
                    (Way::Ssh, _) => reach::ssh(host, ssh).await,
                    (Way::Model, Some(port)) => reach::model(host, port).await,
                    (Way::Model, None) => std::future::pending().await,
                }
            };
            let answered = tokio::time::timeout(REACHED_WITHIN, reached).await.is_ok();
            if tell.send((way, answered)).await.is_err() {
                tracing::debug!(?way, "the agent ended before the way in was looked at");
            }
        });
    }

    /// A way in was looked at: when all work, the job is its users'.
    fn reached(&mut self, way: Way, answered: bool) -> Result<(), AgentError> {
        match way {
            Way::Ssh if !answered => return Err(AgentError::SandboxDied("its SSH server does not answer".into())),
            Way::Model if !answered => return Err(AgentError::Model("it cannot be reached from outside".into())),
            Way::Ssh => self.ready.ssh = true,
            Way::Model => self.ready.model = true,
        }
        if self.ready.ssh && self.ready.model {
            self.enter(Progress::Ready);
        }
        Ok(())
    }

    /// The model cannot be served: the timeline is told all that is known of why.
    fn without_model(&self, error: String) -> AgentError {
        self.seen.send_modify(|seen| seen.note(format!("The model's server: {error}")));
        AgentError::Model(error)
    }

    /// Ends everything that is left, and answers why.
    async fn kill(&mut self) -> String {
        self.running.say(ToInner::Kill);
        // It closes its socket when nothing of the job runs and all has been told: the exit code, and the end of the log.
        if tokio::time::timeout(KILL_WITHIN, self.rest()).await.is_err() {
            if let Some(id) = self.running.id() {
                processes::signal(&processes::tree(&processes::all(), &[id]), Signal::SIGKILL);
            }
            self.place.cleared().await;
            if tokio::time::timeout(KILL_WITHIN, self.rest()).await.is_err() {
                tracing::warn!("the inner copy of the agent is still there");
            }
        }
        self.running.reader.abort();
        self.coming.reason()
    }

    /// Takes what the inner copy says to its end.
    async fn rest(&mut self) {
        while let Some(message) = self.running.from_inner.recv().await {
            self.learn(message);
        }
    }

    /// The inner copy is gone without having been told to go.
    async fn lost(&mut self) -> Result<String, AgentError> {
        if let Some(reason) = self.coming.deadlines.reason() {
            return Ok(reason.to_owned());
        }
        Err(AgentError::SandboxDied(self.running.gone().await))
    }
}
