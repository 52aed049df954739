//! `POST /agent/v1/logs`

use axum::{Json, extract::State};
use domain::agent::LogBatch;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{AgentCaller, DetailRefusals, Error, Input, Plane, body::Plain};

use crate::desired::{in_session, served};

/// A batch of a job's log.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct LogBody(LogBatch);

impl Input for LogBody {
    const SECRET: &'static [&'static str] = &["lines"];
}

/// A batch was kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Kept {
    sequence: u64,
}

/// Keep a batch of the job's log. One that is kept already is answered like the first time.
#[utoipa::path(post, path = "/agent/v1/logs", tag = "agent", security(("agent" = [])),
    request_body(content = LogBody, example = json!({ "sequence": 1, "lines": [{"at": "2026-01-20T18:00:05Z", "stream": "stdout", "text": "epoch 1"}] })),
    responses((status = 200, description = "It is kept.", body = Kept), DetailRefusals))]
pub(crate) async fn agent_logs(
    State(plane): State<Plane>,
    agent: AgentCaller,
    Plain(LogBody(batch)): Plain<LogBody>,
) -> Result<Json<Kept>, Error> {
    in_session(&agent)?;
    let size = batch.lines.iter().map(|line| line.text.len()).sum::<usize>();
    if batch.sequence == 0 || batch.lines.len() > 500 || size > 64 * 1024 {
        return Err(Error::BadRequest("A batch is numbered from 1, and has at most 500 lines and 64 KiB".into()));
    }
    let workload = served(&plane, &agent).await?;
    let sequence = batch.sequence;
    let place = (&workload.tenant, workload.id, agent.holder.attempt);
    plane.store.keep_log(place, workload.version, batch, plane.ports.clock.now()).await?;
    Ok(Json(Kept { sequence }))
}
