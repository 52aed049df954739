//! Where a launch's events come from.

use domain::{
    Timestamp, Workload,
    launch_log::{self, Position, Stand, Told, estimate},
    lifecycle::State,
};
use serde::Serialize;
use serde_json::json;
use store::{Plane, StoreError};

use super::{Logged, Start};
use crate::stream::{Event, Next, Source};

/// What a surface calls its workloads, and how they are reached.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// The word for one, such as `Node`.
    pub what: &'static str,
    /// Where one answers that is active, if it does.
    pub endpoint: fn(&Workload) -> Option<String>,
}

/// The launch has come further.
#[derive(Serialize)]
struct Status<'a> {
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
    message: &'a str,
    /// Where it can be said, and of the newest alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_seconds_left: Option<u64>,
}

/// One reader of a launch.
pub(super) struct Launch {
    plane: Plane,
    /// As it was when the reader came.
    held: Workload,
    shown: Shown,
    /// How far everything was told.
    place: Position,
    /// The end of the history, with which the reader begins who was told nothing yet.
    begin: Option<(usize, Option<Timestamp>)>,
    follow: bool,
    /// The launch was completed while it was followed: what comes later is not its any more.
    complete: bool,
    /// The state that was told last, and since when it is.
    state: Option<(State, Timestamp)>,
    /// How long launches usually take, once it was asked for.
    usual: Option<Option<estimate::Usual>>,
}

impl Launch {
    pub(super) fn new(plane: &Plane, held: Workload, shown: Shown, start: Start, follow: bool) -> Self {
        let (place, begin) = match start {
            Start::After(place) => (place, None),
            Start::Tail(most, since) => (Position::default(), Some((most, since))),
        };
        Self { plane: plane.clone(), held, shown, place, begin, follow, complete: false, state: None, usual: None }
    }

    /// The end of the history.
    async fn begin(&mut self, most: usize, since: Option<Timestamp>) -> Result<Vec<Told>, StoreError> {
        let readable = self.plane.store.launch_log_tail(&self.held.tenant, self.held.id, most).await?;
        let (mut told, place) = launch_log::tail(readable, most, self.held.expires_at.is_some());
        told.retain(|told| since.is_none_or(|since| told.at >= since));
        (self.place, self.begin) = (place, None);
        Ok(told)
    }

    /// What has come since, but nothing after the entry with which the launch is complete: of a launch that is all.
    async fn go_on(&mut self) -> Result<Vec<Told>, StoreError> {
        let readable = self.plane.store.launch_log_after(&self.held.tenant, self.held.id, &self.place).await?;
        let mut told = launch_log::merge(&self.place, readable);
        if self.place.stand != Stand::ACTIVE
            && let Some(active) = told.iter().position(|told| told.place.stand == Stand::ACTIVE)
        {
            told.truncate(active + 1);
            self.complete = true;
        }
        if let Some(last) = told.last() {
            self.place = last.place.clone();
        }
        Ok(told)
    }

    async fn events(&mut self, told: Vec<Told>, now: Timestamp) -> Vec<Event> {
        let newest = told.iter().rposition(|told| told.is_status);
        let mut events = Vec::with_capacity(told.len());
        for (number, told) in told.into_iter().enumerate() {
            if let Some(state) = told.state
                && self.state.is_none_or(|(before, _)| before != state)
            {
                self.state = Some((state, told.at));
            }
            let left = if newest == Some(number) { self.left(now).await } else { None };
            events.push(event(told, left));
        }
        events
    }

    /// What is left of the launch, from how long others took.
    async fn left(&mut self, now: Timestamp) -> Option<u64> {
        let (state, since) = self.state.filter(|(state, _)| !matches!(state, State::Queued | State::Active))?;
        if self.usual.is_none() {
            let kind = estimate::kind(&self.held);
            // Nothing is said where nothing can be read.
            let launches = self.plane.store.past_launches(self.held.pool(), kind).await.unwrap_or_default();
            self.usual = Some(estimate::Usual::of(&launches));
        }
        self.usual.flatten()?.left(state, now.since(since))
    }

    /// The last event, once all was told and either the launch is over or nobody waits for its end.
    async fn done(&self) -> Result<Option<Event>, StoreError> {
        let launching = !matches!(self.place.stand, Stand::ACTIVE | Stand::Failed);
        if self.follow && launching {
            return Ok(None);
        }
        let Some(workload) = self.plane.store.workload(&self.held.tenant, self.held.id).await? else {
            return Ok(Some(self.error("It is not kept any more")));
        };
        // A launch that failed is over when nothing of it runs any more, and that was told.
        let over = workload.state == State::Ended && self.place.version >= workload.version;
        if self.follow && self.place.stand == Stand::Failed && !over {
            return Ok(None);
        }
        let endpoint = if workload.state == State::Active { (self.shown.endpoint)(&workload) } else { None };
        let status = launch_log::status(&workload);
        let message = launch_log::conclusion(&workload, self.shown.what);
        let data = json!({"status": status, "endpoint": endpoint, "message": message}).to_string();
        Ok(Some(Event { name: "done", id: self.place.to_string(), data }))
    }

    fn error(&self, message: &str) -> Event {
        Event { name: "error", id: self.place.to_string(), data: json!({"message": message}).to_string() }
    }
}

fn event(told: Told, estimated_seconds_left: Option<u64>) -> Event {
    let id = told.place.to_string();
    if !told.is_status {
        let data = serde_json::to_string(&Logged::from(told)).unwrap_or_default();
        return Event { name: "log", id, data };
    }
    let stand = told.place.stand;
    let (phase, progress) = (stand.phase().name(), stand.progress());
    let status = Status { phase, progress, message: &told.message, estimated_seconds_left };
    Event { name: "status", id, data: serde_json::to_string(&status).unwrap_or_default() }
}

impl Source for Launch {
    async fn next(&mut self, now: Timestamp) -> Result<Next, StoreError> {
        let told = match self.begin {
            Some((most, since)) => self.begin(most, since).await?,
            None if self.complete => Vec::new(),
            None => self.go_on().await?,
        };
        if !told.is_empty() {
            return Ok(Next::Events(self.events(told, now).await));
        }
        Ok(self.done().await?.map_or(Next::Events(Vec::new()), |done| Next::Last(vec![done])))
    }

    fn failed(&self) -> Event {
        self.error("The log cannot be read at the moment: come back with the last event's id")
    }
}
