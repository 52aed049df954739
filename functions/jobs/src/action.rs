//! What every action upon a job has in common: it is decided and written at once, and its effect goes through the queue.

use axum::Json;
use domain::{MessageId, Refusal, Timestamp, Workload, WorkloadId, job::People, lifecycle::State, workload::Change};
use serde::Serialize;
use store::workloads::Write;
use utoipa::ToSchema;
use web::{Command, Error, Member, Plane, act::act};

use crate::id::JobId;

/// An action was accepted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "job_id": "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11",
    "action": "cancel",
    "status": "requested",
    "message": "Cancellation request submitted (message ID: 0198c7a2-6f00-7d4e-8a51-0c2b4d6e8f10)"
}))]
pub(crate) struct ActionAccepted {
    /// The job.
    #[schema(value_type = String, format = Uuid)]
    job_id: WorkloadId,
    /// What was asked.
    action: &'static str,
    /// Always `requested`.
    status: &'static str,
    /// What was asked, in words, with the id of the message that carries it out.
    message: String,
}

/// An action's name and its wording, to which the message's id is added.
pub(crate) struct Wording {
    pub(crate) action: &'static str,
    pub(crate) message: String,
    pub(crate) effect: Effect,
}

/// Who carries an action out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A worker, who waits for the message.
    Worker,
    /// The job's agent, which learns of it with its next report. The message that has a worker look at the job as well can wait for the
    /// sweep, and the caller need not wait for it.
    Agent,
}

/// Decides upon the member's job, writes the decision with the message that carries it out, and words the answer.
pub(crate) async fn perform<T: Sync>(
    plane: &Plane,
    member: &Member,
    id: JobId,
    command: &Command<T>,
    wording: Wording,
    decide: impl Fn(&Workload, Timestamp) -> Result<Change, Refusal> + Sync,
) -> Result<Json<ActionAccepted>, Error> {
    let (wording, decide) = (&wording, &decide);
    act(plane, member, id, |workload, now| async move {
        let change = decide(&workload, now).map_err(refused)?;
        accept(plane, command, wording, (change, None), now)
    })
    .await
}

/// As [`perform`], for decisions about who may come in.
pub(crate) async fn perform_on_people<T: Sync>(
    plane: &Plane,
    member: &Member,
    id: JobId,
    command: &Command<T>,
    wording: Wording,
    decide: impl Fn(&Workload, &People, Timestamp) -> Result<(Change, People), Refusal> + Sync,
) -> Result<Json<ActionAccepted>, Error> {
    let (wording, decide) = (&wording, &decide);
    act(plane, member, id, |workload, now| async move {
        let people = plane.store.people(&workload.tenant, workload.id).await?;
        let (change, people) = decide(&workload, &people, now).map_err(refused)?;
        accept(plane, command, wording, (change, Some(people)), now)
    })
    .await
}

/// What is to be written, and the answer.
fn accept<T>(
    plane: &Plane,
    command: &Command<T>,
    wording: &Wording,
    (change, people): (Change, Option<People>),
    now: Timestamp,
) -> Result<(Write, Json<ActionAccepted>), Error> {
    let message_id = plane.ports.ids.message(now);
    let job_id = change.workload.id;
    let answer = ActionAccepted {
        job_id,
        action: wording.action,
        status: "requested",
        message: worded(&wording.message, message_id),
    };
    // Whoever waited leaves a gap in the queue; whatever runs is looked after by the launcher.
    let waited = change.from == State::Queued;
    let messages = vec![if waited { change.workload.doorbell() } else { change.workload.reconcile() }];
    let change = match wording.effect {
        Effect::Worker => change.sending(message_id, messages),
        Effect::Agent => change.leaving(message_id, messages),
    };
    let claim = command.claim(job_id.to_string(), &answer, now)?;
    Ok((Write { people, claim, ..Write::of(change) }, Json(answer)))
}

/// What a rule said no to, in this surface's words.
fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::TooLong { .. } => Error::field("extension_hours", refusal.to_string(), None),
        Refusal::NoSuchUser(_) => Error::NotFound("User not found on this job"),
        other => other.into(),
    }
}

pub(crate) fn worded(message: &str, id: MessageId) -> String {
    format!("{message} (message ID: {id})")
}
