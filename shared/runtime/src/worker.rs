//! Workers: consumers of queues, steps of the launch, and what the clock calls.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, process::ExitCode, sync::Arc};

use aws_core::Sdk;
use cloud::SystemClock;
use domain::message::{Message, QueueName};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::{Value, json};
use store::Plane;

use crate::{Config, HANDLER, Outside, Setup, StartError, metrics, plane};

/// A worker's handler failed. `error` is what Step Functions matches in Retry and Catch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error's name.
    pub error: String,
    /// Why, in words.
    pub cause: String,
}

impl Failure {
    /// A failure of this name.
    pub fn new(error: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { error: error.into(), cause: format!("{cause}") }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.cause)
    }
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        Self { error_type: failure.error, error_message: failure.cause }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>;
type Handle = Box<dyn Fn(Plane, Value) -> Answer + Send + Sync>;

/// The handlers of one program, of which a function is one.
pub struct Worker {
    handles: BTreeMap<&'static str, Handle>,
    outside: fn(Config, Sdk) -> Setup,
}

impl Default for Worker {
    fn default() -> Self {
        Self::new()
    }
}

impl Worker {
    /// A worker without handlers.
    #[must_use]
    pub const fn new() -> Self {
        Self { handles: BTreeMap::new(), outside: |_, _| Box::pin(async { Ok(Outside::nothing()) }) }
    }

    /// With fleets, and the way to people's keys: only what launches and what sweeps has any.
    #[must_use]
    pub fn with(mut self, outside: fn(Config, Sdk) -> Setup) -> Self {
        self.outside = outside;
        self
    }

    /// With a consumer of messages. Of a batch those that failed come back alone; in a FIFO queue those behind them as well.
    #[must_use]
    pub fn consume<F, E>(self, name: &'static str, work: impl Fn(Plane, Message) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let work = Arc::new(work);
        self.handle(name, move |plane, event| Box::pin(batch(Arc::clone(&work), plane, event)))
    }

    /// With a step of the launch, which is given the state's input.
    #[must_use]
    pub fn step<F>(self, name: &'static str, work: impl Fn(Plane, Value) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        self.handle(name, move |plane, event| Box::pin(work(plane, event)))
    }

    /// With something that the clock calls.
    #[must_use]
    pub fn clock<F, E>(self, name: &'static str, work: impl Fn(Plane) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        self.handle(name, move |plane, _| {
            let work = work(plane);
            Box::pin(async move {
                work.await.map_err(|error| Failure::new("Clock.Failed", error))?;
                Ok(json!({}))
            })
        })
    }

    fn handle(mut self, name: &'static str, handle: impl Fn(Plane, Value) -> Answer + Send + Sync + 'static) -> Self {
        self.handles.insert(name, Box::new(handle));
        self
    }

    /// The names of its functions.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.handles.keys().copied().collect()
    }

    /// Runs the handler that `_HANDLER` names.
    pub fn run(mut self) -> ExitCode {
        crate::run(async move {
            let name = std::env::var(HANDLER).unwrap_or_default();
            let known = self.names().join(", ");
            let unknown = || StartError::UnknownHandler(name.clone(), known.clone());
            let (name, handle) = self.handles.remove_entry(name.as_str()).ok_or_else(unknown)?;
            let config = Config::from_process()?;
            let sdk = Sdk::new(config.aws.clone(), Arc::new(SystemClock));
            let outside = (self.outside)(config.clone(), sdk.clone()).await?;
            let plane = plane(&config, &sdk, outside);
            let handle = Arc::new(handle);
            let ended = lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
                let (handle, plane) = (Arc::clone(&handle), plane.clone());
                async move { invoke(name, &handle, plane, event).await }
            }));
            ended.await.map_err(|error| StartError::Runtime(error.to_string()))
        })
    }
}

/// One invocation, with its line in the log where it failed, and its line of metrics.
async fn invoke(name: &str, handle: &Handle, plane: Plane, event: LambdaEvent<Value>) -> Result<Value, Failure> {
    let clock = plane.ports.clock.clone();
    let started = clock.now();
    let answer = handle(plane, event.payload).await;
    if let Err(failure) = &answer {
        let (error, cause) = (&failure.error, &failure.cause);
        tracing::warn!(request_id = event.context.request_id, operation = name, error, cause, "function.failed");
    }
    let now = clock.now();
    let outcome = if answer.is_ok() { "done" } else { "failed" };
    let (took, failed) = (now.since(started), answer.is_err());
    metrics::write(&metrics::Counted { operation: name, at: now, took, outcome, failed });
    answer
}

/// What SQS hands a function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    records: Vec<Record>,
}

/// One message of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    message_id: String,
    body: String,
    #[serde(rename = "eventSourceARN", default)]
    queue: String,
}

/// Works through a batch in order, and answers which messages are to come back.
pub(crate) async fn batch<F, E>(
    work: Arc<impl Fn(Plane, Message) -> F>,
    plane: Plane,
    event: Value,
) -> Result<Value, Failure>
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let batch: Batch = serde_json::from_value(event).map_err(|error| Failure::new("Queue.Event", error))?;
    let mut failed = Vec::new();
    for record in batch.records {
        // In a FIFO queue nothing may overtake a message of its group that failed, and a batch may hold one group only.
        let blocked = record.queue.ends_with(".fifo") && !failed.is_empty();
        if blocked || !worked(&*work, &plane, &record).await {
            failed.push(json!({"itemIdentifier": record.message_id}));
        }
    }
    Ok(json!({"batchItemFailures": failed}))
}

/// Works on one message; false when it is to come back, and in the end to lie with the dead letters.
async fn worked<F, E>(work: &impl Fn(Plane, Message) -> F, plane: &Plane, record: &Record) -> bool
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let message: Message = match serde_json::from_str(&record.body) {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(message_id = record.message_id, %error, "queue.no_message");
            return false;
        }
    };
    if let Some(expected) = queue_of(&record.queue).filter(|queue| *queue != message.queue()) {
        tracing::error!(message_id = record.message_id, queue = expected.name(), "queue.wrong_message");
        return false;
    }
    match work(plane.clone(), message).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(message_id = record.message_id, %error, "queue.message_failed");
            false
        }
    }
}

/// The queue that an ARN names, if it is one of ours.
fn queue_of(arn: &str) -> Option<QueueName> {
    let name = arn.rsplit(':').next()?.trim_end_matches(".fifo");
    QueueName::ALL.into_iter().find(|queue| name.ends_with(queue.name()))
}
