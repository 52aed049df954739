//! `POST /agent/v1/contents`

use axum::{Json, extract::State};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::agent::{Contents, LARGEST_PART, MOST_PARTS};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{AgentCaller, DetailRefusals, Error, Input, Plane, body::Plain};

use crate::desired::{in_session, served};

/// Part of a list of what is on a disk.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct ContentsBody(Contents);

impl Input for ContentsBody {
    const SECRET: &'static [&'static str] = &["data"];
}

/// A part was kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct KeptPart {
    part: u32,
}

/// Keep part of the list of what is on the job's disk, for the snapshot that comes next. One that is kept already is answered alike.
#[utoipa::path(post, path = "/agent/v1/contents", tag = "agent", security(("agent" = [])),
    request_body(content = ContentsBody, example = json!({ "snapshot": 1, "part": 0, "parts": 1, "data": "H4sIAAAAAAAA/wMAAAAAAAAAAAA=" })),
    responses((status = 200, description = "It is kept.", body = KeptPart), DetailRefusals))]
pub(crate) async fn agent_contents(
    State(plane): State<Plane>,
    agent: AgentCaller,
    Plain(ContentsBody(list)): Plain<ContentsBody>,
) -> Result<Json<KeptPart>, Error> {
    in_session(&agent)?;
    let Contents { snapshot, part, parts, data } = list;
    if parts == 0 || parts > MOST_PARTS || part >= parts {
        return Err(Error::BadRequest(format!("A list has 1 to {MOST_PARTS} parts, numbered from 0")));
    }
    let bytes = STANDARD.decode(data).ok().filter(|bytes| bytes.len() <= LARGEST_PART);
    let bytes = bytes
        .ok_or_else(|| Error::BadRequest(format!("A part has at most {LARGEST_PART} bytes, written in base64")))?;
    let workload = served(&plane, &agent).await?;
    // Lists of snapshots that are there are nobody's to change.
    let next = workload.disk.as_ref().map(|disk| disk.mount.next);
    let disk = workload.spec.disk.as_ref().filter(|_| next == Some(snapshot));
    let disk = disk.ok_or_else(|| Error::Conflict("The list is not of the snapshot that comes next".to_owned()))?;
    plane.store.keep_contents((&workload.tenant, disk.id), snapshot, (part, parts), bytes).await?;
    Ok(Json(KeptPart { part }))
}
