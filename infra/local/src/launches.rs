//! The launches of one machine: `infra/launch.asl.json`, interpreted over the launcher's handlers.
//!
//! Each launch is a task that owns its execution. A transition is in the tables before anything follows from it, so that a launch goes
//! on from where it was, wherever it is killed; what it was calling is called again, which the handlers bear.

mod running;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cloud::{Clock, Ids, Launches, PortError, TaskToken, launches::Launch};
use domain::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Store, StoreError};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    StartError,
    machine::{Execution, LAUNCH, Machine, TaskError, execution_of},
};
use running::Running;

/// A launch that is over is remembered for this long, so that a repeated start finds it.
const REMEMBER: Duration = Duration::from_secs(3600);

/// The handlers of the launch's steps.
#[async_trait]
pub(crate) trait Steps: Send + Sync + 'static {
    /// Runs a handler, named as the document names it.
    async fn step(&self, handler: &str, payload: Value) -> Result<Value, TaskError>;
}

/// Launches; a clone is the same ones.
#[derive(Clone)]
pub(crate) struct LocalLaunches(Arc<Inner>);

struct Inner {
    machine: Machine,
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    book: Mutex<Book>,
}

/// Every launch that is known, by name.
#[derive(Default)]
struct Book {
    launches: BTreeMap<String, Known>,
    /// Set once launches may run.
    steps: Option<Arc<dyn Steps>>,
    tasks: JoinSet<()>,
    stopped: bool,
}

enum Known {
    /// It runs, or will when launches may.
    Live(mpsc::Sender<Completion>),
    /// It was over then.
    Over(Timestamp),
}

/// Somebody brings a task token back.
struct Completion {
    token: TaskToken,
    outcome: Result<Value, TaskError>,
    /// Told when it is in the tables, or is known to change nothing.
    taken: oneshot::Sender<()>,
}

/// A launch, as the tables keep it.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// What it is doing; none once it is over.
    execution: Option<Execution>,
    /// When it was over.
    over_at: Option<Timestamp>,
}

impl Kept {
    fn value(&self) -> Result<Value, StoreError> {
        serde_json::to_value(self).map_err(|error| StoreError::Broken(error.to_string()))
    }
}

impl LocalLaunches {
    /// Launches over the document that is compiled in, which must call exactly `handlers`.
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        handlers: &[&str],
    ) -> Result<Self, StartError> {
        let machine = Machine::parse(LAUNCH)?;
        let sorted = |names: &[&str]| {
            let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            names.sort();
            names
        };
        let (called, known) = (sorted(&machine.handlers()), sorted(handlers));
        if called != known {
            return Err(StartError::Handlers { called, known });
        }
        Ok(Self(Arc::new(Inner { machine, store, clock, ids, book: Mutex::default() })))
    }

    /// Runs launches over `steps` from now on, first those that an earlier life began.
    pub(crate) async fn run(&self, steps: Arc<dyn Steps>) -> Result<(), StoreError> {
        let kept = self.0.store.launches().await?;
        let now = self.0.clock.now();
        let mut book = self.0.book();
        book.steps = Some(steps);
        for (name, value) in kept {
            match serde_json::from_value::<Kept>(value) {
                Ok(Kept { execution: Some(mut execution), over_at: None }) => {
                    self.0.machine.resume(&mut execution, now);
                    book.begin(&self.0, name, execution);
                }
                Ok(kept) => drop(book.launches.insert(name, Known::Over(kept.over_at.unwrap_or(now)))),
                // Its workload's own deadlines end it.
                Err(error) => tracing::error!(name, %error, "launch.unreadable"),
            }
        }
        Ok(())
    }

    /// Goes no step further. What a launch was doing is done again in the next life.
    pub(crate) async fn stop(&self) {
        let mut tasks = {
            let mut book = self.0.book();
            book.stopped = true;
            std::mem::take(&mut book.tasks)
        };
        tasks.shutdown().await;
    }

    /// Forgets launches that have been over for long.
    pub(crate) async fn forget_old(&self) -> Result<(), StoreError> {
        let limit = self.0.clock.now().minus(REMEMBER);
        let old: Vec<String> = {
            let mut book = self.0.book();
            while book.tasks.try_join_next().is_some() {}
            let over = |known: &Known| matches!(known, Known::Over(at) if *at <= limit);
            book.launches.iter().filter(|(_, known)| over(known)).map(|(name, _)| name.clone()).collect()
        };
        for name in old {
            self.0.store.forget_launch(&name).await?;
            self.0.book().launches.remove(&name);
        }
        Ok(())
    }

    /// Brings a token back to the launch that waits for it.
    async fn bring(&self, token: &TaskToken, outcome: Result<Value, TaskError>) -> Result<(), PortError> {
        let Some(name) = execution_of(token.0.reveal()) else { return Ok(()) };
        let launch = match self.0.book().launches.get(name) {
            Some(Known::Live(launch)) => launch.clone(),
            // It is over, or there never was one: a token that nobody waits for is no error.
            Some(Known::Over(_)) | None => return Ok(()),
        };
        let (taken, was_taken) = oneshot::channel();
        if launch.send(Completion { token: token.clone(), outcome, taken }).await.is_err() {
            return self.gone(name);
        }
        match was_taken.await {
            Ok(()) => Ok(()),
            Err(_dropped) => self.gone(name),
        }
    }

    /// A launch ended while a token was on its way. If it is over that is fine, else the plane is stopping.
    fn gone(&self, name: &str) -> Result<(), PortError> {
        match self.0.book().launches.get(name) {
            Some(Known::Over(_)) | None => Ok(()),
            Some(Known::Live(_)) => Err(PortError::Unavailable("the launch is stopping".to_owned())),
        }
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Makes a launch known, and runs it if launches may run.
    fn begin(&mut self, inner: &Arc<Inner>, name: String, execution: Execution) {
        let (send, completions) = mpsc::channel(4);
        self.launches.insert(name.clone(), Known::Live(send));
        match &self.steps {
            Some(steps) if !self.stopped => {
                let running =
                    Running { name, execution, inner: Arc::clone(inner), steps: Arc::clone(steps), completions };
                self.tasks.spawn(Box::pin(running.run()));
            }
            // It is in the tables, and runs in the next life.
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl Launches for LocalLaunches {
    async fn start(&self, launch: &Launch) -> Result<(), PortError> {
        let name = launch.workload.to_string();
        if self.0.book().launches.contains_key(&name) {
            return Ok(());
        }
        let unavailable = |error: StoreError| PortError::Unavailable(error.to_string());
        let mut secret = [0; 16];
        secret.copy_from_slice(&self.0.ids.random()[..16]);
        let input = json!({ "tenant": launch.tenant, "workload": launch.workload });
        let execution = self.0.machine.start(&name, secret, input, self.0.clock.now());
        let kept = Kept { execution: Some(execution.clone()), over_at: None }.value().map_err(unavailable)?;
        // Of two starts at once the tables let one in.
        if self.0.store.begin_launch(&name, &kept).await.map_err(unavailable)? {
            self.0.book().begin(&self.0, name, execution);
        }
        Ok(())
    }

    async fn complete(&self, token: &TaskToken) -> Result<(), PortError> {
        self.bring(token, Ok(Value::Null)).await
    }

    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<(), PortError> {
        self.bring(token, Err(TaskError::new(error, cause))).await
    }
}

#[cfg(test)]
mod tests;
