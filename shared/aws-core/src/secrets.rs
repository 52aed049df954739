//! The service's own few secrets, in two secrets of Secrets Manager: one that is written from the template's parameters, and one that is made up
//! once and that the edge knows too. In one, a changed parameter would make up the other part anew, and shut the edge out.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use cloud::{Clock, InstallationSecrets, PortError, Secrets};
use domain::{Secret, SecretHash, Timestamp, identity::LoginTable};
use futures::future::try_join;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::errors::{quietly, words};

/// How long what was read is good.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);
/// When a refresh failed, or is under way, the next one is this far off.
const RETRIED_AFTER: Duration = Duration::from_secs(30);

/// What the service's secret says, as JSON with these names. Another name is refused: a misspelt one would turn a check off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSecret {
    /// The SHA-256 of the admin's token; the token itself is with the admin.
    pub admin_token_sha256: SecretHash,
    /// What signs the admin's sessions, where there are any.
    pub jwt_secret: Option<Secret>,
    /// The SHA-256 of the service token, where operators' tools may look at clusters.
    pub service_token_sha256: Option<SecretHash>,
    /// Which AWS roles may log in.
    pub login_table: LoginTable,
}

/// Both secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSecrets {
    /// The service's.
    pub service: ServiceSecret,
    /// What CloudFront adds to each request, so that nobody goes around it.
    pub origin: Secret,
}

/// The secret was never read, and cannot be now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// Secrets Manager did not give it.
    #[error("the service's secret cannot be read: {0}")]
    Unavailable(String),
    /// The origin's secret is empty, and would keep nobody out.
    #[error("the origin's secret is empty")]
    Empty,
    /// It is not the JSON that it should be. What it is instead is not said: that would be the secret.
    #[error("the service's secret is not JSON of the right form, at line {line}, column {column}")]
    Malformed {
        /// The line, counting from 1.
        line: usize,
        /// The column, counting from 1.
        column: usize,
    },
}

struct Held {
    secret: Arc<ReadSecrets>,
    /// It is read again from then on.
    until: Timestamp,
}

/// Reads the secrets when they are first asked for, and every five minutes when they are asked for again. A secret that cannot be read again stays as it
/// was: an outage of Secrets Manager is none of ours.
pub struct ServiceSecrets {
    client: Client,
    secret_id: String,
    origin_id: String,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
}

impl ServiceSecrets {
    /// The secrets with these ARNs, the service's and the origin's. Nothing is read yet.
    #[must_use]
    pub fn new(
        client: Client,
        (secret_id, origin_id): (impl Into<String>, impl Into<String>),
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { client, secret_id: secret_id.into(), origin_id: origin_id.into(), clock, held: Mutex::default() }
    }

    /// What the secrets say.
    ///
    /// # Errors
    /// When it has never been read, and cannot be now.
    pub async fn current(&self) -> Result<Arc<ReadSecrets>, SecretsError> {
        let now = self.clock.now();
        let old = match &mut *self.held() {
            Some(held) if now < held.until => return Ok(held.secret.clone()),
            Some(held) => {
                // Whoever asks while it is being read again is given the old one, and does not wait.
                held.until = now.plus(RETRIED_AFTER);
                Some(held.secret.clone())
            }
            None => None,
        };
        match (self.read().await, old) {
            (Ok(secret), _) => {
                let secret = Arc::new(secret);
                *self.held() = Some(Held { secret: secret.clone(), until: now.plus(KEPT_FOR) });
                Ok(secret)
            }
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "secrets.refresh_failed");
                Ok(old)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<ReadSecrets, SecretsError> {
        let (service, origin) = try_join(self.text(&self.secret_id), self.text(&self.origin_id)).await?;
        if origin.is_empty() {
            return Err(SecretsError::Empty);
        }
        let malformed =
            |error: serde_json::Error| SecretsError::Malformed { line: error.line(), column: error.column() };
        let service = serde_json::from_str(&service).map_err(malformed)?;
        Ok(ReadSecrets { service, origin: Secret::new(origin.as_str()) })
    }

    async fn text(&self, id: &str) -> Result<Zeroizing<String>, SecretsError> {
        let answer = quietly(self.client.get_secret_value().secret_id(id).send()).await;
        let answer = answer.map_err(|error| SecretsError::Unavailable(words(&error)))?;
        Ok(Zeroizing::new(answer.secret_string.unwrap_or_default()))
    }
}

#[async_trait]
impl Secrets for ServiceSecrets {
    async fn current(&self) -> Result<Arc<InstallationSecrets>, PortError> {
        let secret = Self::current(self).await.map_err(|error| PortError::Unavailable(error.to_string()))?;
        Ok(Arc::new(InstallationSecrets {
            admin_token: secret.service.admin_token_sha256.clone(),
            login: secret.service.login_table.clone(),
            origin: Some(secret.origin.clone()),
            jwt: secret.service.jwt_secret.clone(),
            service_token: secret.service.service_token_sha256.clone(),
        }))
    }
}
