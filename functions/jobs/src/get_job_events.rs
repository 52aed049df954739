//! `GET /v1/jobs/{job_id}/events`

use crate::id::JobId;
use axum::{Json, extract::State};
use domain::{WorkloadId, timeline::Entry};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{Checked, DetailRefusals, Error, Id, Member, Plane, act};

/// From where on.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct After {
    /// Only events with a higher `id`.
    #[serde(default)]
    #[param(default = 0)]
    after: u64,
}

/// A job's timeline.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Events {
    #[schema(value_type = String, format = Uuid)]
    job_id: WorkloadId,
    /// Oldest first, at most 500: ask again with the last one's `id` for more.
    events: Vec<Event>,
}

/// Something that happened to a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": 2, "at": "2026-01-20T18:00:01Z", "kind": "placed", "phase": "placed", "progress": 10,
    "message": "Placed on node local-h100-1", "by": "slipway"
}))]
pub(crate) struct Event {
    /// Counts from 1.
    id: u64,
    #[schema(value_type = String, format = DateTime)]
    at: domain::Timestamp,
    /// What kind of event: `submitted`, `placed`, `provisioning`, `active`, `extended`, `note`, `warning`, `ended`, ...
    kind: String,
    /// The phase after it.
    phase: &'static str,
    /// How far the launch has come, in percent.
    progress: u8,
    message: String,
    /// Who did it: the owner's name, `agent` or `slipway`.
    by: String,
}

impl From<Entry> for Event {
    fn from(entry: Entry) -> Self {
        let Entry { version, at, kind, phase, progress, message, by } = entry;
        Self { id: version, at, kind, phase: phase.name(), progress, message, by }
    }
}

/// The job's timeline: each phase of its launch, and everything that happened to it since, with times.
#[utoipa::path(get, path = "/v1/jobs/{job_id}/events", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job."), After),
    responses((status = 200, description = "What happened, oldest first.", body = Events), DetailRefusals))]
pub(crate) async fn get_job_events(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
    Checked(After { after }): Checked<After>,
) -> Result<Json<Events>, Error> {
    let held = act::read(&plane, &member, job).await?;
    let entries = plane.store.timeline(&held.tenant, held.id, after, 500).await?;
    Ok(Json(Events { job_id: held.id, events: entries.into_iter().map(Event::from).collect() }))
}
