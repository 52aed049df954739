//! An HTTP client that answers from a list and keeps what it was asked, for contract tests of what goes over the wire.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use cloud::Clock;
use domain::Timestamp;

/// One answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status and a body.
    Body(u16, String),
    /// No answer in time: it is not known whether the request had an effect.
    Timeout,
    /// No connection.
    Unreachable,
}

impl Answer {
    /// A success with this body.
    #[must_use]
    pub fn ok(body: impl Into<String>) -> Self {
        Self::Body(200, body.into())
    }

    /// A refusal as the JSON protocols word it.
    #[must_use]
    pub fn json_error(status: u16, code: &str) -> Self {
        Self::Body(status, serde_json::json!({"__type": code, "message": "recorded"}).to_string())
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The whole address.
    pub uri: String,
    /// The headers, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Asked {
    /// A header's value, empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Tape {
    answers: VecDeque<Answer>,
    asked: Vec<Asked>,
}

/// The client. Its copies share one list; a request beyond the list's end fails.
#[derive(Clone, Debug, Default)]
pub struct Replay(Arc<Mutex<Tape>>);

impl Replay {
    /// Answers with `answers`, in this order.
    #[must_use]
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let replay = Self::default();
        replay.then(answers);
        replay
    }

    /// Answers with these, too, when what it has is used up.
    pub fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        self.tape().answers.extend(answers);
    }

    /// Everything that was asked since this was last called.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.tape().asked)
    }

    /// How many answers are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.tape().answers.len()
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpConnector for Replay {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let headers = request.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        let (method, uri) = (request.method().to_owned(), request.uri().to_owned());
        let mut tape = self.tape();
        tape.asked.push(Asked { method, uri, headers: headers.collect(), body });
        HttpConnectorFuture::ready(match tape.answers.pop_front() {
            Some(Answer::Body(status, body)) => StatusCode::try_from(status)
                .map(|status| HttpResponse::new(status, SdkBody::from(body)))
                .map_err(|error| ConnectorError::user(error.into())),
            Some(Answer::Timeout) => Err(ConnectorError::timeout("recorded time-out".into())),
            Some(Answer::Unreachable) => Err(ConnectorError::io("recorded refusal of a connection".into())),
            None => Err(ConnectorError::user("nothing is recorded for this request".into())),
        })
    }
}

impl HttpClient for Replay {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// When each contract test begins: 2026-01-20T18:30:00Z.
pub const NOW: Timestamp = Timestamp::from_seconds(1_768_933_800);

/// A clock that moves only when it is told to: whoever waits has waited at once.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that shows [`NOW`].
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(NOW.millis())))
    }

    /// Lets `time` go by.
    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, _pause: Duration) {}
}
