//! `GET /v1/jobs/{job_id}/logs/stream`

use crate::id::JobId;
use axum::{extract::State, response::Response};
use domain::Workload;
use http::HeaderMap;
use web::{
    Checked, DetailRefusals, Error, Id, Member, Plane, act,
    launch_log::{self, Shown, StreamQuery},
};

/// How jobs are shown.
const JOB: Shown = Shown { what: "Job", endpoint };

/// Where an active job is reached.
fn endpoint(job: &Workload) -> Option<String> {
    let address = job.address.as_ref()?;
    Some(format!("ssh://{}:{}", address.host, address.ssh_port))
}

/// The job's launch, as events: its timeline and its log in one order, with phases and percents.
///
/// Events are `log` (`timestamp`, `level`, `message`, `phase`, `progress`), `status` (`phase`, `progress`, `message`, and
/// `estimated_seconds_left` where it can be said), `done` (`status`, `endpoint`, `message`), with which the stream is over, and `error`
/// (`message`). Each has an `id`: a stream that ends without `done`, as each does after two minutes, goes on with `Last-Event-ID`, and leaves
/// nothing out and repeats nothing. Without `follow` it tells what is there and is done.
#[utoipa::path(get, path = "/v1/jobs/{job_id}/logs/stream", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job."), StreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event.")),
    responses((status = 200, description = "The launch, as it happens.", content_type = "text/event-stream", body = String),
        DetailRefusals))]
pub(crate) async fn stream_job_logs(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
    Checked(wanted): Checked<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let held = act::read(&plane, &member, job).await?;
    launch_log::stream(&plane, held, JOB, &wanted, &headers).await
}
