//! Model servers that answer by a script.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::world::{Port, State, World};
use crate::{Answer, Clock, PortError, Question, Upstream, UpstreamError, Upstreams};

/// What a model server answers.
#[derive(Clone, Debug)]
pub struct Script {
    /// The status.
    pub status: StatusCode,
    /// What its body is.
    pub content_type: &'static str,
    /// The body, bit by bit.
    pub chunks: Vec<Bytes>,
    /// How long it takes until it begins to answer.
    pub first: Duration,
    /// How long each bit takes.
    pub pause: Duration,
    /// The connection breaks when the last bit was sent.
    pub breaks: bool,
}

impl Script {
    /// An answer in one piece, at once.
    #[must_use]
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let (first, pause) = (Duration::ZERO, Duration::ZERO);
        Self { status, content_type: "application/json", chunks: vec![body.into()], first, pause, breaks: false }
    }

    /// A stream of events, each of them a chunk, with a pause before it.
    #[must_use]
    pub fn events(events: &[&str], pause: Duration) -> Self {
        let chunks = events.iter().map(|event| Bytes::from(format!("data: {event}\n\n"))).collect();
        Self { content_type: "text/event-stream", chunks, pause, ..Self::json(StatusCode::OK, "") }
    }
}

type Answers = Arc<dyn Fn(&Question) -> Script + Send + Sync>;

/// A model server.
#[derive(Clone)]
pub(super) struct Server {
    answers: Answers,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

#[async_trait]
impl Upstreams for Port {
    async fn ask(&self, upstream: &Upstream, question: Question) -> Result<Answer, UpstreamError> {
        let effect = |state: &mut State, _when| {
            let server = state.servers.get(upstream).cloned();
            if server.is_some() {
                state.asked.push((upstream.clone(), question.clone()));
            }
            Ok::<_, PortError>(server)
        };
        let server = self.0.call("upstreams.ask", effect).await.map_err(|error| match error {
            PortError::Throttled => UpstreamError::NotReached(error.to_string()),
            PortError::Unavailable(_) => UpstreamError::Broken(error.to_string()),
        })?;
        let Some(server) = server else { return Err(UpstreamError::NotReached("nobody listens".to_owned())) };
        let script = (server.answers)(&question);
        if !script.first.is_zero() {
            self.sleep(script.first).await;
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(script.content_type));
        let broken = script.breaks.then(|| Err(UpstreamError::Broken("the connection broke".to_owned())));
        let bits = script.chunks.into_iter().map(Ok).chain(broken).collect::<VecDeque<_>>();
        let (world, pause) = (Self(self.0.clone()), script.pause);
        let body = stream::unfold((world, bits), move |(world, mut bits)| async move {
            let bit = bits.pop_front()?;
            if !pause.is_zero() {
                world.sleep(pause).await;
            }
            Some((bit, (world, bits)))
        });
        Ok(Answer { status: script.status, headers, body: body.boxed() })
    }
}

impl World {
    /// A model server answers there from now on.
    pub fn serve(&self, upstream: Upstream, answers: impl Fn(&Question) -> Script + Send + Sync + 'static) {
        self.state().servers.insert(upstream, Server { answers: Arc::new(answers) });
    }

    /// Nobody answers there any more.
    pub fn close(&self, upstream: &Upstream) {
        self.state().servers.remove(upstream);
    }

    /// What model servers were asked, in the order in which they were.
    #[must_use]
    pub fn asked(&self) -> Vec<(Upstream, Question)> {
        self.state().asked.clone()
    }
}
