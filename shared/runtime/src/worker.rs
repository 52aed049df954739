//! Workers: consumers of queues, steps of the launch, and what the clock calls.

use std::{
    collections::BTreeMap, fmt, future::Future, panic::AssertUnwindSafe, pin::Pin, process::ExitCode, sync::Arc,
};

use aws_core::Sdk;
use cloud::SystemClock;
use domain::{
    message::{Message, QueueName},
    policy::MOST_RECEIVES,
};
use futures::FutureExt;
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

    /// With fleets, disks, and the way to people's keys: only what launches, sweeps and keeps disks has any.
    #[must_use]
    pub fn with(mut self, outside: fn(Config, Sdk) -> Setup) -> Self {
        self.outside = outside;
        self
    }

    /// With a consumer of messages. Of a batch those that failed come back alone; in a FIFO queue those behind them as well.
    ///
    /// A message that fails for the last time ([`MOST_RECEIVES`]) is first handed to `give_up`, with the error unless `work` panicked; then
    /// it comes back as failed like any other, so that the queue puts it with the dead letters.
    #[must_use]
    pub fn consume<F, E, G, D>(
        self,
        name: &'static str,
        work: impl Fn(Plane, Message) -> F + Send + Sync + 'static,
        give_up: impl Fn(Plane, Message, Option<E>) -> G + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
        G: Future<Output = Result<(), D>> + Send + 'static,
        D: fmt::Display + Send + 'static,
    {
        let consumer = Arc::new((work, give_up));
        self.handle(name, move |plane, event| Box::pin(batch(Arc::clone(&consumer), plane, event)))
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
    #[serde(default)]
    attributes: Attributes,
}

/// What the queue says about a message, all of it as text.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Attributes {
    approximate_receive_count: String,
}

impl Record {
    /// How many times it was delivered, this time included.
    fn receives(&self) -> u32 {
        self.attributes.approximate_receive_count.parse().unwrap_or(1)
    }

    fn is_last(&self) -> bool {
        self.receives() >= MOST_RECEIVES
    }

    /// The message, unless it is none of this queue's. That is logged once, however often it comes back on its way to the dead letters.
    fn message(&self) -> Option<Message> {
        let first = self.receives() <= 1;
        let message = match serde_json::from_str::<Message>(&self.body) {
            Ok(message) => message,
            Err(error) => {
                if first {
                    // The error of a JSON reader may quote what it read.
                    let (line, column) = (error.line(), error.column());
                    tracing::error!(message_id = self.message_id, line, column, "queue.no_message");
                }
                return None;
            }
        };
        let Some(expected) = queue_of(&self.queue).filter(|queue| *queue != message.queue()) else {
            return Some(message);
        };
        if first {
            tracing::error!(message_id = self.message_id, queue = expected.name(), "queue.wrong_message");
        }
        None
    }
}

/// Works through a batch in order, and answers which messages are to come back. The consumer is what works, and what is done when that
/// failed for the last time.
pub(crate) async fn batch<F, E, G, D>(
    consumer: Arc<(impl Fn(Plane, Message) -> F, impl Fn(Plane, Message, Option<E>) -> G)>,
    plane: Plane,
    event: Value,
) -> Result<Value, Failure>
where
    F: Future<Output = Result<(), E>>,
    E: fmt::Display,
    G: Future<Output = Result<(), D>>,
    D: fmt::Display,
{
    let batch: Batch = serde_json::from_value(event).map_err(|error| Failure::new("Queue.Event", error))?;
    let (work, give_up) = &*consumer;
    let mut failed = Vec::new();
    for record in batch.records {
        // In a FIFO queue nothing may overtake a message of its group that failed, and a batch may hold one group only.
        let blocked = record.queue.ends_with(".fifo") && !failed.is_empty();
        if blocked || !worked(work, give_up, &plane, &record).await {
            failed.push(json!({"itemIdentifier": record.message_id}));
        }
    }
    Ok(json!({"batchItemFailures": failed}))
}

/// Works on one message; false when it is to come back, and in the end to lie with the dead letters.
async fn worked<F, E, G, D>(
    work: &impl Fn(Plane, Message) -> F,
    give_up: &impl Fn(Plane, Message, Option<E>) -> G,
    plane: &Plane,
    record: &Record,
) -> bool
where
    F: Future<Output = Result<(), E>>,
    E: fmt::Display,
    G: Future<Output = Result<(), D>>,
    D: fmt::Display,
{
    let Some(message) = record.message() else { return false };
    // A panic is a failure of this message, and not of those beside it.
    let error = match AssertUnwindSafe(work(plane.clone(), message.clone())).catch_unwind().await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => Some(error),
        Err(_panic) => None,
    };
    let why = error.as_ref().map_or_else(|| "the worker panicked".to_owned(), ToString::to_string);
    if !record.is_last() {
        tracing::warn!(message_id = record.message_id, error = why, "queue.message_failed");
        return false;
    }
    tracing::error!(message_id = record.message_id, ?message, error = why, "queue.message_given_up");
    if let Err(error) = give_up(plane.clone(), message, error).await {
        tracing::error!(message_id = record.message_id, %error, "queue.not_given_up");
    }
    false
}

/// The queue that an ARN names, if it is one of ours.
fn queue_of(arn: &str) -> Option<QueueName> {
    let name = arn.rsplit(':').next()?.trim_end_matches(".fifo");
    QueueName::ALL.into_iter().find(|queue| name.ends_with(queue.name()))
}
