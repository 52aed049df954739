//! Model servers, which are asked by HTTP: the way from the gateway to what runs on a node.
//!
//! Who is asked is said by a fleet, never by a caller. Nothing is followed that an answer points to, and nothing is kept of what passes.

#[cfg(feature = "upstreams")]
mod http;

use std::{fmt, pin::Pin};

use ::http::{HeaderMap, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

#[cfg(feature = "upstreams")]
pub use self::http::HttpUpstreams;

/// Where a model server answers, as its fleet said: a host and a port, as in `10.0.3.7:8000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upstream(pub String);

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a model server is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The path.
    pub path: &'static str,
    /// The headers; the length is not among them.
    pub headers: HeaderMap,
    /// The body, in parts that are sent one after the other.
    pub body: Vec<Bytes>,
}

/// What a model server answers; its body comes bit by bit. Dropping it ends the connection, and so what is being computed for it.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

/// A body as it comes.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, UpstreamError>> + Send>>;

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no answer, or no more of it. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Nobody was reached: nothing was asked, and somebody else may be.
    #[error("not reached: {0}")]
    NotReached(String),
    /// The connection broke, and what was asked may have been done.
    #[error("broken off: {0}")]
    Broken(String),
}

/// The way to model servers.
#[async_trait]
pub trait Upstreams: Send + Sync {
    /// Asks one; comes back with the beginning of its answer. Dropping the call ends what was asked.
    ///
    /// # Errors
    /// When it is not reached within a few seconds, or breaks off before it answers. How long an answer may take is for the caller to say.
    async fn ask(&self, upstream: &Upstream, question: Question) -> Result<Answer, UpstreamError>;
}
