//! `DELETE /v1/jobs/{job_id}/users/{github_username}`

use axum::{
    Json,
    extract::{Path, State},
};
use domain::names::GithubName;
use web::{Command, DetailRefusals, Error, Id, Member, Nothing, Plane};

use crate::{
    action::{ActionAccepted, Effect, Wording, perform_on_people},
    id::JobId,
};

/// Take a user's way in away again. Their open sessions end.
#[utoipa::path(delete, path = "/v1/jobs/{job_id}/users/{github_username}", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job."),
        ("github_username" = String, Path, description = "The person's name at GitHub.", example = "jeanschmidt")),
    responses((status = 200, description = "They are out within seconds.", body = ActionAccepted), DetailRefusals))]
pub(crate) async fn remove_user(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
    Path(names): Path<(String, String)>,
    command: Command<Nothing>,
) -> Result<Json<ActionAccepted>, Error> {
    let name = GithubName::parse(&names.1).map_err(|_not_a_name| Error::NotFound("User not found on this job"))?;
    let message = format!("Remove user request submitted for GitHub user '{}'", name.as_str());
    let wording = Wording { action: "remove_user", message, effect: Effect::Agent };
    perform_on_people(&plane, &member, job, &command, wording, |held, people, now| held.remove_user(people, &name, now))
        .await
}
