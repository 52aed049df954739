//! The providers over HTTPS. A caller waits for the answer, so that it is asked once, and not for long; nobody is asked but the three
//! providers, at addresses that are ours and not the keys' (invariants, threat 3.4).

mod aws;
mod azure;
mod gcp;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Secret,
    credential::{CloudKeys, Fault, Silence, Verdict},
};
use reqwest::{Client, RequestBuilder, StatusCode, redirect::Policy};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::Providers;
use crate::Clock;

/// More text than any of the answers has is not read.
const LONGEST_ANSWER: usize = 64 * 1024;
/// A caller waits for this.
const WITHIN: Duration = Duration::from_secs(5);

/// Where the providers are asked, each without a slash at its end. The default is where they really are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderUrls {
    /// In the place of every regional STS endpoint.
    pub aws: Option<String>,
    /// Azure's login service.
    pub azure: String,
    /// Google's token service.
    pub gcp: String,
}

impl Default for ProviderUrls {
    fn default() -> Self {
        Self {
            aws: None,
            azure: "https://login.microsoftonline.com".to_owned(),
            gcp: "https://oauth2.googleapis.com".to_owned(),
        }
    }
}

impl ProviderUrls {
    /// Whether no key leaves this machine in the clear, as it may only where a test says so.
    fn are_https(&self) -> bool {
        [self.aws.as_deref().unwrap_or("https:"), &self.azure, &self.gcp].iter().all(|url| url.starts_with("https:"))
    }
}

/// Asks the providers themselves.
pub struct HttpProviders {
    http: Client,
    urls: ProviderUrls,
    clock: Arc<dyn Clock>,
    within: Duration,
}

/// What a provider answered.
struct Answer {
    status: StatusCode,
    /// It may hold a token.
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What an answer means that says nothing about the keys.
    fn says_nothing(&self) -> Verdict {
        let busy = self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS;
        Verdict::Unreachable(if busy { Silence::Busy } else { Silence::StrangeAnswer })
    }
}

impl HttpProviders {
    /// Asks at `urls`; what is signed with a time has that of `clock`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(urls: ProviderUrls, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            // What is sent are somebody's keys: they go where they belong and nowhere else.
            .https_only(urls.are_https())
            .redirect(Policy::none())
            .build()?;
        Ok(Self { http, urls, clock, within: WITHIN })
    }

    /// Asks once.
    async fn ask(&self, request: RequestBuilder) -> Result<Answer, Silence> {
        let silence = |error: reqwest::Error| {
            if error.is_timeout() {
                Silence::Timeout
            } else if error.is_builder() {
                Silence::StrangeAnswer
            } else {
                Silence::NoConnection
            }
        };
        let mut answer = request.timeout(self.within).send().await.map_err(silence)?;
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(silence)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(Silence::StrangeAnswer);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: answer.status(), body })
    }
}

#[async_trait]
impl Providers for HttpProviders {
    async fn check(&self, keys: &CloudKeys) -> Verdict {
        let now = self.clock.now();
        let request = match keys {
            CloudKeys::Aws(keys) => Ok(aws::question(&self.http, self.urls.aws.as_deref(), keys, now)),
            CloudKeys::Azure(keys) => Ok(azure::question(&self.http, &self.urls.azure, keys)),
            CloudKeys::Gcp(keys) => gcp::question(&self.http, &self.urls.gcp, keys, now),
        };
        let verdict = match request {
            Ok(request) => match (self.ask(request).await, keys) {
                (Err(silence), _) => Verdict::Unreachable(silence),
                (Ok(answer), CloudKeys::Aws(_)) => aws::verdict(&answer),
                (Ok(answer), CloudKeys::Azure(keys)) => azure::verdict(&answer, keys),
                (Ok(answer), CloudKeys::Gcp(keys)) => gcp::verdict(&answer, keys),
            },
            Err(gcp::NoKey) => Verdict::Invalid(Fault::Malformed),
        };
        if let Verdict::Unreachable(silence) = &verdict {
            tracing::warn!(provider = keys.provider().name(), ?silence, "provider.unreachable");
        }
        verdict
    }
}

/// A token that was given out; it is wiped when it is dropped, which is at once.
#[derive(serde::Deserialize)]
struct Token {
    #[serde(rename = "access_token")]
    _access_token: Secret,
}

#[cfg(test)]
mod tests;
