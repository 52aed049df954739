//! A workload's launch as history and as a live stream, in the words of checklist 000#16 to 000#18: what jobs, nodes and instances have in
//! common. A handler finds the workload, and so decides who may read; all else is here.

mod source;

use axum::response::Response;
use domain::{
    Timestamp, Workload,
    launch_log::{self, Position, Told},
};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use store::Plane;
use utoipa::{IntoParams, ToSchema};

use crate::{Error, Problem, stream};

pub use source::Shown;

/// What a history has at most, and without being asked for more or less.
const MOST: u32 = 1_000;
const DEFAULT: u32 = 100;
/// What the messages of one answer may take, in bytes: a function's answer has at most six megabytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// Which part of a history is wanted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// At most so many: the newest; after an event's id, the first that follow on it.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    tail: Option<u32>,
    /// Only what happened since: a time as in RFC 3339, or an event's id.
    since: Option<String>,
}

/// Which part of a history is wanted, and whether to stay for more.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Stay until the launch is over.
    #[serde(default)]
    #[param(default = false)]
    follow: bool,
    /// Begin with so many of what is there; after an event's id it is all that follows on it.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    tail: Option<u32>,
    /// Only what happened since: a time as in RFC 3339, or an event's id.
    since: Option<String>,
}

/// A launch so far.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct History {
    /// Oldest first.
    pub logs: Vec<Logged>,
    /// What goes on from here, as `since` or as a stream's `Last-Event-ID`.
    #[schema(example = "7p35.1-3-0")]
    pub last_event_id: String,
}

/// One thing that happened, and how far the launch had come: what the stream tells as `log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "timestamp": "2026-01-20T18:00:05Z", "level": "info", "message": "Asking for a machine (attempt 1)", "phase": "provisioning", "progress": 20
}))]
pub struct Logged {
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// `info`, `warning` or `error`.
    level: &'static str,
    message: String,
    /// `queued`, `provisioning`, `instance_ready`, `installing`, `model_loading`, `health_check`, `active` or `failed`.
    phase: &'static str,
    /// In percent; a launch that failed has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
}

impl From<Told> for Logged {
    fn from(told: Told) -> Self {
        let Told { place, at, level, message, .. } = told;
        let (phase, progress) = (place.stand.phase().name(), place.stand.progress());
        Self { timestamp: at, level: level.name(), message, phase, progress }
    }
}

/// Where a reader begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Start {
    /// With the newest of what is there, and of that with what happened since.
    Tail(usize, Option<Timestamp>),
    /// With what follows.
    After(Position),
}

impl Start {
    fn of(tail: Option<u32>, since: Option<&str>, last: Option<&str>) -> Result<(Self, usize), Error> {
        let most = tail.unwrap_or(DEFAULT);
        if !(1..=MOST).contains(&most) {
            return Err(refused("tail", format!("tail is from 1 to {MOST}"), tail.into()));
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if let Some(last) = last.filter(|last| !last.is_empty()) {
            let unknown = |_none| Error::BadRequest("Last-Event-ID is none of this stream's".to_owned());
            return Ok((Self::After(last.parse().map_err(unknown)?), most));
        }
        let Some(since) = since else { return Ok((Self::Tail(most, None), most)) };
        match (Timestamp::parse(since), since.parse()) {
            (Some(at), _) => Ok((Self::Tail(most, Some(at)), most)),
            (None, Ok(position)) => Ok((Self::After(position), most)),
            (None, Err(_)) => {
                Err(refused("since", "since is a time as in RFC 3339, or an event's id".to_owned(), since.into()))
            }
        }
    }
}

fn refused(name: &str, msg: String, input: serde_json::Value) -> Error {
    let loc = vec!["query".into(), name.into()];
    Error::Invalid(vec![Problem { kind: "value_error", loc, msg, input: Some(input) }])
}

/// The history of `held`, which its reader may read.
///
/// # Errors
/// When the query is not one, or the tables fail.
pub async fn history(plane: &Plane, held: &Workload, wanted: &HistoryQuery) -> Result<History, Error> {
    let (start, most) = Start::of(wanted.tail, wanted.since.as_deref(), None)?;
    let (told, place) = match start {
        Start::After(from) => following(plane, held, from, most).await?,
        Start::Tail(most, since) => {
            let readable = plane.store.launch_log_tail(&held.tenant, held.id, most).await?;
            let (mut told, place) = launch_log::tail(readable, most, held.expires_at.is_some());
            told.retain(|told| since.is_none_or(|since| told.at >= since));
            let mut size = 0;
            let fits = told.iter().rev().take_while(|told| fits(&mut size, told)).count();
            told.drain(..told.len() - fits);
            (told, place)
        }
    };
    Ok(History { logs: told.into_iter().map(Logged::from).collect(), last_event_id: place.to_string() })
}

/// The first `most` that follow on `from`, and from where to go on.
async fn following(
    plane: &Plane,
    held: &Workload,
    from: Position,
    most: usize,
) -> Result<(Vec<Told>, Position), Error> {
    let (mut all, mut place, mut size) = (Vec::new(), from, 0);
    loop {
        let readable = plane.store.launch_log_after(&held.tenant, held.id, &place).await?;
        let told = launch_log::merge(&place, readable);
        let found = told.len();
        let told = told.into_iter().take(most - all.len()).take_while(|told| fits(&mut size, told));
        let before = all.len();
        all.extend(told);
        place = all.last().map_or(place, |last: &Told| last.place.clone());
        // Nothing was new, or some of what was new is for the next time.
        if found == 0 || all.len() - before < found || all.len() == most {
            return Ok((all, place));
        }
    }
}

fn fits(size: &mut usize, told: &Told) -> bool {
    *size += told.message.len();
    *size <= LARGEST
}

/// The history of `held`, which its reader may read, as events: `log`, `status`, `done` and `error`. A reader that follows stays until the
/// launch is over; one that was cut off goes on with `Last-Event-ID` and is told exactly what it was not.
///
/// # Errors
/// When the query or the id is not one, the tenant follows too many streams, or the tables fail.
pub async fn stream(
    plane: &Plane,
    held: Workload,
    shown: Shown,
    wanted: &StreamQuery,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
    let (start, _) = Start::of(wanted.tail, wanted.since.as_deref(), last)?;
    let tenant = held.tenant.clone();
    let source = source::Launch::new(plane, held, shown, start, wanted.follow);
    if wanted.follow { stream::follow(plane, &tenant, source).await } else { Ok(stream::tell(plane, source)) }
}
