//! Where the job runs: the outer copy makes that place, starts its inner copy there or waits for it, and clears away what stays.

mod container;
mod engine;
mod pull;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use cloud::Clock;
use domain::agent::{Boot, Enrolled, ModelServer, Room};
use tokio::{
    io::BufReader,
    net::{UnixListener, UnixStream},
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    task::JoinHandle,
};

use self::container::Container;
pub(crate) use self::engine::last_words;
use crate::{
    AgentError, boot,
    link::{self, FromInner, Model, Setup, Start, ToInner},
    logs::Logs,
    model,
    outer::Orders,
    sandbox::Sandbox,
    spawn::{Started, on_own_thread},
    sync::Seen,
};

/// How long the inner copy may take to come up: in a sandbox; in a container, whose GPUs may have to wake up first; and in a pod, whose image
/// may have to be pulled.
const INNER_WITHIN: Duration = Duration::from_secs(30);
const CONTAINER_WITHIN: Duration = Duration::from_secs(120);
const POD_WITHIN: Duration = Duration::from_secs(60 * 60);

/// JupyterLab's address where its port can be reached from where it runs only.
const LOOPBACK: &str = "127.0.0.1";
const EVERY_ADDRESS: &str = "0.0.0.0";

/// What a place is made with.
pub(crate) struct Making<'a> {
    pub(crate) orders: &'a Orders,
    /// The disk's folder, if the job has one.
    pub(crate) disk: Option<&'a Path>,
    pub(crate) enrolled: &'a Enrolled,
    pub(crate) seen: &'a watch::Sender<Seen>,
    pub(crate) logs: &'a Logs,
    pub(crate) clock: &'a dyn Clock,
}

impl Making<'_> {
    /// The model that is served in place of a command, if one is.
    ///
    /// # Errors
    /// When it is no model, or this node cannot serve one.
    fn model(&self) -> Result<Option<Model>, AgentError> {
        let Some(serve) = self.enrolled.serve.clone() else { return Ok(None) };
        model::checked(&serve).map_err(AgentError::Model)?;
        let boot = &self.orders.boot;
        if boot.model_port.is_none() {
            return Err(AgentError::Model("this node has no port for it".into()));
        }
        if let Some(weights) = self.weights().filter(|_path| boot.room != Room::Pod) {
            let file = fs::metadata(weights).map_err(AgentError::file("reading the weights", weights))?;
            if !file.is_file() {
                return Err(AgentError::Model(format!("{} is no file with weights", weights.display())));
            }
        }
        Ok(Some(Model { serve, server: boot.model_server.clone().unwrap_or_default() }))
    }

    /// The file with the weights of the model that is served, where this node has them in one.
    fn weights(&self) -> Option<&Path> {
        match (&self.enrolled.serve, &self.orders.boot.model_server) {
            (Some(_served), Some(ModelServer::LlamaCpp { gguf: Some(gguf) })) => Some(Path::new(gguf)),
            _ => None,
        }
    }

    /// Adds a fact for the timeline.
    fn note(&self, text: impl Into<String>) {
        self.seen.send_modify(|seen| seen.note(text));
    }
}

/// The place of a job.
#[derive(Debug)]
pub(crate) enum Place {
    Sandbox,
    Container(Container),
    Pod,
}

impl Place {
    pub(crate) fn of(boot: &Boot) -> Self {
        match boot.room {
            Room::Sandbox => Self::Sandbox,
            Room::Container => Self::Container(Container::new(boot.workload)),
            Room::Pod => Self::Pod,
        }
    }

    /// Makes the place, and comes back when the inner copy has come to the socket.
    ///
    /// # Errors
    /// When it cannot be made, or the inner copy does not come. What was begun is cleared by [`Place::cleared`].
    pub(crate) async fn started(&self, making: &Making<'_>) -> Result<Running, AgentError> {
        let boot = &making.orders.boot;
        let mut model = making.model()?;
        let work_dir = self.work_dir(boot)?;
        let host_key = boot::host_key(boot.host_key.as_ref())?;
        let socket = making.orders.socket.clone().unwrap_or_else(|| self.socket(&work_dir));
        let door = Door::open(socket, self.socket_mode())?;
        let (mut inner, within) = match self {
            Self::Sandbox => (sandboxed(making, &door.socket).await?, INNER_WITHIN),
            Self::Container(container) => (container.started(making, &work_dir, &door.socket).await?, CONTAINER_WITHIN),
            Self::Pod => {
                making.note("Waits for the job's own container.");
                let disk = making.disk.map(Path::to_owned);
                // What an image or a volume brings is where it says.
                let weights = making.weights().map(Path::to_owned);
                let (program, said) = (None, container::Said::default());
                (Inner { program, said, start: Start::Image, disk, weights }, POD_WITHIN)
            }
        };
        let stream = door.entered(&mut inner, within).await?;
        if let Some(Model { server: ModelServer::LlamaCpp { gguf: Some(gguf) }, .. }) = &mut model
            && let Some(weights) = &inner.weights
        {
            *gguf = weights.display().to_string();
        }
        let inside_a_container = matches!(self, Self::Container(_));
        let setup = Setup {
            workload: boot.workload,
            host_key,
            // In a container of ours every address is the container's; the machine publishes the port where it was told to.
            listen: if inside_a_container { EVERY_ADDRESS.to_owned() } else { boot.listen.clone() },
            ssh_port: boot.ssh_port,
            jupyter_listen: if inside_a_container { EVERY_ADDRESS } else { LOOPBACK }.to_owned(),
            jupyter_port: boot.jupyter_port,
            start: inner.start.clone(),
            image: boot.image.clone(),
            gpus: self.gpus(boot),
            gpus_simulated: boot.gpus_simulated,
            disk: inner.disk.clone(),
            command: making.enrolled.command.clone(),
            model,
            model_port: boot.model_port,
            watch_gpus: matches!(self, Self::Pod) && !boot.gpus_simulated && !boot.gpus.is_empty(),
            env: making.enrolled.env.clone(),
        };
        let running = Running::over(stream, inner, making.logs.clone());
        // This alone is waited for: without it there is no job, and no deadline yet that could be missed.
        if running.to_inner.send(ToInner::Setup(Box::new(setup))).await.is_err() {
            tracing::debug!("the inner copy of the agent is gone already");
        }
        Ok(running)
    }

    /// Takes away what is left of the place when the job has ended, however it did.
    pub(crate) async fn cleared(&self) {
        if let Self::Container(container) = self {
            container.cleared().await;
        }
    }

    /// The folder for the attempt's files. A pod's is made by Kubernetes, and is not ours to close.
    fn work_dir(&self, boot: &Boot) -> Result<PathBuf, AgentError> {
        let work_dir = PathBuf::from(&boot.work_dir);
        if !matches!(self, Self::Pod) {
            fs::create_dir_all(&work_dir).map_err(AgentError::file("making", &work_dir))?;
            fs::set_permissions(&work_dir, Permissions::from_mode(0o700))
                .map_err(AgentError::file("using", &work_dir))?;
        }
        fs::canonicalize(&work_dir).map_err(AgentError::file("using", &work_dir))
    }

    fn socket(&self, work_dir: &Path) -> PathBuf {
        match self {
            Self::Sandbox | Self::Pod => work_dir.join("agent.sock"),
            Self::Container(_) => work_dir.join("run/agent.sock"),
        }
    }

    /// Who may come to the socket: the same user; whoever an image runs its programs as, in a folder that nobody else on the machine can
    /// enter; the pod's group.
    fn socket_mode(&self) -> u32 {
        match self {
            Self::Sandbox => 0o600,
            Self::Container(_) => 0o666,
            Self::Pod => 0o660,
        }
    }

    /// The GPUs by the numbers that they have for the job. A container sees its own only, numbered from 0.
    fn gpus(&self, boot: &Boot) -> Vec<u32> {
        match self {
            Self::Sandbox => boot.gpus.clone(),
            Self::Container(_) | Self::Pod => (0..).zip(&boot.gpus).map(|(number, _of_the_node)| number).collect(),
        }
    }
}

/// Starts the inner copy in a sandbox.
async fn sandboxed(making: &Making<'_>, socket: &Path) -> Result<Inner, AgentError> {
    let Making { orders, disk, .. } = making;
    let sandbox = Sandbox::prepare(&orders.boot, socket, orders.words, *disk, making.weights()).await?;
    sandbox.notes.iter().for_each(|note| making.note(note));
    let program = on_own_thread(sandbox.command()).await?;
    let start = Start::Nothing { path: sandbox.path, home: sandbox.home };
    let (disk, weights) = (sandbox.disk, sandbox.weights);
    Ok(Inner { program: Some(program), said: container::Said::default(), start, disk, weights })
}

/// The inner copy before it has come.
struct Inner {
    /// The program that ends when the place does; none where Kubernetes starts it.
    program: Option<Started>,
    /// What that program said last.
    said: container::Said,
    start: Start,
    /// The disk, as the job sees it.
    disk: Option<PathBuf>,
    /// The file with a model's weights, as the job sees it.
    weights: Option<PathBuf>,
}

impl Inner {
    /// Comes back when the place has ended by itself, with why.
    async fn ended(&mut self) -> String {
        match &mut self.program {
            Some(program) => {
                let status = described((&mut program.ended).await);
                self.said.with(status).await
            }
            None => std::future::pending().await,
        }
    }
}

/// The socket before the inner copy has come.
struct Door {
    socket: PathBuf,
    listener: UnixListener,
}

impl Door {
    fn open(socket: PathBuf, mode: u32) -> Result<Self, AgentError> {
        if let Some(folder) = socket.parent().filter(|folder| !folder.exists()) {
            fs::create_dir_all(folder).map_err(AgentError::file("making", folder))?;
            fs::set_permissions(folder, Permissions::from_mode(0o755)).map_err(AgentError::file("opening", folder))?;
        }
        if socket.exists() {
            fs::remove_file(&socket).map_err(AgentError::file("removing", &socket))?;
        }
        let (folder, short) = link::short_path(&socket).map_err(AgentError::file("using", &socket))?;
        let listener = UnixListener::bind(&short).map_err(AgentError::file("listening at", &socket))?;
        fs::set_permissions(&short, Permissions::from_mode(mode)).map_err(AgentError::file("opening", &socket))?;
        drop(folder);
        Ok(Self { socket, listener })
    }

    /// The inner copy's connection.
    async fn entered(self, inner: &mut Inner, within: Duration) -> Result<UnixStream, AgentError> {
        let Self { socket, listener } = self;
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map_err(AgentError::file("listening at", &socket))?.0,
            why = inner.ended() => return Err(AgentError::SandboxDied(why)),
            () = tokio::time::sleep(within) => {
                return Err(AgentError::Sandbox("the agent inside did not come up".into()));
            }
        };
        // One connection is all there will ever be: user code finds nothing to connect to.
        drop(listener);
        fs::remove_file(&socket).map_err(AgentError::file("removing", &socket))?;
        Ok(stream)
    }
}

/// The inner copy of the agent, running.
pub(crate) struct Running {
    pub(crate) to_inner: mpsc::Sender<ToInner>,
    pub(crate) from_inner: mpsc::Receiver<FromInner>,
    pub(crate) reader: JoinHandle<()>,
    inner: Inner,
}

impl Running {
    /// Puts two tasks between the socket and channels. Lines of the log go straight to where they wait to be sent.
    fn over(stream: UnixStream, inner: Inner, logs: Logs) -> Self {
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
                        tracing::warn!(%error, "the inner copy of the agent");
                        return;
                    }
                }
            }
        });
        Self { to_inner, from_inner, reader, inner }
    }

    /// Says something to the inner copy, and never waits for it: it runs beside the user's code, which may hold it up, and the job's
    /// end must not wait for that. What gets lost is made up for: what should be true is told again until it has been applied, and
    /// who does not stop is killed. If the inner copy is gone, its end is noticed elsewhere.
    pub(crate) fn say(&self, message: ToInner) {
        match self.to_inner.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::warn!("the inner copy of the agent does not take what it is told"),
            Err(TrySendError::Closed(_)) => tracing::debug!("the inner copy of the agent does not listen any more"),
        }
    }

    /// The id of the program that the job runs under, where we started it.
    pub(crate) fn id(&self) -> Option<i32> {
        self.inner.program.as_ref().map(|program| program.id)
    }

    /// Why the inner copy is gone.
    pub(crate) async fn gone(&mut self) -> String {
        let closed = "it closed its socket".to_owned();
        tokio::time::timeout(Duration::from_secs(2), self.inner.ended()).await.unwrap_or(closed)
    }
}

fn described(status: Result<std::io::Result<ExitStatus>, oneshot::error::RecvError>) -> String {
    match status {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_lost) => "its end was not seen".to_owned(),
    }
}
