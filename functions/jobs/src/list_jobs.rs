//! `GET /v1/jobs`

use axum::{Json, extract::State};
use domain::workload::JobStatus;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use web::{Checked, DetailRefusals, Error, Member, Plane, Problem};

use crate::view::Job;

/// Which jobs, and how many.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Only jobs with one of these statuses, separated by commas.
    #[param(example = "active,preparing,queued")]
    status: Option<String>,
    /// At most so many.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: usize,
    /// After so many.
    #[serde(default)]
    #[param(default = 0)]
    offset: usize,
}

fn fifty() -> usize {
    50
}

/// A page of jobs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Jobs {
    /// Newest first.
    jobs: Vec<Job>,
    /// How many there are in all.
    total: u64,
    limit: usize,
    offset: usize,
}

/// List jobs for the authenticated user with optional filtering.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", security(("user_key" = [])), params(Wanted),
    responses((status = 200, description = "The caller's own jobs.", body = Jobs), DetailRefusals))]
pub(crate) async fn list_jobs(
    State(plane): State<Plane>,
    member: Member,
    Checked(wanted): Checked<Wanted>,
) -> Result<Json<Jobs>, Error> {
    let statuses = wanted.statuses()?;
    let Wanted { limit, offset, .. } = wanted;
    let listed = plane.store.list(&member.tenant, &member.user, &statuses, (limit, offset)).await?;
    let mut jobs = Vec::with_capacity(listed.workloads.len());
    for workload in listed.workloads {
        jobs.push(Job::of(&plane, workload).await?);
    }
    Ok(Json(Jobs { jobs, total: listed.total, limit, offset }))
}

impl Wanted {
    /// The longest history that is paged through by offset: deeper pages cost as much as all before them.
    const DEEPEST: usize = 100_000;

    fn statuses(&self) -> Result<Vec<JobStatus>, Error> {
        if !(1..=500).contains(&self.limit) {
            return Err(out_of_range("limit", "limit is from 1 to 500", self.limit));
        }
        if self.offset > Self::DEEPEST {
            return Err(out_of_range("offset", "offset is at most 100000", self.offset));
        }
        let names =
            self.status.iter().flat_map(|names| names.split(',')).map(str::trim).filter(|name| !name.is_empty());
        let status = |name: &str| {
            let known = JobStatus::ALL.into_iter().find(|status| status.name() == name);
            // The reference's examples ask for `pending`, which is a job that no dispatcher has seen: it shows as queued.
            let known = known.or((name == "pending").then_some(JobStatus::Queued));
            known.ok_or_else(|| {
                let all = JobStatus::ALL.map(JobStatus::name).join(", ");
                let loc = vec!["query".into(), "status".into()];
                let problem = Problem {
                    kind: "value_error",
                    loc,
                    msg: format!("status is one of {all}"),
                    input: Some(json!(name)),
                };
                Error::Invalid(vec![problem])
            })
        };
        names.map(status).collect()
    }
}

fn out_of_range(name: &str, msg: &str, given: usize) -> Error {
    let loc = vec!["query".into(), name.into()];
    Error::Invalid(vec![Problem { kind: "value_error", loc, msg: msg.to_owned(), input: Some(json!(given)) }])
}
