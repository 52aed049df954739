//! `POST /v1/jobs/{job_id}/cancel`

use axum::{Json, extract::State};
use web::{Command, DetailRefusals, Error, Id, Member, Nothing, Plane};

use crate::{
    action::{ActionAccepted, Effect, Wording, perform},
    id::JobId,
};

/// Cancel a running or queued job.
#[utoipa::path(post, path = "/v1/jobs/{job_id}/cancel", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "It is cancelled, or ends within seconds.", body = ActionAccepted), DetailRefusals))]
pub(crate) async fn cancel_job(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
    command: Command<Nothing>,
) -> Result<Json<ActionAccepted>, Error> {
    let wording =
        Wording { action: "cancel", message: "Cancellation request submitted".to_owned(), effect: Effect::Worker };
    perform(&plane, &member, job, &command, wording, |held, now| held.cancel(member.user.as_str(), now)).await
}
