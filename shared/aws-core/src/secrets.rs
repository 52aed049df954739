//! The service's own few secrets, in one secret of Secrets Manager.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use cloud::{Clock, InstallationSecrets, PortError, Secrets};
use domain::{Secret, SecretHash, Timestamp, identity::LoginTable};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::errors::{quietly, words};

/// How long what was read is good.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);
/// When a refresh failed, or is under way, the next one is this far off.
const RETRIED_AFTER: Duration = Duration::from_secs(30);

/// What the secret says, as JSON with these names. Each must be there: a misspelt one would turn a check off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServiceSecret {
    /// The SHA-256 of the admin's token; the token itself is with the admin.
    pub admin_token_sha256: SecretHash,
    /// What signs the admin's sessions.
    pub jwt_secret: Secret,
    /// What CloudFront adds to each request, so that nobody goes around it.
    pub origin_secret: Secret,
    /// Which AWS roles may log in.
    pub login_table: LoginTable,
}

/// The secret was never read, and cannot be now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// Secrets Manager did not give it.
    #[error("the service's secret cannot be read: {0}")]
    Unavailable(String),
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
    secret: Arc<ServiceSecret>,
    /// It is read again from then on.
    until: Timestamp,
}

/// Reads the secret when it is first asked for, and every five minutes when it is asked for again. A secret that cannot be read again stays as it
/// was: an outage of Secrets Manager is none of ours.
pub struct ServiceSecrets {
    client: Client,
    secret_id: String,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
}

impl ServiceSecrets {
    /// The secret with this ARN. Nothing is read yet.
    #[must_use]
    pub fn new(client: Client, secret_id: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self { client, secret_id: secret_id.into(), clock, held: Mutex::default() }
    }

    /// What the secret says.
    ///
    /// # Errors
    /// When it has never been read, and cannot be now.
    pub async fn current(&self) -> Result<Arc<ServiceSecret>, SecretsError> {
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

    async fn read(&self) -> Result<ServiceSecret, SecretsError> {
        let answer = quietly(self.client.get_secret_value().secret_id(&self.secret_id).send()).await;
        let answer = answer.map_err(|error| SecretsError::Unavailable(words(&error)))?;
        let text = Zeroizing::new(answer.secret_string.unwrap_or_default());
        serde_json::from_str(&text)
            .map_err(|error| SecretsError::Malformed { line: error.line(), column: error.column() })
    }
}

#[async_trait]
impl Secrets for ServiceSecrets {
    async fn current(&self) -> Result<Arc<InstallationSecrets>, PortError> {
        let secret = Self::current(self).await.map_err(|error| PortError::Unavailable(error.to_string()))?;
        Ok(Arc::new(InstallationSecrets {
            admin_token: secret.admin_token_sha256.clone(),
            login: secret.login_table.clone(),
            origin: Some(secret.origin_secret.clone()),
            jwt: Some(secret.jwt_secret.clone()),
        }))
    }
}
