//! The server of a model: made ready, started, watched until it answers, and started again when it dies.
//!
//! It listens on loopback, at a port of our choice; who calls it comes through [`crate::endpoint`]. What it says goes to the log as the main
//! process's output does, since that is what it is.

mod install;
mod loading;
mod program;
mod restarts;

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cloud::Clock;
use domain::agent::{MainProcess, Stream};
use reqwest::Client;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
};

pub(crate) use self::program::checked;
use self::{install::Prepared, loading::Loading, restarts::Restarts};
use crate::{
    link::{FromInner, Model, ModelNews},
    main_process::{self, LAST_OUTPUT},
    node::Node,
    orphans,
};

/// How often it is asked whether it answers, and how long an answer may take.
const ASKED_EVERY: Duration = Duration::from_millis(250);
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How many of its last lines are kept, and how much of them explains a failure: the timeline takes 300 characters of a farewell.
const LINES_LAST: usize = 20;
const WORDS_MOST: usize = 200;

/// Serves the model until its server has ended for good.
pub(crate) async fn run(node: Arc<Node>, clock: Arc<dyn Clock>, model: Model, port: watch::Sender<Option<u16>>) {
    let mut server = Server { node, clock, model, port, restarts: Restarts::default(), answered: false };
    if let Err(error) = server.served().await
        && !server.node.is_stopping()
    {
        server.node.tell(FromInner::ModelFailed { error }).await;
    }
}

/// What a server's end was like.
struct Ended {
    /// Its exit code, as shells count.
    code: i32,
    /// What it said last.
    words: String,
}

struct Server {
    node: Arc<Node>,
    clock: Arc<dyn Clock>,
    model: Model,
    /// Where it listens on loopback, while it answers.
    port: watch::Sender<Option<u16>>,
    restarts: Restarts,
    /// It answered once: it is restarted from then on.
    answered: bool,
}

impl Server {
    /// Runs it until it is told to stop, or cannot go on; the error says why, in words.
    async fn served(&mut self) -> Result<(), String> {
        let prepared = install::prepared(&self.node, &self.model).await?;
        self.news(ModelNews::Loads).await;
        loop {
            let ended = self.once(&prepared).await;
            self.port.send_replace(None);
            let Ended { code, words } = ended?;
            let next = if self.answered { self.restarts.after(self.clock.now()) } else { None };
            let Some(pause) = next.filter(|_pause| !self.node.is_stopping()) else {
                self.node.tell(FromInner::Main { main: MainProcess::Exited { code } }).await;
                return match self.answered {
                    _ if self.node.is_stopping() => Ok(()),
                    true => Err(format!("it ended again and again, at last with exit code {code}: {words}")),
                    false => Err(format!("it ended with exit code {code} while it was loading: {words}")),
                };
            };
            let text = format!(
                "The model's server ended with exit code {code}; it is started again in {} s.",
                pause.as_secs()
            );
            self.news(ModelNews::Note { text, percent: None }).await;
            self.clock.sleep(pause).await;
        }
    }

    async fn news(&self, news: ModelNews) {
        self.node.tell(FromInner::Model { news }).await;
    }

    /// Runs it to its end.
    async fn once(&mut self, prepared: &Prepared) -> Result<Ended, String> {
        let port = free_port().await.map_err(|error| format!("there is no port for it: {error}"))?;
        let mut child = self.started(prepared, port)?;
        self.node.tell(FromInner::Main { main: MainProcess::Running }).await;
        let (heard, mut loading) = watch::channel(Loading::of(&self.model.server));
        let heard = Arc::new(heard);
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let mut output = self.captured(&mut child, &heard, &last);
        let status: std::io::Result<_> = tokio::select! {
            status = child.wait() => status,
            () = answering(port) => {
                self.port.send_replace(Some(port));
                if !self.answered {
                    self.answered = true;
                    self.news(ModelNews::Answers).await;
                }
                child.wait().await
            }
            () = self.told_of(&mut loading) => child.wait().await,
        };
        let code = main_process::exit_code(status);
        let drained = async { while output.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_OUTPUT, drained).await.is_err() {
            output.detach_all();
        }
        let last = last.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Ended { code, words: words(last.iter()) })
    }

    /// Starts its process, in a group of its own.
    fn started(&self, prepared: &Prepared, port: u16) -> Result<Child, String> {
        let mut command = Command::new(&prepared.program);
        command.args(&prepared.leading).args(program::arguments(&self.model, port));
        command.env_clear().envs(&self.node.environment).current_dir(&self.node.home).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("{}: {error}", prepared.program.display()))?;
        orphans::awaited(child.id());
        Ok(child)
    }

    /// Reads its output: into the log, for how far it has come, and for what it said last.
    fn captured(
        &self,
        child: &mut Child,
        heard: &Arc<watch::Sender<Loading>>,
        last: &Arc<Mutex<VecDeque<String>>>,
    ) -> JoinSet<()> {
        let see = || {
            let (heard, last) = (Arc::clone(heard), Arc::clone(last));
            move |text: &str| {
                heard.send_if_modified(|loading| loading.line(text));
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                last.push_back(text.to_owned());
                let more = last.len().saturating_sub(LINES_LAST);
                last.drain(..more);
            }
        };
        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(main_process::capture(Arc::clone(&self.node), stdout, Stream::Stdout, see()));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(main_process::capture(Arc::clone(&self.node), stderr, Stream::Stderr, see()));
        }
        output
    }

    /// Tells how far the first load has come, for as long as it loads.
    async fn told_of(&self, loading: &mut watch::Receiver<Loading>) {
        while !self.answered && loading.changed().await.is_ok() {
            let percent = loading.borrow_and_update().percent();
            let text = format!("Loads the model: {percent} %.");
            self.news(ModelNews::Note { text, percent: Some(percent) }).await;
        }
        std::future::pending::<()>().await;
    }
}

/// A port of loopback that is free now.
async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// Comes back when a model's server answers at this port of loopback that it is ready.
async fn answering(port: u16) {
    let Ok(client) = Client::builder().no_proxy().timeout(ANSWERED_WITHIN).build() else {
        return std::future::pending().await;
    };
    loop {
        if is_ready(&client, &format!("http://127.0.0.1:{port}")).await {
            return;
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
}

/// Whether the server at `base` is ready, by its `/health`, or by its list of models where it has no such page: some give that list while
/// they still load, so that it is asked only then.
pub(crate) async fn is_ready(client: &Client, base: &str) -> bool {
    match status(client, &format!("{base}/health")).await {
        Some(200) => true,
        Some(404 | 405 | 501) => status(client, &format!("{base}/v1/models")).await == Some(200),
        Some(_) | None => false,
    }
}

async fn status(client: &Client, url: &str) -> Option<u16> {
    match client.get(url).send().await {
        Ok(answer) => Some(answer.status().as_u16()),
        Err(error) => {
            tracing::debug!(%error, "the model's server does not answer yet");
            None
        }
    }
}

/// The last of these lines, as many as explain a failure, as one line: the last one says most.
fn words<'a>(lines: impl DoubleEndedIterator<Item = &'a String>) -> String {
    let mut kept = VecDeque::new();
    let mut left = WORDS_MOST;
    for line in lines.rev().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        let from = line.len().saturating_sub(left);
        let line = &line[line.ceil_char_boundary(from)..];
        kept.push_front(line);
        left = left.saturating_sub(line.len() + 1);
        if from > 0 || left == 0 {
            break;
        }
    }
    if kept.is_empty() { "it said nothing".to_owned() } else { Vec::from(kept).join(" ") }
}

#[cfg(test)]
mod tests;
