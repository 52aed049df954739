//! `POST /v1/jobs/{job_id}/jupyter/disable`

use axum::{Json, extract::State};
use web::{Command, DetailRefusals, Error, Id, Member, Nothing, Plane};

use crate::{
    action::{ActionAccepted, Effect, Wording, perform},
    id::JobId,
};

/// Disable Jupyter Lab for a running job.
#[utoipa::path(post, path = "/v1/jobs/{job_id}/jupyter/disable", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "It is stopped.", body = ActionAccepted), DetailRefusals))]
pub(crate) async fn disable_jupyter(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
    command: Command<Nothing>,
) -> Result<Json<ActionAccepted>, Error> {
    let wording = Wording {
        action: "disable_jupyter",
        message: "Jupyter disable request submitted".to_owned(),
        effect: Effect::Agent,
    };
    perform(&plane, &member, job, &command, wording, |held, now| held.set_jupyter(None, now)).await
}
