//! The settings of the fleet over EKS, and its tokens.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_core::{Sdk, eks_token};
use aws_eks::{Cluster, Settings, Token, Tokens, connect};
use cloud::{Clock, PortError};
use runtime::Config;

use crate::variables::{SettingsError, Variables};

/// By this the fleet is turned on.
const SWITCH: &str = "EKS_CLUSTER";

/// A cluster, and what tokens for it say.
pub(crate) struct Named {
    name: String,
    cluster: Cluster,
}

/// The settings; `None` where there is no fleet over EKS.
pub(crate) fn settings(config: &Config, variables: &Variables<'_>) -> Result<Option<(Named, Settings)>, SettingsError> {
    let Some(name) = variables.optional(SWITCH) else { return Ok(None) };
    let needed = |name| variables.needed(name, SWITCH);
    let cluster = Cluster { endpoint: needed("EKS_ENDPOINT")?, authority: Some(needed("EKS_AUTHORITY")?) };
    let (namespace, image) = (needed("EKS_NAMESPACE")?, needed("EKS_AGENT_IMAGE")?);
    let settings = Settings {
        longest_life: Duration::from_secs(u64::from(config.policy.longest_hours) * 3600),
        disks: zone(variables).is_some(),
        ..Settings::new(&namespace, &needed("DEPLOYMENT")?, &needed("PLANE_URL")?, &image)
    };
    Ok(Some((Named { name, cluster }, settings)))
}

/// The zone of the nodes that jobs with disks run on; `None` where jobs have none.
pub(crate) fn zone(variables: &Variables<'_>) -> Option<String> {
    variables.optional("EKS_ZONE")
}

/// A client of the cluster's API server.
pub(crate) async fn client(named: &Named, settings: &Settings, sdk: &Sdk) -> Result<aws_eks::Client, SettingsError> {
    let tokens = Arc::new(Signed { cluster: named.name.clone(), sdk: sdk.clone() });
    let clock: Arc<dyn Clock> = Arc::clone(sdk.clock());
    let connected = connect(&named.cluster, &settings.namespace, tokens, clock).await;
    connected.map_err(|error| SettingsError::Unusable("EKS_ENDPOINT or EKS_AUTHORITY", error.to_string()))
}

/// Tokens that the function signs with its own role's credentials, without a call.
struct Signed {
    cluster: String,
    sdk: Sdk,
}

#[async_trait]
impl Tokens for Signed {
    async fn token(&self) -> Result<Token, PortError> {
        let aws = self.sdk.environment();
        let signed = eks_token(&aws.credentials, &aws.region, &self.cluster, self.sdk.clock().now());
        let token = signed.map_err(|error| PortError::Unavailable(error.to_string()))?;
        Ok(Token { bearer: token.text, expires_at: token.good_until })
    }
}
