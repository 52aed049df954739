//! Who AWS credentials belong to.

use async_trait::async_trait;
use domain::{Secret, identity::AwsCaller};

use crate::{Presigned, Rejected};

/// The three parts of temporary AWS credentials. They are used for one question and then forgotten.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// `ASIA...` for temporary ones.
    pub access_key_id: Secret,
    /// The secret key.
    pub secret_access_key: Secret,
    /// The session token.
    pub session_token: Secret,
}

/// The identity service did not vouch for the credentials, or for the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// They are nobody's: wrong, expired or malformed.
    #[error("the credentials were refused")]
    Refused,
    /// It was not asked, because the request cannot be right.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// It could not be asked.
    #[error("the identity service is unavailable")]
    Unavailable,
}

/// The identity service: STS `GetCallerIdentity` on AWS.
#[async_trait]
pub trait Identity: Send + Sync {
    /// Whose these credentials are.
    ///
    /// # Errors
    /// When they are nobody's, or the service cannot be asked.
    async fn caller(&self, credentials: &AwsCredentials) -> Result<AwsCaller, IdentityError>;

    /// Whose presigned request this is. It says so as often as it is asked: that a request is used once is for whoever asks to see
    /// ([`Presigned::nonce`]).
    ///
    /// # Errors
    /// When it is nobody's, too old, or signed for another server; or when the service cannot be asked.
    async fn presigned_caller(&self, presigned: &Presigned) -> Result<AwsCaller, IdentityError>;
}
