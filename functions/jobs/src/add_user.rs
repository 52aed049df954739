//! `POST /v1/jobs/{job_id}/users`

use axum::{Json, extract::State};
use domain::names::GithubName;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Command, DetailRefusals, Error, Id, Input, Member, Plane};

use crate::{
    action::{ActionAccepted, Effect, Wording, perform_on_people},
    id::JobId,
};

/// Who is to be let in.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"github_username": "jeanschmidt"}))]
pub(crate) struct NewUser {
    /// The person's name at GitHub, whose public keys are fetched once.
    #[schema(value_type = String, max_length = 39)]
    github_username: GithubName,
}

impl Input for NewUser {
    const SECRET: &'static [&'static str] = &[];
}

/// Add a user's SSH keys to a running job; they are fetched from GitHub.
#[utoipa::path(post, path = "/v1/jobs/{job_id}/users", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = NewUser,
    responses((status = 200, description = "The keys are being fetched; the job's events say what came of it.", body = ActionAccepted), DetailRefusals))]
pub(crate) async fn add_user(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
    command: Command<NewUser>,
) -> Result<Json<ActionAccepted>, Error> {
    let name = &command.input.github_username;
    let message = format!("Add user request submitted for GitHub user '{}'", name.as_str());
    let wording = Wording { action: "add_user", message, effect: Effect::Worker };
    perform_on_people(&plane, &member, job, &command, wording, |held, people, now| {
        held.add_user(people, name, &plane.settings.policy, now)
    })
    .await
}
