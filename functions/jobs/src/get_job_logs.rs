//! `GET /v1/jobs/{job_id}/logs`

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use crate::id::JobId;
use axum::{
    Json,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use domain::{
    TenantId, Timestamp, WorkloadId,
    agent::{LogLine, Stream},
    launch_log::Batch,
    lifecycle::State as Life,
};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{Checked, DetailRefusals, Error, Id, Member, Plane, Problem, act};

/// Which part of the log, and whether to stay for more.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// The last so many lines.
    #[serde(default = "hundred")]
    #[param(minimum = 0, maximum = 5000, default = 100)]
    tail: usize,
    /// Stay for more, as a stream of server-sent events.
    #[serde(default)]
    #[param(default = false)]
    follow: bool,
}

fn hundred() -> usize {
    100
}

/// The end of a job's log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Logs {
    #[schema(value_type = String, format = Uuid)]
    job_id: WorkloadId,
    /// Oldest first.
    lines: Vec<Line>,
}

/// One line of the command's output.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"at": "2026-01-20T18:00:05.250Z", "stream": "stdout", "text": "epoch 1"}))]
pub(crate) struct Line {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `stdout` or `stderr`.
    stream: &'static str,
    text: String,
}

impl From<LogLine> for Line {
    fn from(LogLine { at, stream, text }: LogLine) -> Self {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        Self { at, stream, text }
    }
}

/// The output of the job's command.
///
/// With `follow=true` it is a stream of events: `log` with a line each, and `done` when the job is over. Each `log` has an `id`, from
/// which `Last-Event-ID` goes on after a break; streams end by themselves after two minutes, and clients come back.
#[utoipa::path(get, path = "/v1/jobs/{job_id}/logs", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job."), Wanted,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event.")),
    responses((status = 200, description = "The end of the log, or a stream of it.", content((Logs = "application/json"), (String = "text/event-stream"))), DetailRefusals))]
pub(crate) async fn get_job_logs(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
    Checked(wanted): Checked<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    if wanted.tail > 5_000 {
        let loc = vec!["query".into(), "tail".into()];
        let msg = "tail is from 0 to 5000".to_owned();
        return Err(Error::Invalid(vec![Problem { kind: "value_error", loc, msg, input: Some(wanted.tail.into()) }]));
    }
    let held = act::read(&plane, &member, job).await?;
    let resumed = headers.get("last-event-id").and_then(|id| Place::parse(id.to_str().ok()?));
    let mut lines = match resumed {
        Some(_) if wanted.follow => VecDeque::new(),
        _ => plane
            .store
            .log_tail(&held.tenant, held.id, wanted.tail.max(1))
            .await?
            .into_iter()
            .flat_map(placed)
            .collect(),
    };
    // Whoever wants none of what was written still follows from its end, not from its beginning.
    let newest = lines.back().map(|(place, _)| *place);
    lines.drain(..lines.len().saturating_sub(wanted.tail));
    if !wanted.follow {
        let lines = lines.into_iter().map(|(_, line)| Line::from(line)).collect();
        return Ok(Json(Logs { job_id: held.id, lines }).into_response());
    }
    let place = resumed.or(newest).unwrap_or_default();
    let now = plane.ports.clock.now();
    let follower = Follower {
        tenant: held.tenant,
        job: held.id,
        waiting: lines,
        place,
        until: now.plus(LONGEST),
        spoke: now,
        over: false,
        plane,
    };
    let events = futures::stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(events).into_response())
}

/// A stream ends by itself before anything in between would cut it.
const LONGEST: Duration = Duration::from_secs(110);
/// A quiet stream says that it is alive this often.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// A line's place in a log: what an event's `id` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    attempt: u32,
    sequence: u64,
    line: usize,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let place = Self {
            attempt: parts.next()?.parse().ok()?,
            sequence: parts.next()?.parse().ok()?,
            line: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(place)
    }

    fn id(self) -> String {
        format!("{}-{}-{}", self.attempt, self.sequence, self.line)
    }
}

fn placed(batch: Batch) -> impl Iterator<Item = (Place, LogLine)> {
    let Batch { attempt, sequence, lines, .. } = batch;
    lines.into_iter().enumerate().map(move |(line, text)| (Place { attempt, sequence, line }, text))
}

/// Somebody who reads a log as it is written.
struct Follower {
    plane: Plane,
    tenant: TenantId,
    job: WorkloadId,
    /// Lines that were read and not yet sent.
    waiting: VecDeque<(Place, LogLine)>,
    /// The last line that was read.
    place: Place,
    until: Timestamp,
    spoke: Timestamp,
    over: bool,
}

impl Follower {
    /// The next event; `None` when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let now = self.plane.ports.clock.now();
            if let Some((place, line)) = self.waiting.pop_front() {
                self.spoke = now;
                let data = serde_json::to_string(&Line::from(line)).unwrap_or_default();
                return Some(Event::default().event("log").id(place.id()).data(data));
            }
            if self.over || now >= self.until {
                return None;
            }
            // Whether the job is over is looked at before its log, so that its last lines are not missed.
            let status = self.ended().await;
            self.read().await;
            if !self.waiting.is_empty() {
                continue;
            }
            if let Some(status) = status {
                self.over = true;
                return Some(Event::default().event("done").data(format!("{{\"status\":\"{status}\"}}")));
            }
            if now.since(self.spoke) >= HEARTBEAT {
                self.spoke = now;
                return Some(Event::default().comment("ping"));
            }
            self.plane.ports.clock.sleep(LOOK).await;
        }
    }

    async fn ended(&self) -> Option<&'static str> {
        let held = self.plane.store.workload(&self.tenant, self.job).await;
        held.ok().flatten().filter(|held| held.state == Life::Ended).map(|held| held.status().name())
    }

    /// Reads what is new. A batch is looked at again from its last line that was sent, because an id may lie in its middle.
    async fn read(&mut self) {
        let after = (self.place.attempt, self.place.sequence.saturating_sub(1));
        match self.plane.store.log_after(&self.tenant, self.job, after).await {
            Ok(batches) => {
                let key = |place: Place| (place.attempt, place.sequence, place.line);
                let seen = if self.place == Place::default() { None } else { Some(key(self.place)) };
                let fresh = batches
                    .into_iter()
                    .flat_map(placed)
                    .filter(|(place, _)| seen.is_none_or(|seen| key(*place) > seen));
                self.waiting.extend(fresh);
                self.place = self.waiting.back().map_or(self.place, |(place, _)| *place);
            }
            Err(error) => tracing::warn!(job = %self.job, %error, "log.read_failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_places() {
        let place = Place { attempt: 1, sequence: 22, line: 3 };
        assert_eq!(Place::parse(&place.id()), Some(place));
        for other in ["", "1", "1-2", "1-2-3-4", "1-2-x", "-1-2-3", "999999999999-1-1"] {
            assert_eq!(Place::parse(other), None, "{other}");
        }
    }
}
