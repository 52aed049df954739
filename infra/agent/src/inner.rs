//! The copy of the agent in the sandbox.

use std::{io::ErrorKind, path::Path, pin::pin, sync::Arc, time::Duration};

use cloud::{Clock, SystemClock};
use domain::Secret;
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufRead, BufReader},
    net::{TcpListener, UnixStream},
    signal::unix::{Signal as Signals, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};

use crate::{
    AgentError,
    deadlines::SHORT_GRACE,
    endpoint, gpu, idle,
    jupyter::Jupyter,
    link::{self, FromInner, Model, Setup, ToInner},
    main_process, model,
    node::Node,
    orphans,
    processes::{self, SESSION_MARK},
    sandbox::SOCKET,
    ssh,
};

/// How long a port is tried: another job's agent may be about to let go of it.
const LISTEN_ATTEMPTS: u32 = 50;
const LISTEN_PAUSE: Duration = Duration::from_millis(200);
/// How long the socket is tried: in a pod this copy is there before the outer one has enrolled, or even has been pulled.
const CONNECT_ATTEMPTS: u32 = 6_000;
const CONNECT_PAUSE: Duration = Duration::from_millis(200);
/// How long the main process's last lines and exit code are waited for when nothing of it runs any more, and then their way out.
const MAIN_TOLD_WITHIN: Duration = Duration::from_millis(1500);
const LAST_TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Serves the outer copy at the other end of `socket` until that closes.
pub(crate) async fn run(socket: &Path) -> Result<(), AgentError> {
    orphans::adopt();
    tokio::spawn(orphans::reap_forever());
    if socket == Path::new(SOCKET) || std::process::id() == 1 {
        close_to_neighbours();
    }
    // Listened for from the start: the first process of a container does not get a signal that it does not listen for.
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::system("listening for signals"))?;
    let stream = tokio::select! {
        stream = connected(socket) => stream?,
        _signalled = terminate.recv() => return Ok(()),
    };
    let (read, write) = stream.into_split();
    let (tell, messages) = mpsc::channel(256);
    let (close, closing) = oneshot::channel::<()>();
    let writer = tokio::spawn(link::write_all(write, messages, async { closing.await.unwrap_or_default() }));
    let mut read = BufReader::new(read);
    let first = tokio::select! {
        first = link::read(&mut read) => first?,
        _signalled = terminate.recv() => return Ok(()),
    };
    let Some(ToInner::Setup(setup)) = first else {
        return Err(AgentError::Link("the first message is not the one that starts a job".into()));
    };
    let workload = setup.workload.to_string();
    let served = Box::pin(serve(*setup, &mut read, tell, terminate)).await;
    // Whatever ended it: nothing of the job may stay, and what was told last should still arrive.
    processes::kill_workload(&workload).await;
    drop(close);
    if tokio::time::timeout(LAST_TOLD_WITHIN, writer).await.is_err() {
        tracing::warn!("the agent outside did not take what was told last");
    }
    served
}

/// The connection to the outer copy, once that listens.
async fn connected(socket: &Path) -> Result<UnixStream, AgentError> {
    let mut attempts = 0;
    loop {
        let connecting = async {
            // The folder stays open for as long as its path is used.
            let (_folder, short) = link::short_path(socket)?;
            UnixStream::connect(short).await
        };
        match connecting.await {
            Ok(stream) => return Ok(stream),
            // It is not there yet, or not open to us yet.
            Err(error)
                if attempts < CONNECT_ATTEMPTS
                    && matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied
                    ) =>
            {
                attempts += 1;
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            Err(error) => return Err(AgentError::file("connecting to", socket)(error)),
        }
    }
}

/// Closes our memory to the programs beside us, which run as the same user: the SSH host key is in it, and it is every job's.
///
/// Only in a sandbox or a container: outside of it our files in `/proc` would be closed to the outer copy too, and the job's programs are those
/// of a user who can read the key where it is kept.
fn close_to_neighbours() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%error, "the job's programs may look into the agent");
    }
}

async fn serve(
    setup: Setup,
    read: &mut (impl AsyncBufRead + Unpin),
    tell: mpsc::Sender<FromInner>,
    terminate: Signals,
) -> Result<(), AgentError> {
    let node = Arc::new(Node::new(&setup, tell));
    let (want_jupyter, wanted_jupyter) = watch::channel::<Option<Secret>>(None);
    let ready = async {
        let config = ssh::server::config(&setup.host_key)?;
        let listener = listening(&setup.listen, setup.ssh_port, "listening for SSH").await?;
        let endpoint = match setup.model_port.filter(|_port| setup.model.is_some()) {
            Some(port) => Some(listening(&setup.listen, port, "listening for the model's callers").await?),
            None => None,
        };
        Ok::<_, AgentError>((config, listener, endpoint))
    };
    let endpoint = match ready.await {
        Ok((config, listener, endpoint)) => {
            tokio::spawn(ssh::server::serve(Arc::clone(&node), config, listener));
            endpoint
        }
        Err(error) => {
            node.tell(FromInner::Failed { error: error.to_string() }).await;
            return Err(error);
        }
    };
    node.tell(FromInner::Listening).await;
    watch_activity(&node, &setup);
    let main_told = main_started(&node, setup.command, setup.model, endpoint);
    tokio::spawn(Jupyter::new(Arc::clone(&node), setup.jupyter_listen, setup.jupyter_port).run(wanted_jupyter));
    let mut over = pin!(told_to_end(terminate, Arc::clone(&node), main_told.clone()));
    loop {
        let message = tokio::select! {
            message = link::read(read) => message?,
            () = &mut over => None,
        };
        match message {
            Some(ToInner::Apply { version, users, jupyter, notices }) => {
                ssh::server::put_out(node.access.replace(&users)).await;
                want_jupyter.send_if_modified(|now| {
                    let changed = *now != jupyter;
                    *now = jupyter;
                    changed
                });
                node.terminals.show(&notices);
                node.tell(FromInner::Applied { version }).await;
            }
            Some(ToInner::Stop) => {
                tokio::spawn(stop(Arc::clone(&node), main_told.clone()));
            }
            Some(ToInner::Kill) => {
                node.stop();
                processes::kill_workload(&node.workload).await;
                told(main_told).await;
                node.tell(FromInner::Ended).await;
                return Ok(());
            }
            Some(ToInner::Setup(_)) => tracing::warn!("a job can be started only once"),
            None => return Ok(()),
        }
    }
}

/// Starts the main process: the user's command, or the server of the model that is served in its place, with the `endpoint` before it.
/// What comes back turns true when its end has been told, and is so already where there is none.
fn main_started(
    node: &Arc<Node>,
    command: Option<Secret>,
    model: Option<Model>,
    endpoint: Option<TcpListener>,
) -> watch::Receiver<bool> {
    let (tell, told) = watch::channel(command.is_none() && model.is_none());
    let node = Arc::clone(node);
    if let Some(model) = model {
        let (tell_port, port) = watch::channel(None);
        if let Some(listener) = endpoint {
            tokio::spawn(endpoint::serve(listener, port, Arc::clone(&node.activity.traffic)));
        }
        tokio::spawn(async move {
            model::run(node, Arc::new(SystemClock), model, tell_port).await;
            tell.send_replace(true);
        });
    } else if let Some(command) = command {
        tokio::spawn(async move {
            main_process::run(node, command).await;
            tell.send_replace(true);
        });
    }
    told
}

/// Begins to look whether anything goes on here.
fn watch_activity(node: &Arc<Node>, setup: &Setup) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    if setup.watch_gpus {
        let watcher = Arc::clone(node);
        tokio::spawn(gpu::watch(setup.gpus.clone(), Arc::clone(&clock), move |doing| watcher.activity.gpus(doing)));
    }
    tokio::spawn(idle::watch(Arc::clone(node), clock));
}

/// Asks everything to end when this copy is told to, as Kubernetes tells the first program of each container of a pod that it ends; comes
/// back when grace is over. Whoever ended by then has told the outer copy, which says the rest.
async fn told_to_end(mut terminate: Signals, node: Arc<Node>, main_told: watch::Receiver<bool>) {
    if terminate.recv().await.is_none() {
        return std::future::pending().await;
    }
    tokio::spawn(stop(node, main_told));
    tokio::time::sleep(SHORT_GRACE).await;
}

/// A socket for one of the ways in, once its port is free.
async fn listening(address: &str, port: u16, what: &'static str) -> Result<TcpListener, AgentError> {
    let mut attempts = 0;
    loop {
        match TcpListener::bind((address, port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && attempts < LISTEN_ATTEMPTS => {
                attempts += 1;
                tokio::time::sleep(LISTEN_PAUSE).await;
            }
            Err(error) => return Err(AgentError::system(what)(error)),
        }
    }
}

/// Asks everything to end, and tells when it has.
async fn stop(node: Arc<Node>, main_told: watch::Receiver<bool>) {
    node.stop();
    processes::signal(&processes::of_workload(&node.workload), Signal::SIGTERM);
    // An interactive shell shrugs off SIGTERM; that its terminal is gone makes it go.
    let sessions = format!("{}-", node.workload);
    processes::signal(&processes::marked(SESSION_MARK, |mark| mark.starts_with(&sessions)), Signal::SIGHUP);
    while !processes::of_workload(&node.workload).is_empty() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    told(main_told).await;
    node.tell(FromInner::Ended).await;
}

/// Waits until the main process's own task has seen its end and told its last lines and its exit code.
async fn told(mut main_told: watch::Receiver<bool>) {
    if tokio::time::timeout(MAIN_TOLD_WITHIN, main_told.wait_for(|told| *told)).await.is_err() {
        tracing::warn!("the main process's end was not seen in time");
    }
}
