//! `POST /agent/v1/bye`

use axum::{Json, extract::State};
use domain::agent::Bye;
use serde::{Deserialize, Serialize};
use store::workloads::Write;
use utoipa::ToSchema;
use web::{AgentCaller, DetailRefusals, Error, Input, Plane, body::Plain};

use crate::desired::{in_session, present};

/// The last thing an agent says.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct ByeBody(Bye);

impl Input for ByeBody {
    const SECRET: &'static [&'static str] = &[];
}

/// Goodbye.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Goodbye {
    /// Always `over`.
    status: &'static str,
}

/// Say that nothing of the job runs any more. The fleet is asked before its GPUs are given to others.
#[utoipa::path(post, path = "/agent/v1/bye", tag = "agent", security(("agent" = [])),
    request_body(content = ByeBody, example = json!({"reason": "stopped"})),
    responses((status = 200, description = "Goodbye.", body = Goodbye), DetailRefusals))]
pub(crate) async fn agent_bye(
    State(plane): State<Plane>,
    agent: AgentCaller,
    Plain(ByeBody(bye)): Plain<ByeBody>,
) -> Result<Json<Goodbye>, Error> {
    in_session(&agent)?;
    let (plane, bye) = (&plane, &bye);
    let said: Result<(), Error> = plane
        .decide((&agent.holder.tenant, agent.holder.workload), |found, now| {
            let agent = &agent;
            async move {
                let Some(change) = present(found, agent)?.agent_left(&bye.reason, now) else { return Ok((None, ())) };
                let message = change.workload.reconcile();
                Ok((Some(Write::of(change.sending(plane.ports.ids.message(now), vec![message]))), ()))
            }
        })
        .await;
    said?;
    Ok(Json(Goodbye { status: "over" }))
}
