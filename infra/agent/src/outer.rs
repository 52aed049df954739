//! The copy of the agent on the host.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::ExitStatus, sync::Arc, time::Duration};

use cloud::{Clock, Ids, OsIds, SystemClock};
use domain::{
    Secret,
    agent::{Boot, Bye, Desired, Enroll, Enrolled, Progress, Synced},
    api_key::{KeyKind, mint},
};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, BufReader},
    net::{TcpStream, UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    task::JoinHandle,
};

use crate::{
    AgentError, boot,
    deadlines::{Deadlines, Due, SHORT_GRACE},
    link::{self, FromInner, Setup, ToInner},
    logs::Logs,
    orphans,
    plane::{Backoff, CallError, Plane},
    processes,
    sandbox::Sandbox,
    spawn::on_own_thread,
    sync::{Heard, Seen, Syncing},
};

/// How long enrolling is tried.
const ENROLL_FOR: Duration = Duration::from_secs(10 * 60);
/// How long the inner copy may take to come up, and then its SSH server to answer.
const INNER_WITHIN: Duration = Duration::from_secs(30);
const SSH_WITHIN: Duration = Duration::from_secs(60);
/// How long the inner copy may take to end the job when it is told to, and to be gone when it is killed itself.
const KILL_WITHIN: Duration = Duration::from_secs(3);
/// How long the last lines of the log, and the last words, are tried.
const LAST_LOGS: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Serves one job from enrolment to its end.
pub(crate) async fn run(boot: Boot) -> Result<(), AgentError> {
    orphans::adopt();
    tokio::spawn(orphans::reap_forever());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn Ids> = Arc::new(OsIds);
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::system("listening for signals"))?;
    let session = mint(KeyKind::Session, &ids.random());
    let enroll = Enroll { session: session.hash(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let plane = Arc::new(Plane::new(&boot.plane, session)?);
    let enrolled = tokio::select! {
        enrolled = enrolled(&plane, &*clock, &boot.token, &enroll) => enrolled?,
        _signalled = terminate.recv() => return Ok(()),
    };
    tracing::info!(workload = %boot.workload, "enrolled");

    let seen = Arc::new(watch::Sender::new(Seen::default()));
    let (tell, heard) = mpsc::channel(16);
    let syncing = Syncing { plane: Arc::clone(&plane), clock: Arc::clone(&clock), ids, seen: Arc::clone(&seen), tell };
    let syncing = tokio::spawn(syncing.run(enrolled.synced.next_sync_ms));
    let logs = Logs::default();
    let shipping = tokio::spawn(logs.clone().ship(Arc::clone(&plane), Arc::clone(&clock)));

    let workload = boot.workload.to_string();
    let ended = match Box::pin(started(&boot, &enrolled, &seen, &logs)).await {
        Ok(running) => {
            let deadlines = Deadlines::new(clock.now());
            let mut agent =
                Agent { boot, clock: Arc::clone(&clock), seen: Arc::clone(&seen), running, deadlines, version: 0 };
            agent.hear(enrolled.synced);
            Box::pin(agent.serve(heard, terminate)).await
        }
        Err(error) => Err(error),
    };
    processes::kill_workload(&workload).await;
    logs.close();
    if tokio::time::timeout(LAST_LOGS, shipping).await.is_err() {
        tracing::warn!("the end of the log could not be sent in time");
    }
    syncing.abort();
    let reason = ended.as_ref().map_or_else(ToString::to_string, Clone::clone);
    last_words(&plane, &*clock, &seen, reason).await;
    ended.map(drop)
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
            let report = seen.borrow().report();
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

/// The inner copy of the agent, running.
struct Running {
    to_inner: mpsc::Sender<ToInner>,
    from_inner: mpsc::Receiver<FromInner>,
    ended: oneshot::Receiver<std::io::Result<ExitStatus>>,
    id: i32,
    reader: JoinHandle<()>,
}

/// Makes the sandbox and starts the inner copy in it.
async fn started(
    boot: &Boot,
    enrolled: &Enrolled,
    seen: &watch::Sender<Seen>,
    logs: &Logs,
) -> Result<Running, AgentError> {
    let work_dir = PathBuf::from(&boot.work_dir);
    fs::create_dir_all(&work_dir).map_err(AgentError::file("making", &work_dir))?;
    fs::set_permissions(&work_dir, fs::Permissions::from_mode(0o700)).map_err(AgentError::file("using", &work_dir))?;
    let host_key = boot::host_key(boot.host_key.as_ref())?;
    let socket = fs::canonicalize(&work_dir).map_err(AgentError::file("using", &work_dir))?.join("agent.sock");
    if socket.exists() {
        fs::remove_file(&socket).map_err(AgentError::file("removing", &socket))?;
    }
    let (folder, short) = link::short_path(&socket).map_err(AgentError::file("using", &socket))?;
    let listener = UnixListener::bind(short).map_err(AgentError::file("listening at", &socket))?;
    drop(folder);
    let sandbox = Sandbox::prepare(boot, &socket).await?;
    seen.send_modify(|seen| sandbox.notes.iter().for_each(|note| seen.note(note)));
    let mut program = on_own_thread(sandbox.command()).await?;
    let stream = tokio::select! {
        accepted = listener.accept() => accepted.map_err(AgentError::file("listening at", &socket))?.0,
        status = &mut program.ended => return Err(AgentError::SandboxDied(described(status))),
        () = tokio::time::sleep(INNER_WITHIN) => {
            return Err(AgentError::Sandbox("the agent inside did not come up".into()));
        }
    };
    // One connection is all there will ever be: user code finds nothing to connect to.
    drop(listener);
    fs::remove_file(&socket).map_err(AgentError::file("removing", &socket))?;
    let (to_inner, from_inner, reader) = linked(stream, logs.clone());
    let setup = Setup {
        workload: boot.workload,
        host_key,
        listen: boot.listen.clone(),
        ssh_port: boot.ssh_port,
        jupyter_port: boot.jupyter_port,
        home: sandbox.home,
        path: sandbox.path,
        image: boot.image.clone(),
        gpus: boot.gpus.clone(),
        gpus_simulated: boot.gpus_simulated,
        command: enrolled.command.clone(),
        env: enrolled.env.clone(),
    };
    let running = Running { to_inner, from_inner, ended: program.ended, id: program.id, reader };
    // This alone is waited for: without it there is no job, and no deadline yet that could be missed.
    if running.to_inner.send(ToInner::Setup(Box::new(setup))).await.is_err() {
        tracing::debug!("the agent in the sandbox is gone already");
    }
    Ok(running)
}

/// Puts two tasks between the socket and channels. Lines of the log go straight to where they wait to be sent.
fn linked(stream: UnixStream, logs: Logs) -> (mpsc::Sender<ToInner>, mpsc::Receiver<FromInner>, JoinHandle<()>) {
    let (read, write) = stream.into_split();
    let (to_inner, messages) = mpsc::channel(16);
    let (told, from_inner) = mpsc::channel(16);
    tokio::spawn(link::write_all(write, messages, std::future::pending()));
    let reader = tokio::spawn(async move {
        let mut read = BufReader::new(read);
        loop {
            match link::read(&mut read).await {
                Ok(Some(FromInner::Log { line })) => logs.push(line),
                Ok(Some(message)) => {
                    if told.send(message).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the agent in the sandbox");
                    return;
                }
            }
        }
    });
    (to_inner, from_inner, reader)
}

impl Running {
    /// Says something to the inner copy, and never waits for it: it runs beside the user's code, which may hold it up, and the job's
    /// end must not wait for that. What gets lost is made up for: what should be true is told again until it has been applied, and
    /// who does not stop is killed. If the inner copy is gone, its end is noticed elsewhere.
    fn say(&self, message: ToInner) {
        match self.to_inner.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::warn!("the agent in the sandbox does not take what it is told"),
            Err(TrySendError::Closed(_)) => tracing::debug!("the agent in the sandbox does not listen any more"),
        }
    }
}

/// The agent while its job runs.
struct Agent {
    boot: Boot,
    clock: Arc<dyn Clock>,
    seen: Arc<watch::Sender<Seen>>,
    running: Running,
    deadlines: Deadlines,
    /// The version of the desired state that was passed on last.
    version: u64,
}

impl Agent {
    /// Passes on what should be true, and what happened, until nothing of the job runs any more. Answers why it ended.
    async fn serve(
        &mut self,
        mut heard: mpsc::Receiver<Heard>,
        mut terminate: tokio::signal::unix::Signal,
    ) -> Result<String, AgentError> {
        let (tell_ssh, mut ssh) = mpsc::channel(1);
        loop {
            let pause = match self.deadlines.due(self.clock.now()) {
                Due::Sleep(pause) => pause,
                Due::Stop => {
                    self.running.say(ToInner::Stop);
                    continue;
                }
                Due::Kill => return Ok(self.kill().await),
            };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                Some(news) = heard.recv() => match news {
                    Heard::Synced(synced) => self.hear(synced),
                    Heard::Refused(status) => self.stop_soon(&format!("The control plane refused it with status {status}.")),
                },
                _signalled = terminate.recv() => self.stop_soon("The agent was told to end."),
                Some(answered) = ssh.recv() => self.ssh(answered)?,
                message = self.running.from_inner.recv() => match message {
                    Some(FromInner::Ended) => return Ok(self.kill().await),
                    Some(FromInner::Listening) => self.check_ssh(&tell_ssh),
                    Some(FromInner::Failed { error }) => return Err(AgentError::SandboxDied(error)),
                    Some(message) => self.learn(message),
                    None => return self.lost().await,
                },
            }
        }
    }

    /// Takes an answer of the control plane's.
    fn hear(&mut self, synced: Synced) {
        self.deadlines.heard(self.clock.now());
        let Some(desired) = synced.desired else { return };
        // Answers of two syncs cannot overtake each other, but a doubled one changes nothing.
        if synced.version < self.version {
            return;
        }
        self.version = synced.version;
        self.deadlines.desired(&desired);
        let Desired { users, jupyter, notices, .. } = desired;
        self.running.say(ToInner::Apply { version: synced.version, users, jupyter, notices });
    }

    /// Ends in a short while.
    fn stop_soon(&mut self, reason: &str) {
        self.deadlines.stop(self.clock.now().plus(SHORT_GRACE), reason);
    }

    /// Takes what the inner copy says about the job.
    fn learn(&self, message: FromInner) {
        self.seen.send_modify(|seen| match message {
            FromInner::Applied { version } => seen.applied = version,
            FromInner::Main { main } => seen.main = main,
            FromInner::Jupyter { jupyter } => seen.jupyter = jupyter,
            FromInner::Listening | FromInner::Log { .. } | FromInner::Ended | FromInner::Failed { .. } => {}
        });
    }

    /// Begins to look whether SSH can be reached from out here, as its users will.
    fn check_ssh(&self, tell: &mpsc::Sender<bool>) {
        self.seen.send_modify(|seen| seen.progress = Progress::HealthCheck);
        let host = match self.boot.listen.as_str() {
            "0.0.0.0" | "" => "127.0.0.1".to_owned(),
            "::" => "::1".to_owned(),
            other => other.to_owned(),
        };
        let (port, tell) = (self.boot.ssh_port, tell.clone());
        tokio::spawn(async move {
            let answered = tokio::time::timeout(SSH_WITHIN, answering(host, port)).await.is_ok();
            if tell.send(answered).await.is_err() {
                tracing::debug!("the agent ended before SSH was looked at");
            }
        });
    }

    fn ssh(&self, answered: bool) -> Result<(), AgentError> {
        if !answered {
            return Err(AgentError::SandboxDied("its SSH server does not answer".into()));
        }
        self.seen.send_modify(|seen| seen.progress = Progress::Ready);
        Ok(())
    }

    /// Ends everything that is left, and answers why.
    async fn kill(&mut self) -> String {
        self.running.say(ToInner::Kill);
        // It closes its socket when nothing of the job runs and all has been told: the exit code, and the end of the log.
        if tokio::time::timeout(KILL_WITHIN, self.rest()).await.is_err() {
            let everyone = processes::all();
            processes::signal(&processes::tree(&everyone, &[self.running.id]), Signal::SIGKILL);
            if tokio::time::timeout(KILL_WITHIN, self.rest()).await.is_err() {
                tracing::warn!("the agent in the sandbox is still there");
            }
        }
        self.running.reader.abort();
        self.deadlines.reason().unwrap_or("It ended.").to_owned()
    }

    /// Takes what the inner copy says to its end.
    async fn rest(&mut self) {
        while let Some(message) = self.running.from_inner.recv().await {
            self.learn(message);
        }
    }

    /// The inner copy is gone without having been told to go.
    async fn lost(&mut self) -> Result<String, AgentError> {
        if let Some(reason) = self.deadlines.reason() {
            return Ok(reason.to_owned());
        }
        let status = tokio::time::timeout(Duration::from_secs(2), &mut self.running.ended).await;
        let status = status.map_or_else(|_late| "it still runs, but closed its socket".to_owned(), described);
        Err(AgentError::SandboxDied(status))
    }
}

fn described(status: Result<std::io::Result<ExitStatus>, oneshot::error::RecvError>) -> String {
    match status {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_lost) => "its end was not seen".to_owned(),
    }
}

/// Comes back when an SSH server greets at this address.
async fn answering(host: String, port: u16) {
    loop {
        let greeted = async {
            let mut stream = TcpStream::connect((host.as_str(), port)).await?;
            let mut greeting = [0; 8];
            stream.read_exact(&mut greeting).await?;
            Ok::<_, std::io::Error>(&greeting == b"SSH-2.0-")
        };
        match tokio::time::timeout(Duration::from_secs(5), greeted).await {
            Ok(Ok(true)) => return,
            Ok(Ok(false)) => tracing::warn!(host, port, "something else than an SSH server answers"),
            Ok(Err(error)) => tracing::debug!(%error, "SSH does not answer yet"),
            Err(_late) => tracing::debug!("SSH does not answer yet"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
