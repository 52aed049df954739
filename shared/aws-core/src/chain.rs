//! Credentials for a process that lives longer than they do: found by the SDK's default chain where the process runs, and found again
//! when they end.

use std::{fmt, sync::Arc};

use aws_config::BehaviorVersion;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use cloud::Clock;

use crate::{Environment, Sdk, sdk::https};

/// There are no credentials to be had here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no AWS credentials are found here: give the task or the pod a role ({0})")]
pub struct NoCredentials(String);

/// Where credentials come from, and the first of them.
pub struct Chain {
    provider: SharedCredentialsProvider,
    first: Credentials,
    region: Option<String>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Chain {
    /// Looks in the environment, in profiles, at a web identity, at the container's endpoint and at the instance's, in this order (SDK
    /// reference guide, "Credential provider chain").
    ///
    /// # Errors
    /// When none of them has any.
    pub async fn find() -> Result<Self, NoCredentials> {
        let loaded = aws_config::defaults(BehaviorVersion::latest()).http_client(https()).load().await;
        let provider = loaded.credentials_provider().ok_or_else(|| NoCredentials("there is no chain".to_owned()))?;
        // What a provider says of a failure names files and endpoints, and no credentials.
        let first = provider.provide_credentials().await.map_err(|error| NoCredentials(error.to_string()))?;
        Ok(Self { provider, first, region: loaded.region().map(ToString::to_string) })
    }

    /// What was found, under the names of the variables in which Lambda would give it ([`Environment::read`]).
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        match name {
            "AWS_REGION" => self.region.clone(),
            "AWS_ACCESS_KEY_ID" => Some(self.first.access_key_id().to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(self.first.secret_access_key().to_owned()),
            "AWS_SESSION_TOKEN" => self.first.session_token().map(str::to_owned),
            _ => None,
        }
    }

    /// Clients whose credentials are asked of the chain again before they end.
    #[must_use]
    pub fn sdk(&self, environment: Environment, clock: Arc<dyn Clock>) -> Sdk {
        Sdk::new(environment, clock).asking(self.provider.clone())
    }
}
