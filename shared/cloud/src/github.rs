//! People's public keys, from GitHub or what stands in for it.

use std::time::Duration;

use async_trait::async_trait;
use domain::{names::GithubName, policy::MOST_KEYS, ssh::PublicKey};
use reqwest::{Client, StatusCode, redirect::Policy};

use crate::{People, PeopleError};

/// More text than anybody's keys have is not read.
const LONGEST_BODY: usize = 64 * 1024;
/// A caller waits for this.
const WITHIN: Duration = Duration::from_secs(5);

/// Asks `URL/NAME.keys`.
#[derive(Clone, Debug)]
pub struct GithubKeys {
    http: Client,
    base: String,
}

impl GithubKeys {
    /// For the directory at `base`, which has no slash at its end.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(base: &str) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .timeout(WITHIN)
            // The answer is let in by SSH, so it must come from where we asked.
            .redirect(Policy::none())
            .build()?;
        Ok(Self { http, base: base.to_owned() })
    }
}

#[async_trait]
impl People for GithubKeys {
    async fn keys_of(&self, name: &GithubName) -> Result<Vec<PublicKey>, PeopleError> {
        let unavailable = |error: reqwest::Error| PeopleError::Unavailable(error.without_url().to_string());
        let url = format!("{}/{}.keys", self.base, name.as_str());
        let mut answer = self.http.get(url).send().await.map_err(unavailable)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(PeopleError::Unknown),
            other => return Err(PeopleError::Unavailable(format!("it answered with status {}", other.as_u16()))),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unavailable)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_BODY {
                return Err(PeopleError::Unavailable("its answer is too long".to_owned()));
            }
        }
        Ok(PublicKey::parse_many(&String::from_utf8_lossy(&body), MOST_KEYS))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, extract::Path, response::Redirect, routing::get};

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

    async fn directory(Path(file): Path<String>) -> Result<String, StatusCode> {
        match file.as_str() {
            "one.keys" => Ok(format!("{KEY} comment\nnonsense\n")),
            "many.keys" => Ok(format!("{KEY}\n").repeat(60)),
            "none.keys" => Ok(String::new()),
            "long.keys" => Ok("x".repeat(LONGEST_BODY + 1)),
            "ill.keys" => Err(StatusCode::INTERNAL_SERVER_ERROR),
            _ => Err(StatusCode::NOT_FOUND),
        }
    }

    async fn directory_at() -> String {
        let router = Router::new()
            .route("/{file}", get(directory))
            .route("/moved.keys", get(|| async { Redirect::to("/one.keys") }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    #[tokio::test]
    async fn what_each_answer_means() {
        let people = GithubKeys::new(&directory_at().await).unwrap();
        let ask = async |name: &str| people.keys_of(&GithubName::parse(name).unwrap()).await.map(|keys| keys.len());
        assert_eq!(ask("one").await, Ok(1));
        assert_eq!(ask("many").await, Ok(50));
        assert_eq!(ask("none").await, Ok(0));
        assert_eq!(ask("nobody").await, Err(PeopleError::Unknown));
        for name in ["long", "ill", "moved"] {
            assert!(matches!(ask(name).await, Err(PeopleError::Unavailable(_))), "{name}");
        }
        let nowhere = GithubKeys::new("http://127.0.0.1:1").unwrap();
        let error = nowhere.keys_of(&GithubName::parse("one").unwrap()).await.unwrap_err();
        assert!(matches!(error, PeopleError::Unavailable(_)), "{error}");
    }
}
