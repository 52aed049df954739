//! An answer on its way to the caller: passed on as it comes, watched, and settled once, however it ends.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use cloud::{UpstreamError, upstreams};
use domain::{
    MessageId, TenantId, Timestamp,
    limits::{Demand, Standing},
    metering::{Metered, Tokens},
    names::ModelName,
    price::Price,
};
use http_body::Frame;
use store::{Plane, limits::Reservation, memory::Busy};

use crate::{
    piece::Piece,
    request_body::Most,
    watch::{Usage, Watch},
};

/// Nothing comes for so long: then nothing will.
const IDLE: Duration = Duration::from_secs(120);
/// So often a process that nobody else looks after renews what it has leased, while an answer lasts.
const TURN: Duration = Duration::from_secs(20);
/// No answer takes longer: our functions end a little later.
const LONGEST: Duration = Duration::from_secs(600);
/// The status that is written down where the caller went away, as nginx has it.
const GONE_AWAY: u16 = 499;
/// What is said in the place of the rest of a stream that broke.
const BROKEN: &[u8] = b"data: {\"error\":{\"message\":\"The model's server broke off\",\"type\":\"server_error\",\"param\":null,\"code\":\"model_server_failed\"}}\n\n";

/// Whose request it is, and what it may have taken.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) request: MessageId,
    pub(crate) tenant: TenantId,
    pub(crate) key: String,
    pub(crate) model: ModelName,
    /// What a million tokens cost that are read, and that are written.
    pub(crate) prices: (Price, Price),
    pub(crate) most: Most,
    pub(crate) begun: Timestamp,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an answer took, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Took {
    input: u64,
    cached: u64,
    output: u64,
}

/// A request that was let in: what was reserved for it is settled once, however it ends.
pub(crate) struct Ticket {
    plane: Plane,
    account: Account,
    /// `None` when it is settled.
    reservations: Option<Vec<Reservation>>,
}

impl Ticket {
    pub(crate) fn new(plane: &Plane, account: Account, reservations: Vec<Reservation>) -> Self {
        Self { plane: plane.clone(), account, reservations: Some(reservations) }
    }

    /// How each limit stands.
    pub(crate) fn standings(&self, now: Timestamp) -> Vec<Standing> {
        self.reservations.iter().flatten().flat_map(|reservation| reservation.standings(now)).collect()
    }

    /// Nobody served it: it has used nothing (invariant I22).
    pub(crate) async fn refused(mut self) {
        let mut reservations = self.reservations.take().unwrap_or_default();
        let now = self.plane.ports.clock.now();
        reservations.iter_mut().for_each(|reservation| reservation.settle(&Demand::default(), now));
        self.plane.finish(&reservations).await;
    }

    /// Settles what was reserved and writes down what was used; gives what is left to be written, the first time.
    fn settle(&mut self, took: Took, (status, first): (u16, Option<Timestamp>)) -> Option<Waiting> {
        let mut reservations = self.reservations.take()?;
        let now = self.plane.ports.clock.now();
        let Account { request, tenant, key, model, prices, begun, .. } = &self.account;
        let Took { input, cached, output } = took;
        let cost_micros = prices.0.of_tokens(input).saturating_add(prices.1.of_tokens(output));
        let used = Demand { requests: 1, tokens: input.saturating_add(output), micros: cost_micros };
        reservations.iter_mut().for_each(|reservation| reservation.settle(&used, now));
        let millis = |at: Timestamp| u32::try_from(at.since(*begun).as_millis()).unwrap_or(u32::MAX);
        let record = Metered {
            request: *request,
            at: now,
            key: key.clone(),
            model: model.clone(),
            tokens: Tokens { input, cached, output, cost_micros },
            first_ms: millis(first.unwrap_or(now)),
            total_ms: millis(now),
            status,
        };
        self.plane.record(tenant, record);
        let plane = self.plane.clone();
        Some(Box::pin(async move { plane.finish(&reservations).await }))
    }
}

impl Drop for Ticket {
    /// The caller went away before the answer began: its prompt was read all the same.
    fn drop(&mut self) {
        let took = Took { input: self.account.most.input, ..Took::default() };
        let finishing = self.settle(took, (GONE_AWAY, None));
        leave_behind(&self.plane, finishing);
    }
}

/// Writes what is to be written after whoever asked for it has gone. Where no runtime is there to do it, the next request does.
fn leave_behind(plane: &Plane, finishing: Option<Waiting>) {
    if let (Some(finishing), false, Ok(runtime)) = (finishing, plane.is_kept(), tokio::runtime::Handle::try_current()) {
        runtime.spawn(finishing);
    }
}

/// The body of an answer.
pub(crate) struct Relay {
    plane: Plane,
    /// `None` when it is over: dropping it ends what is being computed.
    body: Option<upstreams::Body>,
    busy: Option<Busy>,
    watch: Watch,
    is_events: bool,
    ticket: Ticket,
    first: Option<Timestamp>,
    heard: Timestamp,
    idle: Waiting,
    /// What is renewed meanwhile.
    tending: Option<Waiting>,
    /// What is written when all has been passed on.
    finishing: Option<Waiting>,
    /// What broke the answer, once what came before has been passed on.
    broken: Option<UpstreamError>,
    status: u16,
}

impl Relay {
    pub(crate) fn new(
        (answer, status): (upstreams::Body, u16),
        (watch, is_events): (Watch, bool),
        busy: Busy,
        ticket: Ticket,
    ) -> Self {
        let plane = ticket.plane.clone();
        let heard = plane.ports.clock.now();
        Self {
            body: Some(answer),
            busy: Some(busy),
            watch,
            is_events,
            ticket,
            first: None,
            heard,
            idle: pause(&plane, TURN),
            tending: None,
            finishing: None,
            broken: None,
            status,
            plane,
        }
    }

    /// Settles what was reserved by what passed. What is being computed for nobody ends here.
    fn settle(&mut self, status: u16) -> Option<Waiting> {
        (self.body, self.busy) = (None, None);
        let most = &self.ticket.account.most;
        let guess = Took { input: most.input, cached: 0, output: self.watch.guess().min(most.output) };
        let said = |usage: Usage| Took { input: usage.input, cached: usage.cached(), output: usage.output };
        let took = self.watch.usage().map_or(guess, said);
        self.ticket.settle(took, (status, self.first))
    }

    /// Settles, and has written what is to be written before the answer ends.
    fn finish(&mut self, status: u16) {
        let finishing = self.settle(status);
        self.finishing = finishing.or_else(|| self.finishing.take());
    }

    /// Goes on with what is renewed.
    fn tend(&mut self, cx: &mut Context<'_>) {
        if self.tending.as_mut().is_some_and(|tending| tending.as_mut().poll(cx).is_ready()) {
            self.tending = None;
        }
    }

    /// Whether the server has said nothing for too long, or gone on for too long.
    fn is_too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        while self.idle.as_mut().poll(cx).is_ready() {
            let now = self.plane.ports.clock.now();
            let left = IDLE.saturating_sub(now.since(self.heard));
            let left = left.min(LONGEST.saturating_sub(now.since(self.ticket.account.begun)));
            if left.is_zero() {
                return true;
            }
            self.idle = pause(&self.plane, left.min(TURN));
            if self.tending.is_none() && !self.plane.is_kept() {
                let plane = self.plane.clone();
                self.tending = Some(Box::pin(async move { plane.tend_memory().await }));
            }
        }
        false
    }

    fn came(&mut self, bytes: Bytes) -> Bytes {
        self.heard = self.plane.ports.clock.now();
        self.first.get_or_insert(self.heard);
        self.watch.pass(bytes)
    }

    /// Takes what is there, and waits for nothing; true when nothing more will come.
    fn gather(&mut self, piece: &mut Piece, cx: &mut Context<'_>) -> bool {
        while !piece.is_enough() {
            let Some(body) = &mut self.body else { return true };
            match body.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => piece.add(self.came(bytes)),
                Poll::Ready(Some(Err(why))) => {
                    self.broken = Some(why);
                    return true;
                }
                Poll::Ready(None) => {
                    piece.add(self.watch.end());
                    let status = self.status;
                    self.finish(status);
                    return true;
                }
                Poll::Pending => return false,
            }
        }
        false
    }

    /// The end of an answer that is not whole.
    fn broke(&mut self, why: &UpstreamError) -> Option<Result<Frame<Bytes>, io::Error>> {
        tracing::warn!(%why, model = self.ticket.account.model.as_str(), "inference.broken_off");
        if let Some(busy) = &self.busy {
            busy.failed(self.plane.ports.clock.now());
        }
        self.finish(502);
        // Whoever reads events is told; whoever reads one piece finds that it has no end.
        if self.is_events {
            Some(Ok(Frame::data(Bytes::from_static(BROKEN))))
        } else {
            Some(Err(io::Error::other("the model's server broke off")))
        }
    }
}

fn pause(plane: &Plane, pause: Duration) -> Waiting {
    let clock = Arc::clone(&plane.ports.clock);
    Box::pin(async move { clock.sleep(pause).await })
}

impl http_body::Body for Relay {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let relay = self.get_mut();
        if let Some(why) = relay.broken.take() {
            return Poll::Ready(relay.broke(&why));
        }
        if let Some(finishing) = &mut relay.finishing {
            ready!(finishing.as_mut().poll(cx));
            relay.finishing = None;
            return Poll::Ready(None);
        }
        relay.tend(cx);
        let mut piece = Piece::default();
        let is_over = relay.gather(&mut piece, cx);
        if !piece.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(piece.take()))));
        }
        if is_over {
            // What is to be written before the answer ends is gone on with, or what broke it is told.
            let goes_on = relay.finishing.is_some() || relay.broken.is_some();
            return if goes_on { Pin::new(relay).poll_frame(cx) } else { Poll::Ready(None) };
        }
        if relay.is_too_slow(cx) {
            return Poll::Ready(relay.broke(&UpstreamError::Broken("nothing came for too long".to_owned())));
        }
        // What has just begun is to be polled once, so that it is woken.
        relay.tend(cx);
        Poll::Pending
    }
}

impl Drop for Relay {
    /// The caller has gone, or has all of it and did not wait for the end.
    fn drop(&mut self) {
        let is_whole = self.watch.is_whole();
        if is_whole && self.body.is_some() {
            self.watch.end();
        }
        let finishing = self.settle(if is_whole { self.status } else { GONE_AWAY });
        leave_behind(&self.plane, finishing.or_else(|| self.finishing.take()));
    }
}
