//! `POST /agent/v1/sync`

use axum::{Json, extract::State};
use domain::{
    Workload,
    agent::{Report, Synced},
};
use serde::Deserialize;
use store::{
    StoreError,
    identities::AgentKey,
    workloads::{Awaited, Write},
};
use utoipa::ToSchema;
use web::{AgentCaller, Error, Input, Plane, Refusals, body::Plain};

use crate::{
    agent_enroll::launch_goes_on,
    desired::{SESSION_TTL, in_session, served, synced},
};

/// What an agent says again and again.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct ReportBody(Report);

impl Input for ReportBody {
    const SECRET: &'static [&'static str] = &["next_session"];
}

/// Report how the node is, and learn what should be true on it.
#[utoipa::path(post, path = "/agent/v1/sync", tag = "agent", security(("agent" = [])),
    request_body(content = ReportBody, example = json!({ "applied": 7, "progress": "ready", "main": {"state": "running"}, "jupyter": {"state": "off"}, "notes": [], "next_session": null })),
    responses((status = 200, description = "What should be true on the node, if that changed.", body = Object), Refusals))]
pub(crate) async fn agent_sync(
    State(plane): State<Plane>,
    agent: AgentCaller,
    Plain(ReportBody(report)): Plain<ReportBody>,
) -> Result<Json<Synced>, Error> {
    in_session(&agent)?;
    if let Some(next) = &report.next_session {
        let holder = AgentKey { spent_on: None, ..agent.holder.clone() };
        plane.store.add_session(next, &holder, plane.ports.clock.now().plus(SESSION_TTL)).await?;
    }
    let taken = take(&plane, &agent, &report).await?;
    if taken.ready {
        launch_goes_on(&plane, &taken.workload, Awaited::Ready).await?;
    }
    // While a launch goes from phase to phase, what should be true is told to the next report that brings no news.
    if taken.news {
        return Ok(Json(Synced {
            version: taken.workload.version,
            desired: None,
            next_sync_ms: plane.settings.sync_ms.0,
        }));
    }
    Ok(Json(synced(&plane, &taken.workload, report.applied).await?))
}

/// A report that was taken.
struct Taken {
    /// The workload after it.
    workload: Workload,
    /// It changed the workload.
    news: bool,
    /// The way in works: the launch may go on.
    ready: bool,
}

/// Writes what the report changes, and again if somebody else was faster.
async fn take(plane: &Plane, agent: &AgentCaller, report: &Report) -> Result<Taken, Error> {
    for _ in 0..5 {
        let workload = served(plane, agent).await?;
        let mut reported = workload.report(report, plane.ports.clock.now());
        if reported.changes.is_empty() {
            return Ok(Taken { workload, news: false, ready: reported.ready });
        }
        match plane.commit(&Write::of(&reported.changes)).await {
            Ok(()) => {
                let workload = reported.changes.pop().map_or(workload, |change| change.workload);
                return Ok(Taken { workload, news: true, ready: reported.ready });
            }
            Err(StoreError::Moved) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Moved.into())
}
