//! A job in a container of its image, on a machine that was bought for it.

use std::{
    fs::{self, Permissions},
    io::{self, PipeReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use domain::WorkloadId;
use tokio::sync::watch;

use super::{
    Inner, Making,
    engine::{self, Engine, Layout},
    pull,
};
use crate::{AgentError, disk::PLACE, link::Start, logs::cut, spawn::on_own_thread};

/// How often what is left is taken away, and the pause between.
const CLEAR_ATTEMPTS: u32 = 3;
const CLEAR_PAUSE: Duration = Duration::from_secs(1);
/// How much of what the engine said last is kept, and how much of that explains a failure.
const SAID_LAST: usize = 2_000;
const WORDS_MOST: usize = 220;
/// How long the end of its words is waited for.
const WORDS_WITHIN: Duration = Duration::from_secs(1);

/// The container of a job.
#[derive(Debug)]
pub(crate) struct Container {
    workload: WorkloadId,
    /// The engine, once there is something of it to clear away.
    engine: OnceLock<Engine>,
}

impl Container {
    pub(super) fn new(workload: WorkloadId) -> Self {
        Self { workload, engine: OnceLock::new() }
    }

    /// Gets the image and starts the container, with this program's inner copy as its first one.
    pub(super) async fn started(
        &self,
        making: &Making<'_>,
        work_dir: &Path,
        socket: &Path,
    ) -> Result<Inner, AgentError> {
        let found = Engine::found(making.clock).await?;
        let engine = *self.engine.get_or_init(|| found);
        // What an agent that was killed has left would keep the name and the ports.
        self.cleared().await;
        pull::pulled(engine, making).await?;
        let home = home(work_dir)?;
        let run = socket.parent().map_or_else(|| work_dir.to_owned(), Path::to_owned);
        let layout = Layout {
            boot: &making.orders.boot,
            program: std::env::current_exe().map_err(AgentError::system("finding this program"))?,
            run,
            home,
            disk: making.disk.map(Path::to_owned),
            weights: making.weights().map(Path::to_owned),
            shared_memory_kib: engine::shared_memory_kib(),
        };
        making.note(format!("Runs in a container of {}.", engine.program()));
        let mut command = Command::new(engine.program());
        let (words, errors) = io::pipe().map_err(AgentError::system("making a pipe"))?;
        command.args(engine.run(&layout)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let program = on_own_thread(command).await?;
        let disk = making.disk.map(|_mounted| PLACE.into());
        let weights = making.weights().map(|_mounted| engine::WEIGHTS.into());
        Ok(Inner { program: Some(program), said: Said::by(words)?, start: Start::Image, disk, weights })
    }

    /// Takes away what the engine has of this job.
    pub(super) async fn cleared(&self) {
        let Some(engine) = self.engine.get() else { return };
        for _attempt in 0..CLEAR_ATTEMPTS {
            match engine.remove(self.workload).await {
                Ok(0) => return,
                Ok(left) => tracing::warn!(left, "containers of the job are still there"),
                Err(words) => tracing::warn!(words, "the job's containers could not be removed"),
            }
            tokio::time::sleep(CLEAR_PAUSE).await;
        }
        tracing::error!(workload = %self.workload, "the container engine may still run something of the job");
    }
}

/// The job's home folder on the machine. Its user is the image's, whom nobody knows here; and nobody else can come near, because the
/// folder around it is root's alone.
fn home(work_dir: &Path) -> Result<PathBuf, AgentError> {
    let home = work_dir.join("home");
    fs::create_dir_all(&home).map_err(AgentError::file("making", &home))?;
    fs::set_permissions(&home, Permissions::from_mode(0o777)).map_err(AgentError::file("opening", &home))?;
    Ok(home)
}

/// What a program says on its standard error: it is passed on to ours, and the end of it is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    last: Arc<Mutex<Vec<u8>>>,
    /// True when it has said everything; none where nobody listens.
    over: Option<watch::Receiver<bool>>,
}

impl Said {
    /// Listens on a thread of its own until the pipe is closed.
    fn by(mut pipe: PipeReader) -> Result<Self, AgentError> {
        let (tell, over) = watch::channel(false);
        let said = Self { last: Arc::default(), over: Some(over) };
        let last = Arc::clone(&said.last);
        let body = move || {
            let mut part = [0; 4096];
            loop {
                match pipe.read(&mut part) {
                    Ok(0) => break,
                    Ok(length) => {
                        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                        last.extend_from_slice(&part[..length]);
                        let longer = last.len().saturating_sub(SAID_LAST);
                        last.drain(..longer);
                        if let Err(error) = io::stderr().write_all(&part[..length]) {
                            tracing::debug!(%error, "what the container says could not be passed on");
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        tracing::warn!(%error, "what the container says");
                        break;
                    }
                }
            }
            tell.send_replace(true);
        };
        thread::Builder::new()
            .name("container's words".into())
            .spawn(body)
            .map_err(AgentError::system("starting a thread"))?;
        Ok(said)
    }

    /// How the program ended, with what it said last.
    pub(super) async fn with(&mut self, status: String) -> String {
        if let Some(over) = &mut self.over
            && tokio::time::timeout(WORDS_WITHIN, over.wait_for(|over| *over)).await.is_err()
        {
            tracing::debug!("something still holds the container's standard error");
        }
        let said = engine::last_words(&self.last.lock().unwrap_or_else(PoisonError::into_inner));
        if said.is_empty() {
            return status;
        }
        let mut words = format!("{status}: {said}");
        cut(&mut words, WORDS_MOST);
        words
    }
}
