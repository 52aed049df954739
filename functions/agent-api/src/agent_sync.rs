//! `POST /agent/v1/sync`

use axum::{Json, extract::State};
use domain::{
    SecretHash, Workload,
    agent::{Report, Synced},
    workload::Reported,
};
use serde::Deserialize;
use store::{
    identities::AgentKey,
    workloads::{Awaited, Write},
};
use utoipa::ToSchema;
use web::{AgentCaller, DetailRefusals, Error, Input, Plane, body::Plain};

use crate::{
    agent_enroll::launch_goes_on,
    desired::{SESSION_TTL, in_session, present, synced},
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
    request_body(content = ReportBody, example = json!({ "applied": 7, "progress": "ready", "main": {"state": "running"}, "jupyter": {"state": "off"}, "notes": [], "idle_seconds": 12, "next_session": null })),
    responses((status = 200, description = "What should be true on the node, if that changed.", body = Object), DetailRefusals))]
pub(crate) async fn agent_sync(
    State(plane): State<Plane>,
    agent: AgentCaller,
    Plain(ReportBody(report)): Plain<ReportBody>,
) -> Result<Json<Synced>, Error> {
    in_session(&agent)?;
    let taken = take(&plane, &agent, &report).await?;
    let now = plane.ports.clock.now();
    if let Some(heard) = taken.workload.news_of_life(now) {
        plane.store.heard(&taken.workload, heard).await?;
    }
    rotate(&plane, &agent, report.next_session.as_ref()).await?;
    if taken.frozen
        && let Some(message) = taken.workload.tend_disk()
    {
        // The file system holds still for seconds only. If this is lost, the snapshot is taken a little later, and as it is.
        if let Err(error) = plane.ports.queue.send(&message).await {
            tracing::warn!(workload = %taken.workload.id, %error, "disk.left_to_the_sweep");
        }
    }
    if taken.ready {
        launch_goes_on(&plane, &taken.workload, Awaited::Ready).await?;
    }
    // While a launch goes from phase to phase, what should be true is told to the next report that brings no news: an agent that lacks something
    // keeps the version that it has, and so is told. One that lacked nothing has seen all but its own report, which changes nothing of that.
    if taken.news {
        let version = if report.applied == taken.before { taken.workload.version } else { report.applied };
        return Ok(Json(Synced { version, desired: None, next_sync_ms: plane.settings.sync_ms.0 }));
    }
    Ok(Json(synced(&plane, &taken.workload, report.applied).await?))
}

/// A report that was taken.
struct Taken {
    /// The workload after it.
    workload: Workload,
    /// The workload's version before it.
    before: u64,
    /// It changed the workload.
    news: bool,
    /// The way in works: the launch may go on.
    ready: bool,
    /// The disk's file system holds still, and did not before.
    frozen: bool,
}

/// A session that is used for the first time ends the one in whose place it comes; one that announces its successor lives until that
/// is used.
async fn rotate(plane: &Plane, agent: &AgentCaller, next: Option<&SecretHash>) -> Result<(), Error> {
    let AgentKey { tenant, workload, attempt, replaces, .. } = &agent.holder;
    if let Some(replaced) = replaces {
        plane.store.session_used(&agent.key, replaced).await?;
    }
    if let Some(next) = next.filter(|next| **next != agent.key) {
        let holder = AgentKey { replaces: Some(agent.key.clone()), ..AgentKey::new(tenant, *workload, *attempt) };
        plane.store.add_session(next, &holder, plane.ports.clock.now().plus(SESSION_TTL)).await?;
    }
    Ok(())
}

/// Writes what the report changes.
async fn take(plane: &Plane, agent: &AgentCaller, report: &Report) -> Result<Taken, Error> {
    plane
        .decide((&agent.holder.tenant, agent.holder.workload), |found, now| async move {
            let workload = present(found, agent)?;
            let still = |workload: &Workload| workload.disk.as_ref().is_some_and(|disk| disk.frozen.is_some());
            let (was_still, before) = (still(&workload), workload.version);
            let Reported { changes, ready } = workload.report(report, now);
            let write = Write { changes, ..Write::default() };
            let (news, workload) = (!write.changes.is_empty(), write.outcome().cloned().unwrap_or(workload));
            let frozen = still(&workload) && !was_still;
            Ok((news.then_some(write), Taken { workload, before, news, ready, frozen }))
        })
        .await
}
