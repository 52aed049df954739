//! Model servers over HTTP, by one pool of connections.

use std::{convert::Infallible, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use http::{Method, Request, Uri, header};
use http_body::Frame;
use http_body_util::{BodyDataStream, BodyExt, StreamBody, combinators::BoxBody};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{Answer, Question, Upstream, UpstreamError, Upstreams};

/// A node of ours that does not take a connection within this is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Connections are kept for so long after their last use, and so many to each server.
const KEPT_FOR: Duration = Duration::from_secs(60);
const KEPT: usize = 256;

/// Asks by HTTP/1.1, which is what model servers speak.
#[derive(Clone, Debug)]
pub struct HttpUpstreams {
    client: Client<HttpConnector, BoxBody<Bytes, Infallible>>,
}

impl HttpUpstreams {
    /// With no connection yet.
    #[must_use]
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(KEPT_FOR).pool_max_idle_per_host(KEPT);
        // A connection that the server closed while it lay in the pool: what was not sent on it is sent on another.
        builder.retry_canceled_requests(true).set_host(true);
        Self { client: builder.build(connector) }
    }
}

impl Default for HttpUpstreams {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Upstreams for HttpUpstreams {
    async fn ask(&self, upstream: &Upstream, question: Question) -> Result<Answer, UpstreamError> {
        let Question { path, headers, body } = question;
        let unsayable = |error: http::Error| UpstreamError::NotReached(error.to_string());
        let uri = Uri::builder()
            .scheme("http")
            .authority(upstream.0.as_str())
            .path_and_query(path)
            .build()
            .map_err(unsayable)?;
        let length = body.iter().map(Bytes::len).sum::<usize>();
        let parts = stream::iter(body.into_iter().map(|part| Ok(Frame::data(part))));
        let body = StreamBody::new(parts).boxed();
        let mut request = Request::builder().method(Method::POST).uri(uri).body(body).map_err(unsayable)?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        let (parts, body) = self.client.request(request).await.map_err(failed)?.into_parts();
        let body = BodyDataStream::new(body).map_err(|error| UpstreamError::Broken(words(&error)));
        Ok(Answer { status: parts.status, headers: parts.headers, body: Box::pin(body) })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is mapped over")]
fn failed(error: Error) -> UpstreamError {
    let words = words(&error);
    if error.is_connect() { UpstreamError::NotReached(words) } else { UpstreamError::Broken(words) }
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
