//! A connection, and whoever asks on it, polled together.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Asked;
use crate::Upstream;

/// A node of ours that does not take a connection within this is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// So often the two sides of a connection are gone on with in one turn. Whoever has more to do comes again.
const ROUNDS: usize = 16;

/// Why there is no answer.
pub(super) enum Unsent {
    /// Nothing of it was sent.
    Back(Box<Asked>, String),
    /// It may have been.
    Failed(String),
}

/// A connection.
pub(super) struct Connection {
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
    driver: http1::Connection<TokioIo<TcpStream>, BoxBody<Bytes, Infallible>>,
    turn: Arc<Turn>,
    is_over: bool,
}

impl Connection {
    /// A new one.
    pub(super) async fn open(upstream: &Upstream) -> Result<Self, String> {
        let connecting = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(&upstream.0)).await;
        let stream =
            connecting.map_err(|_late| "it takes no connection in time".to_owned())?.map_err(|why| words(&why))?;
        stream.set_nodelay(true).map_err(|why| words(&why))?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|why| words(&why))?;
        Ok(Self { sender, driver, turn: Arc::default(), is_over: false })
    }

    /// Asks on it.
    pub(super) async fn send(&mut self, request: Asked) -> Result<Response<Incoming>, Unsent> {
        let mut asking = pin!(self.sender.try_send_request(request));
        let (turn, driver, is_over) = (&self.turn, &mut self.driver, &mut self.is_over);
        let answered = poll_fn(|cx| turn.poll(cx, (&mut *driver, &mut *is_over), |cx| asking.as_mut().poll(cx)));
        answered.await.map_err(|mut error| {
            let why = words(error.error());
            match error.take_message() {
                Some(request) => Unsent::Back(Box::new(request), why),
                None => Unsent::Failed(why),
            }
        })
    }

    /// What comes next of a body.
    pub(super) fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let (turn, driver, is_over) = (&self.turn, &mut self.driver, &mut self.is_over);
        let frame = turn.poll(cx, (driver, is_over), |cx| Pin::new(&mut *body).poll_frame(cx));
        frame.map(|frame| frame.map(|frame| frame.map_err(|why| words(&why))))
    }

    /// Whether something may be asked on it, after it lay there for a while.
    pub(super) async fn is_good(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.is_still_good(cx))).await
    }

    /// Whether something more may be asked on it.
    pub(super) fn is_still_good(&mut self, cx: &mut Context<'_>) -> bool {
        let (turn, driver, is_over) = (&self.turn, &mut self.driver, &mut self.is_over);
        // Nothing is waited for: the connection alone is gone on with.
        let nothing: Poll<()> = turn.poll(cx, (driver, is_over), |_| Poll::Pending);
        nothing.is_pending() && !self.is_over && self.sender.is_ready()
    }
}

/// Tells wakes of one side by the other, which are seen to at once, from those of the network, which are for the task.
#[derive(Default)]
struct Turn {
    task: AtomicWaker,
    is_going: AtomicBool,
    again: AtomicBool,
}

impl Turn {
    /// Goes on with the connection and with what is `wanted` of it, until neither can go on by itself.
    fn poll<T, D: Future + Unpin>(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        (driver, is_over): (&mut D, &mut bool),
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.task.register(cx.waker());
        let waker = Waker::from(Arc::clone(self));
        let mut inner = Context::from_waker(&waker);
        self.is_going.store(true, SeqCst);
        let mut found = Poll::Pending;
        for _ in 0..ROUNDS {
            self.again.store(false, SeqCst);
            found = wanted(&mut inner);
            if found.is_ready() {
                break;
            }
            if !*is_over {
                *is_over = Pin::new(&mut *driver).poll(&mut inner).is_ready();
                // Whoever waits for something learns that nothing will come.
                self.again.fetch_or(*is_over, SeqCst);
            }
            if !self.again.load(SeqCst) {
                break;
            }
        }
        self.is_going.store(false, SeqCst);
        if found.is_pending() && self.again.swap(false, SeqCst) {
            self.task.wake();
        }
        found
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.again.store(true, SeqCst);
        if !self.is_going.load(SeqCst) {
            self.task.wake();
        }
    }
}

/// An error with what it came from.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
