//! JupyterLab on loopback: installed when it is first wanted, and never able to break anything else.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use domain::{Secret, agent::JupyterState};
use nix::{sys::signal::Signal, unistd::geteuid};
use reqwest::{Client, Response};
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    process::{Child, ChildStderr, Command},
    sync::watch,
};

use crate::{idle::Kernels, logs::cut, node::Node, orphans, processes};

/// How long an installation may take, and JupyterLab's start.
const INSTALL_WITHIN: Duration = Duration::from_secs(10 * 60);
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long it has to end when it is not wanted any more.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long its port is waited for.
const PORT_ATTEMPTS: u32 = 50;
const PORT_PAUSE: Duration = Duration::from_millis(200);
/// How often is looked whether somebody's kernel is at work.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How much of what a program said last is kept to explain its failure.
const SAID_LAST: usize = 1000;

/// Starts and stops JupyterLab as it is wanted.
pub(crate) struct Jupyter {
    node: Arc<Node>,
    /// The address that it listens on: loopback, but where that is a container's own, whose port its machine publishes on loopback.
    listen: String,
    port: u16,
}

impl Jupyter {
    pub(crate) fn new(node: Arc<Node>, listen: String, port: u16) -> Self {
        Self { node, listen, port }
    }

    /// Follows `wanted`, which is the token or nothing, until nobody can want anything any more.
    pub(crate) async fn run(self, mut wanted: watch::Receiver<Option<Secret>>) {
        loop {
            let token = wanted.borrow_and_update().clone();
            let Some(token) = token else {
                if wanted.changed().await.is_err() {
                    return;
                }
                continue;
            };
            self.tell(JupyterState::Starting).await;
            let failed = tokio::select! {
                error = self.serve(&token) => Some(error),
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    None
                }
            };
            self.node.activity.kernels(false);
            match failed {
                None => self.tell(JupyterState::Off).await,
                Some(error) => {
                    tracing::warn!(%error, "JupyterLab");
                    self.tell(JupyterState::Failed { error }).await;
                    // It is tried again when somebody wants it again, not by itself.
                    if wanted.changed().await.is_err() {
                        return;
                    }
                    self.tell(JupyterState::Off).await;
                }
            }
        }
    }

    async fn tell(&self, jupyter: JupyterState) {
        self.node.tell(crate::link::FromInner::Jupyter { jupyter }).await;
    }

    /// Runs JupyterLab until it ends; answers why it did. Dropping this ends it.
    async fn serve(&self, token: &Secret) -> String {
        let command = match self.find().await {
            Ok(command) => command,
            Err(error) => return error,
        };
        // One that was just ended, because the token changed, may still hold the port.
        for _attempt in 0..PORT_ATTEMPTS {
            match TcpListener::bind((self.listen.as_str(), self.port)).await {
                Ok(_free) => break,
                Err(error) => tracing::debug!(%error, "JupyterLab's port is not free"),
            }
            tokio::time::sleep(PORT_PAUSE).await;
        }
        let mut running = match self.start(command, token) {
            Ok(running) => running,
            Err(error) => return error,
        };
        tokio::select! {
            ended = running.ended() => return ended,
            ready = self.ready() => if !ready {
                return format!("it did not answer within {} seconds", START_WITHIN.as_secs());
            },
        }
        self.tell(JupyterState::Ready).await;
        tokio::select! {
            ended = running.ended() => ended,
            () = self.watched(token) => "nobody looks after it".to_owned(),
        }
    }

    /// Looks again and again whether somebody's kernel or terminal is at work, for ever.
    async fn watched(&self, token: &Secret) {
        let Ok(client) = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build() else {
            return std::future::pending().await;
        };
        let (mut kernels, mut terminals) = (Kernels::default(), Kernels::default());
        loop {
            let kernels = kernels.after(self.account(&client, token, "kernels").await.as_deref());
            let terminals = terminals.after(self.account(&client, token, "terminals").await.as_deref());
            self.node.activity.kernels(kernels || terminals);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Its list of kernels or of terminals.
    async fn account(&self, client: &Client, token: &Secret, of: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}/api/{of}", self.port);
        // The secret goes to the server that was started with it, on loopback.
        let asked = client.get(url).header("Authorization", format!("token {}", token.reveal())).send().await;
        let answer = asked.and_then(Response::error_for_status);
        match answer {
            Ok(answer) => answer.text().await.ok(),
            Err(error) => {
                tracing::debug!(%error, of, "JupyterLab does not say what is at work");
                None
            }
        }
    }

    /// The command line that starts JupyterLab; it is installed for this job if the image has none.
    async fn find(&self) -> Result<Vec<PathBuf>, String> {
        if let Some(lab) = self.node.on_path("jupyter-lab") {
            return Ok(vec![lab]);
        }
        if let Some(jupyter) = self.node.on_path("jupyter") {
            let mut command = self.command(&jupyter);
            command.args(["lab", "--version"]);
            if finished(command, START_WITHIN).await.is_ok() {
                return Ok(vec![jupyter, "lab".into()]);
            }
        }
        let folder = self.node.home.join(".slipway-jupyter");
        let lab = folder.join("bin/jupyter-lab");
        if lab.is_file() {
            return Ok(vec![lab]);
        }
        let python = self.node.on_path("python3").ok_or("neither jupyter-lab nor python3 is on the PATH")?;
        let mut make = self.command(&python);
        make.args(["-m", "venv"]).arg(&folder);
        finished(make, INSTALL_WITHIN).await.map_err(|error| format!("python3 -m venv: {error}"))?;
        let mut install = self.command(&folder.join("bin/python3"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "jupyterlab"]);
        finished(install, INSTALL_WITHIN).await.map_err(|error| format!("pip install jupyterlab: {error}"))?;
        Ok(vec![lab])
    }

    fn start(&self, command: Vec<PathBuf>, token: &Secret) -> Result<Running, String> {
        let mut words = command.into_iter();
        let program = words.next().ok_or("there is no program")?;
        let mut command = self.command(&program);
        command.args(words);
        command.args(["--no-browser", "--port-retries=0"]);
        command.arg(format!("--ip={}", self.listen)).arg(format!("--port={}", self.port));
        command.arg(format!("--ServerApp.root_dir={}", self.node.home.display()));
        if geteuid().is_root() {
            command.arg("--allow-root");
        }
        // The token is in the environment, which only the job's own processes can read; a command line everybody could.
        command.env("JUPYTER_TOKEN", token.reveal());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        orphans::awaited(child.id());
        let said = child.stderr.take();
        Ok(Running { child, said })
    }

    /// A program of the job's, in a process group of its own.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.node.environment).current_dir(&self.node.home).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Whether its `/api` answers in time.
    async fn ready(&self) -> bool {
        let asked = async {
            let Ok(client) = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build() else {
                return std::future::pending().await;
            };
            let url = format!("http://127.0.0.1:{}/api", self.port);
            loop {
                match client.get(&url).send().await {
                    Ok(answer) if answer.status().as_u16() == 200 => return,
                    Ok(answer) => tracing::debug!(status = %answer.status(), "JupyterLab is not ready"),
                    Err(error) => tracing::debug!(%error, "JupyterLab is not ready"),
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        tokio::time::timeout(START_WITHIN, asked).await.is_ok()
    }
}

/// A program in its own process group, which is ended with all that it started when this is dropped.
struct Running {
    child: Child,
    said: Option<ChildStderr>,
}

impl Running {
    /// Waits for its end; answers how it ended and what it said last. Its words are read all the while, or it would stand still.
    async fn ended(&mut self) -> String {
        match self.outcome().await {
            Ok((status, said)) => format!("it ended ({status}): {said}"),
            Err(error) => error.to_string(),
        }
    }

    async fn outcome(&mut self) -> std::io::Result<(ExitStatus, String)> {
        let mut said = Vec::new();
        if let Some(stderr) = &mut self.said {
            let mut part = [0; 4096];
            loop {
                let length = stderr.read(&mut part).await?;
                if length == 0 {
                    break;
                }
                said.extend_from_slice(&part[..length]);
                said.drain(..said.len().saturating_sub(SAID_LAST));
            }
        }
        let status = self.child.wait().await?;
        let mut said = String::from_utf8_lossy(&said).trim().to_owned();
        cut(&mut said, SAID_LAST);
        Ok((status, said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) else { return };
        let tree = processes::tree(&processes::all(), &[id]);
        tokio::spawn(processes::end(tree, Signal::SIGTERM, STOP_GRACE));
    }
}

/// Runs a command to its end; the error is what it said last.
async fn finished(mut command: Command, within: Duration) -> Result<(), String> {
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    orphans::awaited(child.id());
    let said = child.stderr.take();
    let mut running = Running { child, said };
    match tokio::time::timeout(within, running.outcome()).await {
        Ok(Ok((status, _said))) if status.success() => Ok(()),
        Ok(Ok((status, said))) => Err(format!("{status}: {said}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_late) => Err(format!("it took longer than {} seconds", within.as_secs())),
    }
}
