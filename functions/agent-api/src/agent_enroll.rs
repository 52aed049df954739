//! `POST /agent/v1/enroll`

use axum::{Json, extract::State};
use domain::{
    Secret, SecretHash, Workload,
    agent::{Enroll, Enrolled},
    job::Particulars,
    lifecycle::{Stage, State as Life},
};
use serde::Deserialize;
use store::{
    StoreError,
    identities::Holder,
    workloads::{Awaited, Purpose, Session, Write, sealed_with},
};
use utoipa::ToSchema;
use web::{AgentCaller, DetailRefusals, Error, Input, Plane, body::Plain};

use crate::desired::{SESSION_TTL, present, synced};

/// The first thing an agent says, with its one-time token.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct EnrollBody(Enroll);

impl Input for EnrollBody {
    const SECRET: &'static [&'static str] = &["session"];
}

/// Begin a node's session. Repeating it with the same session is answered like the first time.
#[utoipa::path(post, path = "/agent/v1/enroll", tag = "agent", security(("agent" = [])),
    request_body(content = EnrollBody, example = json!({ "session": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "version": "0.1.0" })),
    responses((status = 200, description = "What to run, and what should be true on the node.", body = Object), DetailRefusals))]
pub(crate) async fn agent_enroll(
    State(plane): State<Plane>,
    agent: AgentCaller,
    Plain(EnrollBody(enroll)): Plain<EnrollBody>,
) -> Result<Json<Enrolled>, Error> {
    if !agent.enrolling {
        return Err(Error::Forbidden("Enrolling takes the one-time token"));
    }
    let workload = begin(&plane, &agent, &enroll).await?;
    // The launch may wait for this; a completion that was lost is repeated by the agent's next report.
    launch_goes_on(&plane, &workload, Awaited::Boot).await?;
    let Particulars { command, env } = particulars(&plane, &workload).await?;
    let serve = workload.spec.serve.as_ref().map(|serve| serve.for_agent(workload.spec.gpu_count));
    let env = env.into_iter().map(|(name, value)| (String::from(name), value)).collect();
    Ok(Json(Enrolled { command, serve, env, synced: synced(&plane, &workload, 0).await? }))
}

/// Begins the session, unless it has begun: and again if the launcher wrote at the same moment what the fleet had made.
async fn begin(plane: &Plane, agent: &AgentCaller, enroll: &Enroll) -> Result<Workload, Error> {
    let version = enroll.version.chars().filter(|c| c.is_ascii_graphic()).take(40).collect::<String>();
    let version = &version;
    plane
        .decide((&agent.holder.tenant, agent.holder.workload), |found, now| async move {
            let workload = present(found, agent)?;
            let Ok(change) = workload.enroll(agent.holder.attempt, version, now) else {
                // The same request may have come twice. Any other agent of a workload that is ending, or has one, is not wanted.
                let again = spent_on(plane, agent).await?.as_ref() == Some(&enroll.session);
                return if again { Ok((None, workload)) } else { Err(Error::NotFound("This workload wants no agent")) };
            };
            let session =
                Session { token: agent.key.clone(), session: enroll.session.clone(), until: now.plus(SESSION_TTL) };
            let enrolled = change.workload.clone();
            Ok((Some(Write { session: Some(session), ..Write::of(change) }), enrolled))
        })
        .await
}

/// The session that the token is spent on by now.
async fn spent_on(plane: &Plane, agent: &AgentCaller) -> Result<Option<SecretHash>, Error> {
    let holder = plane.store.key(&agent.key).await?.map(|row| row.holder);
    Ok(holder.and_then(|holder| if let Holder::Enroll(holder) = holder { holder.spent_on } else { None }))
}

/// Completes the launch's step that waits for the agent, if it waits already. If it does not, it finds the agent when it comes.
pub(crate) async fn launch_goes_on(plane: &Plane, workload: &Workload, awaited: Awaited) -> Result<(), Error> {
    let launching = workload.state.stage() == Stage::Launching && workload.state > Life::Provisioning;
    if launching {
        for token in plane.store.tokens(&workload.tenant, workload.id, &[awaited]).await? {
            plane.ports.launches.complete(&token).await?;
        }
    }
    Ok(())
}

async fn particulars(plane: &Plane, workload: &Workload) -> Result<Particulars, Error> {
    let Some(sealed) = plane.store.particulars(&workload.tenant, workload.id).await? else {
        return Ok(Particulars::default());
    };
    let context = sealed_with(&workload.tenant, workload.id, Purpose::Particulars);
    let text: Secret = plane.ports.vault.open(&context, &sealed).await?;
    serde_json::from_str(text.reveal()).map_err(|_unreadable| StoreError::Broken("particulars".into()).into())
}
