//! The installation's own few secrets.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Secret, SecretHash, identity::LoginTable};

use crate::PortError;

/// The installation's own secrets, as they are now.
#[derive(Clone, Debug)]
pub struct InstallationSecrets {
    /// The hash of the admin's token; the token itself is with the admin.
    pub admin_token: SecretHash,
    /// Which AWS roles may log in, and to which tenant.
    pub login: LoginTable,
    /// What the edge adds to each request, so that nobody goes around it; `None` where there is no edge.
    pub origin: Option<Secret>,
    /// What signs the admin's sessions, on the surfaces that have them.
    pub jwt: Option<Secret>,
    /// The hash of the service token, with which operators' tools look at clusters; `None` where nobody may.
    pub service_token: Option<SecretHash>,
}

/// Where the installation's secrets are kept: Secrets Manager on AWS, the settings of one machine.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The secrets as they are now: what was changed is seen within minutes, without a restart.
    ///
    /// # Errors
    /// When they have never been read, and cannot be now.
    async fn current(&self) -> Result<Arc<InstallationSecrets>, PortError>;
}

/// Secrets that do not change while the process lives.
#[derive(Clone, Debug)]
pub struct FixedSecrets(pub Arc<InstallationSecrets>);

#[async_trait]
impl Secrets for FixedSecrets {
    async fn current(&self) -> Result<Arc<InstallationSecrets>, PortError> {
        Ok(Arc::clone(&self.0))
    }
}
