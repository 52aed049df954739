//! Model servers over HTTP/1.1, which is what they speak, by one pool of connections.
//!
//! A connection is driven by whoever asks on it, and by no task of its own: what was read together goes on together, and nobody has to be
//! woken in between. A stream of 200 events takes half the CPU that it takes with a task for each connection.

mod connection;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderValue, Method, Request, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Answer, Question, Upstream, UpstreamError, Upstreams};
use connection::{Connection, Unsent};

/// Connections are kept for so long after their last use, and so many to each server.
const KEPT_FOR: Duration = Duration::from_secs(60);
const KEPT: usize = 256;

type Asked = Request<BoxBody<Bytes, Infallible>>;

/// Asks by HTTP/1.1. Clones have the same connections.
#[derive(Clone, Default)]
pub struct HttpUpstreams {
    pool: Arc<Pool>,
}

/// Connections on which nobody asks at the moment, the last used last.
#[derive(Default)]
struct Pool(Mutex<HashMap<Upstream, Vec<(Instant, Connection)>>>);

impl Pool {
    /// The connection to a server that was used last.
    fn take(&self, upstream: &Upstream) -> Option<Connection> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, connection) = pool.get_mut(upstream)?.pop()?;
        if since.elapsed() < KEPT_FOR {
            return Some(connection);
        }
        // All others are older.
        pool.remove(upstream);
        None
    }

    /// Keeps a connection for whoever asks next.
    fn give(&self, upstream: Upstream, connection: Connection) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !pool.contains_key(&upstream) {
            // Servers come and go.
            pool.retain(|_, kept| kept.last().is_some_and(|(since, _)| since.elapsed() < KEPT_FOR));
        }
        let kept = pool.entry(upstream).or_default();
        if kept.len() < KEPT {
            kept.push((Instant::now(), connection));
        }
    }
}

impl HttpUpstreams {
    /// With no connection yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    async fn send(&self, upstream: &Upstream, request: Asked) -> Result<Answer, UpstreamError> {
        let mut request = request;
        while let Some(mut connection) = self.pool.take(upstream) {
            if !connection.is_good().await {
                continue;
            }
            match connection.send(request).await {
                Ok(answer) => return Ok(self.answer(upstream, answer, connection)),
                // The server closed it while it lay there: what was not sent on it is sent on another.
                Err(Unsent::Back(again, _)) => request = *again,
                Err(Unsent::Failed(why)) => return Err(UpstreamError::Broken(why)),
            }
        }
        let mut connection = Connection::open(upstream).await.map_err(UpstreamError::NotReached)?;
        match connection.send(request).await {
            Ok(answer) => Ok(self.answer(upstream, answer, connection)),
            Err(Unsent::Back(_, why)) => Err(UpstreamError::NotReached(why)),
            Err(Unsent::Failed(why)) => Err(UpstreamError::Broken(why)),
        }
    }

    fn answer(&self, upstream: &Upstream, answer: http::Response<Incoming>, connection: Connection) -> Answer {
        let (parts, body) = answer.into_parts();
        let home = (Arc::clone(&self.pool), upstream.clone());
        let body = Reading { body, on: Some((connection, home)) };
        Answer { status: parts.status, headers: parts.headers, body: Box::pin(body) }
    }
}

impl fmt::Debug for HttpUpstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUpstreams").finish_non_exhaustive()
    }
}

#[async_trait]
impl Upstreams for HttpUpstreams {
    async fn ask(&self, upstream: &Upstream, question: Question) -> Result<Answer, UpstreamError> {
        let Question { path, headers, body } = question;
        let unsayable = |error: http::Error| UpstreamError::NotReached(error.to_string());
        let host = HeaderValue::from_str(&upstream.0).map_err(|error| unsayable(error.into()))?;
        let length = body.iter().map(Bytes::len).sum::<usize>();
        let parts = stream::iter(body.into_iter().map(|part| Ok(Frame::data(part))));
        let body = StreamBody::new(parts).boxed();
        let mut request = Request::builder().method(Method::POST).uri(path).body(body).map_err(unsayable)?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        self.send(upstream, request).await
    }
}

/// A body that is being read. Dropped before its end, it takes the connection with it, and so what is computed for it.
struct Reading {
    body: Incoming,
    /// The connection, and where it goes at the end; `None` when it has.
    on: Option<(Connection, (Arc<Pool>, Upstream))>,
}

impl Stream for Reading {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reading = self.get_mut();
        loop {
            let Some((connection, _)) = &mut reading.on else { return Poll::Ready(None) };
            match connection.poll_body(&mut reading.body, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing to anybody.
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Poll::Ready(Some(Err(why))) => {
                    reading.on = None;
                    return Poll::Ready(Some(Err(UpstreamError::Broken(why))));
                }
                Poll::Ready(None) => {
                    if let Some((mut connection, (pool, upstream))) = reading.on.take()
                        && connection.is_still_good(cx)
                    {
                        pool.give(upstream, connection);
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}
