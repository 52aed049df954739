//! `GET /v1/jobs/{job_id}`

use axum::{Json, extract::State};
use web::{DetailRefusals, Error, Id, Member, Plane, act};

use crate::{id::JobId, view::Job};

/// Get detailed information about a specific job.
#[utoipa::path(get, path = "/v1/jobs/{job_id}", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job.")),
    responses((status = 200, description = "The job as it is now.", body = Job), DetailRefusals))]
pub(crate) async fn get_job(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
) -> Result<Json<Job>, Error> {
    let held = act::read(&plane, &member, job).await?;
    Ok(Json(Job::of(&plane, held).await?))
}
