//! `POST /v1/jobs/{job_id}/extend`

use axum::{Json, extract::State};
use domain::job::Hours;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use web::{Command, DetailRefusals, Error, Id, Input, Member, Plane};

use crate::{
    action::{ActionAccepted, Effect, Wording, perform},
    id::JobId,
};

/// By how much a job is extended.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"extension_hours": 2}))]
pub(crate) struct Extension {
    /// How many hours more. With what the job has already it may be 48 at most.
    #[schema(minimum = 0)]
    extension_hours: f64,
}

impl Input for Extension {
    const SECRET: &'static [&'static str] = &[];
}

/// Extend the duration of a running job.
#[utoipa::path(post, path = "/v1/jobs/{job_id}/extend", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = Extension,
    responses((status = 200, description = "It ends so much later.", body = ActionAccepted), DetailRefusals))]
pub(crate) async fn extend_job(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
    command: Command<Extension>,
) -> Result<Json<ActionAccepted>, Error> {
    let number = command.input.extension_hours;
    let hours = Hours::from_number(number)
        .ok_or_else(|| Error::field("extension_hours", "Give a positive number of hours", Some(json!(number))))?;
    let wording = Wording {
        action: "extend",
        message: format!("Extension request submitted for {number} hours"),
        effect: Effect::Agent,
    };
    perform(&plane, &member, job, &command, wording, |held, now| held.extend(hours, &plane.settings.policy, now)).await
}
