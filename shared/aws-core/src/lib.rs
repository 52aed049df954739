//! The ports over SQS, Step Functions, STS, Secrets Manager and KMS.
//!
//! Each port is one file: what is sent, and what each answer means. Nothing here decides anything about workloads. **Invariants:** no
//! client asks anybody anything when it is made, so that a cold start makes no call; time and randomness come from the `Clock` and
//! `Ids` ports, the SDK's own waiting included; what carries a secret is sent with the SDK's logging turned off, at every level.
//!
//! `tests.rs` holds the contracts: what goes over the wire, byte for byte where it matters, and what each recorded answer becomes.

#[cfg(feature = "chain")]
pub mod chain;
pub mod eks_token;
pub mod errors;
pub mod identity;
pub mod launches;
pub mod queue;
#[cfg(any(test, feature = "replay"))]
pub mod replay;
pub mod sdk;
pub mod secrets;
mod signing;
pub mod vault;

#[cfg(test)]
mod tests;

#[cfg(feature = "chain")]
pub use chain::{Chain, NoCredentials};
pub use eks_token::{EksToken, eks_token};
pub use errors::port_error;
pub use identity::StsIdentity;
pub use launches::StateMachine;
pub use queue::SqsQueue;
pub use sdk::{Environment, Sdk, client_config};
pub use secrets::{ReadSecrets, ServiceSecret, ServiceSecrets};
pub use signing::CannotSign;
pub use vault::KmsVault;
