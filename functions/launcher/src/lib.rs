//! The worker that launches workloads and ends them: the steps of `infra/launch.asl.json`, and the consumer of reconcile messages.
//!
//! Each step stands beside its undo, and both can be repeated: a step first reads how far things are, and does only what is missing.

mod attach;
mod people;
mod provision;
mod wind_down;

use cloud::{PortError, TaskToken, VaultError};
use domain::{
    Refusal, TenantId, Workload, WorkloadId,
    launch_log::estimate::{self, Sample},
    lifecycle::{Stage, State},
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{
    Plane, StoreError, WorkError,
    workloads::{Awaited, Write},
};

/// Every handler that the launch document may name.
pub const HANDLERS: [&str; 6] = ["Provision", "AttachDisk", "AwaitBoot", "AwaitReady", "Activate", "Undo"];

/// The function of each handler on AWS, and the handler.
pub const FUNCTIONS: [(&str, &str); 6] = [
    ("LaunchProvision", "Provision"),
    ("LaunchAttachDisk", "AttachDisk"),
    ("LaunchAwaitBoot", "AwaitBoot"),
    ("LaunchAwaitReady", "AwaitReady"),
    ("LaunchActivate", "Activate"),
    ("LaunchUndo", "Undo"),
];

/// A step failed. `error` is the name that the document's Retry and Catch match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {cause}")]
pub struct StepError {
    /// The name.
    pub error: &'static str,
    /// Why, in words.
    pub cause: String,
}

impl StepError {
    fn new(error: &'static str, cause: impl Into<String>) -> Self {
        Self { error, cause: cause.into() }
    }

    fn gone() -> Self {
        Self::new("Workload.Gone", "there is no such workload")
    }

    /// The workload is ending: the launch is to be undone, without it being anybody's fault.
    fn ending() -> Self {
        Self::new("Workload.Ending", "the workload is ending")
    }
}

impl From<PortError> for StepError {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Throttled => Self::new("Cloud.Throttled", "asked too often"),
            // What a port says is for the log: a step's cause is told to the job's owner, and kept with the execution.
            PortError::Unavailable(why) => {
                tracing::warn!(why, "port.unavailable");
                Self::new("Cloud.Unavailable", "the cloud did not answer")
            }
        }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Contended | StoreError::Moved | StoreError::NoRoom => {
                Self::new("Store.Contended", "the tables are too busy")
            }
            StoreError::TooManyJobs
            | StoreError::TooManyDisks
            | StoreError::TooManyCredentials
            | StoreError::NameTaken
            | StoreError::Claimed(_)
            | StoreError::ClaimedOtherwise
            | StoreError::Broken(_) => {
                tracing::error!(%error, "store.failed");
                Self::new("Store.Failed", "the tables failed")
            }
        }
    }
}

impl From<VaultError> for StepError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Unavailable => Self::new("Cloud.Unavailable", "the key service is away"),
            VaultError::Forged => Self::new("Vault.Forged", "the attempt's token does not open"),
        }
    }
}

impl From<WorkError> for StepError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Port(error) => error.into(),
            WorkError::Store(error) => error.into(),
            WorkError::Vault(error) => error.into(),
        }
    }
}

/// What the launch document gives a step; plain steps are given the whole state, of which they need this much.
#[derive(Debug, Deserialize)]
struct Input {
    tenant: TenantId,
    workload: WorkloadId,
    token: Option<TaskToken>,
    error: Option<LaunchError>,
}

/// Why a launch is undone.
#[derive(Debug, Deserialize)]
struct LaunchError {
    #[serde(rename = "Error")]
    error: String,
    #[serde(rename = "Cause", default)]
    cause: String,
}

impl LaunchError {
    /// The cause in words. Lambda's errors come as JSON, with the words in one field of it.
    fn words(&self) -> String {
        let lambda = serde_json::from_str::<Value>(&self.cause).ok();
        let message = lambda.as_ref().and_then(|cause| cause["errorMessage"].as_str());
        message.unwrap_or(&self.cause).to_owned()
    }
}

/// Runs a step of a launch.
///
/// # Errors
/// With the name that the document's Retry and Catch match.
pub async fn step(plane: &Plane, handler: &str, payload: Value) -> Result<Value, StepError> {
    let input: Input =
        serde_json::from_value(payload).map_err(|error| StepError::new("Launch.Input", error.to_string()))?;
    match (handler, input.token) {
        ("Provision", None) => provision::provision(plane, &input.tenant, input.workload).await,
        ("AttachDisk", None) => attach::attach(plane, &input.tenant, input.workload).await,
        ("AwaitBoot", Some(token)) => await_step(plane, &input.tenant, input.workload, Awaited::Boot, token).await,
        ("AwaitReady", Some(token)) => await_step(plane, &input.tenant, input.workload, Awaited::Ready, token).await,
        ("Activate", None) => activate(plane, &input.tenant, input.workload).await,
        ("Undo", None) => Box::pin(undo(plane, &input.tenant, input.workload, input.error)).await,
        _ => Err(StepError::new("Launch.Input", format!("no step {handler} takes this input"))),
    }
}

/// Brings the world in line with a workload's row: fetches keys that are wanted, ends what is ending, notices what is gone.
///
/// # Errors
/// When it could not be done; the message comes again.
pub async fn reconcile(plane: &Plane, tenant: &TenantId, id: WorkloadId) -> Result<(), WorkError> {
    let Some(workload) = plane.store.workload(tenant, id).await? else { return Ok(()) };
    match workload.state.stage() {
        Stage::Over => Ok(()),
        Stage::Ending => {
            release_launch(plane, &workload).await?;
            Box::pin(wind_down::wind_down(plane, workload)).await
        }
        Stage::Waiting | Stage::Launching | Stage::Running => {
            // Fetching keys may take long, and is nothing to wait for with GPUs that nobody uses.
            Box::pin(wind_down::notice_loss(plane, &workload)).await?;
            people::fetch(plane, &workload).await
        }
    }
}

/// A reconcile message failed for the last time, with `error`, or with none where the worker died: its workload is failed rather than left
/// waiting for a message that nobody takes any more. One that is gone, or is ending, is left as it is.
///
/// # Errors
/// When it could not be failed. The message is given up all the same, and the sweep sends another.
pub async fn give_up(
    plane: &Plane,
    tenant: &TenantId,
    id: WorkloadId,
    error: Option<&WorkError>,
) -> Result<(), WorkError> {
    let passing = error.is_some_and(WorkError::is_passing);
    plane
        .decide((tenant, id), |workload, now| async move {
            let Some(change) = workload.and_then(|workload| workload.give_up(passing, now)) else {
                return Ok((None, ()));
            };
            let message = match change.workload.state {
                // It waited, and so has nothing that is to be ended.
                State::Ended => change.workload.doorbell(),
                _ => change.workload.reconcile(),
            };
            Ok((Some(Write::of(change.sending(plane.ports.ids.message(now), vec![message]))), ()))
        })
        .await
}

/// The workload, if it is still there.
async fn present(plane: &Plane, tenant: &TenantId, id: WorkloadId) -> Result<Workload, StepError> {
    plane.store.workload(tenant, id).await?.ok_or_else(StepError::gone)
}

/// Remembers the token that the agent's next word completes; and completes it if that word was said already.
async fn await_step(
    plane: &Plane,
    tenant: &TenantId,
    id: WorkloadId,
    awaited: Awaited,
    token: TaskToken,
) -> Result<Value, StepError> {
    plane.store.keep_token((tenant, id), awaited, &token).await?;
    let workload = present(plane, tenant, id).await?;
    if matches!(workload.state.stage(), Stage::Ending | Stage::Over) {
        return Err(StepError::ending());
    }
    // An agent that is ready says so in each report until the workload is active, so only the call-in can have been missed.
    let called_in = awaited == Awaited::Boot && workload.state > State::Provisioning;
    if called_in || workload.state == State::Active {
        plane.ports.launches.complete(&token).await?;
    }
    Ok(json!({}))
}

/// Completes a launch, and remembers how long it took.
async fn activate(plane: &Plane, tenant: &TenantId, id: WorkloadId) -> Result<Value, StepError> {
    let decided = plane.decide((tenant, id), |workload, now| async move {
        let workload = workload.ok_or_else(StepError::gone)?;
        match workload.state.stage() {
            Stage::Running => return Ok((None, None)),
            Stage::Ending | Stage::Over => return Err(StepError::ending()),
            Stage::Waiting | Stage::Launching => {}
        }
        let refused = |refusal: Refusal| StepError::new("Launch.NotReady", refusal.to_string());
        let change = workload.activate(now).map_err(refused)?;
        let active = change.workload.clone();
        Ok((Some(Write::of(change)), Some(active)))
    });
    let active: Result<Option<Workload>, StepError> = decided.await;
    // It is for estimates alone, so that it is worth neither a failed launch nor a second try.
    if let Some(active) = active?
        && let Err(error) = remember(plane, &active).await
    {
        tracing::warn!(workload = %id, %error, "launch.not_remembered");
    }
    Ok(json!({}))
}

/// The most entries that a launch has in its timeline: one that has more is none to measure others by.
const LONGEST_LAUNCH: i32 = 200;

async fn remember(plane: &Plane, active: &Workload) -> Result<(), StoreError> {
    let timeline = plane.store.timeline(&active.tenant, active.id, 0, LONGEST_LAUNCH).await?;
    let Some(sample) = Sample::of(&timeline) else { return Ok(()) };
    plane.store.remember_launch((active.pool(), estimate::kind(active)), active.id, &sample).await
}

/// The undo of every step: the workload fails, unless it is ending already, and what was made for it is ended.
async fn undo(
    plane: &Plane,
    tenant: &TenantId,
    id: WorkloadId,
    error: Option<LaunchError>,
) -> Result<Value, StepError> {
    let why = &why(error.as_ref());
    let failed = plane.decide((tenant, id), |workload, now| async move {
        let workload = workload.ok_or_else(StepError::gone)?;
        let Ok(change) = workload.fail(why, now) else { return Ok((None, workload)) };
        let (workload, message) = (change.workload.clone(), change.workload.reconcile());
        Ok((Some(Write::of(change.sending(plane.ports.ids.message(now), vec![message]))), workload))
    });
    let workload: Result<Workload, StepError> = failed.await;
    let workload = workload?;
    if workload.state == State::Draining {
        Box::pin(wind_down::wind_down(plane, workload)).await?;
    }
    Ok(json!({}))
}

fn why(error: Option<&LaunchError>) -> String {
    match error {
        Some(error) if error.error == "States.Timeout" => "the launch took too long".to_owned(),
        Some(error) if error.cause.is_empty() => format!("the launch failed ({})", error.error),
        Some(error) => format!("the launch failed: {}", error.words()),
        None => "the launch failed".to_owned(),
    }
}

/// Lets a launch go that still waits for the agent of a workload that is ending. One that was active has no launch any more.
async fn release_launch(plane: &Plane, workload: &Workload) -> Result<(), WorkError> {
    if workload.expires_at.is_some() {
        return Ok(());
    }
    for token in plane.store.tokens(&workload.tenant, workload.id, &Awaited::ALL).await? {
        plane.ports.launches.fail(&token, "Workload.Ending", "the workload is ending").await?;
    }
    Ok(())
}
