//! The control plane, as the agent calls it.

use std::{
    sync::{PoisonError, RwLock},
    time::Duration,
};

use domain::{
    Secret,
    agent::{Bye, Enroll, Enrolled, LogBatch, Report, Synced},
};
use reqwest::{Client, Response, StatusCode, redirect::Policy};
use serde::{Serialize, de::DeserializeOwned};

use crate::AgentError;

/// Why a call was not answered as it should have been.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The control plane does not know this agent, or not any more: asking again does not help.
    #[error("refused with status {0}")]
    Refused(u16),
    /// It could not be reached, or is in trouble: asking again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// The connection to the control plane, with the session secret that is current.
#[derive(Debug)]
pub(crate) struct Plane {
    http: Client,
    base: String,
    session: RwLock<Secret>,
}

impl Plane {
    /// A client for the control plane at `base`, with the secret that the agent has made for itself.
    pub(crate) fn new(base: &str, session: Secret) -> Result<Self, AgentError> {
        let mut http = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            // The session secret goes where we were told to send it and nowhere else.
            .redirect(Policy::none());
        let host = base.split_once("://").map_or(base, |(_scheme, rest)| rest);
        if ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local)) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(AgentError::Http)?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), session: RwLock::new(session) })
    }

    /// From now on the session is this one.
    pub(crate) fn rotate(&self, session: Secret) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    pub(crate) async fn enroll(&self, token: &Secret, enroll: &Enroll) -> Result<Enrolled, CallError> {
        json(self.post("enroll", token, enroll).await?).await
    }

    pub(crate) async fn sync(&self, report: &Report) -> Result<Synced, CallError> {
        json(self.post("sync", &self.session(), report).await?).await
    }

    pub(crate) async fn logs(&self, batch: &LogBatch) -> Result<(), CallError> {
        self.post("logs", &self.session(), batch).await.map(drop)
    }

    pub(crate) async fn bye(&self, bye: &Bye) -> Result<(), CallError> {
        self.post("bye", &self.session(), bye).await.map(drop)
    }

    fn session(&self) -> Secret {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn post<T: Serialize + Sync>(&self, call: &str, bearer: &Secret, body: &T) -> Result<Response, CallError> {
        let request = self.http.post(format!("{}/agent/v1/{call}", self.base)).bearer_auth(bearer.reveal()).json(body);
        let answer = request.send().await.map_err(|error| CallError::Unavailable(chain(&error)))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::CONFLICT
            | StatusCode::GONE => Err(CallError::Refused(answer.status().as_u16())),
            status => Err(CallError::Unavailable(format!("status {status}"))),
        }
    }
}

async fn json<T: DeserializeOwned>(answer: Response) -> Result<T, CallError> {
    answer.json().await.map_err(|error| CallError::Unavailable(chain(&error)))
}

/// An error with its causes: a bare `reqwest` error says that something failed, but not what.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Pauses between attempts: each twice the one before, from 200 ms to 5 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(200).saturating_mul(2_u32.saturating_pow(self.attempts));
        self.attempts = self.attempts.saturating_add(1);
        pause.min(Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stop_growing() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    }
}
