//! Streams of server-sent events, as the HTML standard has them: heartbeats, an end before anything on the way would cut them, and a limit
//! on how many one tenant follows at once.
//!
//! What is told comes from a [`Source`], which is asked again and again. All waiting goes through the clock port, and nothing runs but
//! while somebody reads: a stream whose reader is gone is dropped, and its place is given back.

use std::{collections::VecDeque, convert::Infallible, future::Future, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{TenantId, Timestamp, policy};
use http::{HeaderName, HeaderValue, header};
use store::{Plane, Store, StoreError, streams::Lease};

use crate::Error;

/// A quiet stream says so often that it is alive (checklist K19).
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A source that has nothing new is asked again after so long, and then less and less often.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// No stream lasts longer, whatever the policy says: our functions end a little later.
const LONGEST: u32 = 600;
/// What a client waits before it comes back after a break, in milliseconds.
const RETRY_MS: u32 = 1_000;
/// A source that fails so often in a row ends its stream.
const MOST_FAILURES: u32 = 5;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its kind.
    pub name: &'static str,
    /// What `Last-Event-ID` brings back. One line.
    pub id: String,
    /// JSON in one line.
    pub data: String,
}

impl Event {
    fn frame(&self) -> Bytes {
        format!("event: {}\nid: {}\ndata: {}\n\n", self.name, self.id, self.data).into()
    }
}

/// What a source has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These, and perhaps more at once; none when there is nothing new.
    Events(Vec<Event>),
    /// These, and then never anything again.
    Last(Vec<Event>),
}

/// Where a stream's events come from.
pub trait Source: Send + 'static {
    /// What has come since the last time.
    ///
    /// # Errors
    /// When the tables fail: it is asked again later, and is then to give what it did not give now.
    fn next(&mut self, now: Timestamp) -> impl Future<Output = Result<Next, StoreError>> + Send;

    /// The event that ends the stream of a source that keeps failing.
    fn failed(&self) -> Event;
}

/// Follows `source` until it is over, or for as long as the policy allows, and counts among the streams of `tenant` meanwhile.
///
/// # Errors
/// [`Error::TooMany`] when the tenant follows as many streams as it may.
pub async fn follow(plane: &Plane, tenant: &TenantId, source: impl Source) -> Result<Response, Error> {
    let now = plane.ports.clock.now();
    let most = plane.settings.policy.streams_per_tenant;
    let lease = plane.store.open_stream(tenant, most, now).await?;
    let Some(lease) = lease else {
        return Err(Error::TooMany("As many streams are open as one tenant may follow at once: close one", 10));
    };
    let place = Place { store: plane.store.clone(), lease: Some(lease) };
    Ok(respond(Stream::new(plane, source, Some(place), now)))
}

/// Tells what `source` has at the moment, up to its last event. It is to have a last one as soon as it has nothing new.
#[must_use]
pub fn tell(plane: &Plane, source: impl Source) -> Response {
    respond(Stream::new(plane, source, None, plane.ports.clock.now()))
}

fn respond(stream: Stream<impl Source>) -> Response {
    let frames = futures::stream::unfold(stream, async |mut stream| {
        let frame = stream.frame().await?;
        Some((Ok::<_, Infallible>(frame), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies such as nginx would else keep events back until they have a buffer full of them.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

/// A stream's place among its tenant's.
struct Place {
    store: Store,
    lease: Option<Lease>,
}

impl Place {
    async fn give_back(&mut self) {
        if let Some(lease) = self.lease.take()
            && let Err(error) = self.store.close_stream(&lease).await
        {
            tracing::warn!(%error, "stream.place_left_to_its_lease");
        }
    }
}

impl Drop for Place {
    /// The reader has gone. Where no runtime is there to give the place back, it is free when its lease ends.
    fn drop(&mut self) {
        if let (Some(lease), Ok(runtime)) = (self.lease.take(), tokio::runtime::Handle::try_current()) {
            let mut left = Self { store: self.store.clone(), lease: Some(lease) };
            runtime.spawn(async move { left.give_back().await });
        }
    }
}

struct Stream<S> {
    plane: Plane,
    source: S,
    place: Option<Place>,
    waiting: VecDeque<Bytes>,
    /// When it ends by itself.
    until: Timestamp,
    /// When it last said anything.
    spoke: Timestamp,
    /// When its place was last renewed.
    renewed: Timestamp,
    pause: Duration,
    failures: u32,
    over: bool,
}

impl<S: Source> Stream<S> {
    fn new(plane: &Plane, source: S, place: Option<Place>, now: Timestamp) -> Self {
        let seconds = plane.settings.policy.longest_stream_seconds.clamp(1, LONGEST);
        Self {
            plane: plane.clone(),
            source,
            place,
            waiting: [format!("retry: {RETRY_MS}\n\n").into()].into(),
            until: now.plus(Duration::from_secs(seconds.into())),
            spoke: now,
            renewed: now,
            pause: SHORTEST_PAUSE,
            failures: 0,
            over: false,
        }
    }

    /// What is sent next; `None` when the stream ends.
    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            let now = self.plane.ports.clock.now();
            if let Some(frame) = self.waiting.pop_front() {
                self.spoke = now;
                return Some(frame);
            }
            if self.over || now >= self.until || !self.holds_its_place(now).await {
                if let Some(place) = &mut self.place {
                    place.give_back().await;
                }
                return None;
            }
            if now.since(self.spoke) >= HEARTBEAT {
                self.waiting.push_back(Bytes::from_static(b": ping\n\n"));
                continue;
            }
            if self.ask(now).await {
                continue;
            }
            let rest = self.until.since(now).min(self.spoke.plus(HEARTBEAT).since(now));
            self.plane.ports.clock.sleep(self.pause.min(rest)).await;
            self.pause = self.pause.mul_f64(1.5).min(LONGEST_PAUSE);
        }
    }

    /// Asks the source; false when there was nothing new.
    async fn ask(&mut self, now: Timestamp) -> bool {
        let (events, last) = match self.source.next(now).await {
            Ok(Next::Events(events)) => (events, false),
            Ok(Next::Last(events)) => (events, true),
            Err(error) => {
                self.failures += 1;
                tracing::warn!(%error, failures = self.failures, "stream.read_failed");
                if self.failures < MOST_FAILURES {
                    return false;
                }
                (vec![self.source.failed()], true)
            }
        };
        let news = last || !events.is_empty();
        if news {
            self.pause = SHORTEST_PAUSE;
            self.failures = 0;
        }
        self.over = last;
        self.waiting.extend(events.iter().map(Event::frame));
        news
    }

    /// Renews the place when a third of the lease is over; false when another stream has it, because this one was held up for too long.
    async fn holds_its_place(&mut self, now: Timestamp) -> bool {
        let Some(lease) = self.place.as_ref().and_then(|place| place.lease.as_ref()) else { return true };
        if now.since(self.renewed) < policy::STREAM_LEASE / 3 {
            return true;
        }
        match self.plane.store.renew_stream(lease, now).await {
            Ok(held) => {
                self.renewed = now;
                held
            }
            Err(error) => {
                tracing::warn!(%error, "stream.place_not_renewed");
                // It is tried again at the next turn, and others find out whether the lease has ended.
                true
            }
        }
    }
}
