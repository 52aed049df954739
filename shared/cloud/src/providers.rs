//! Asking a cloud whether somebody's keys to it are good.

#[cfg(feature = "providers")]
mod http;

use async_trait::async_trait;
use domain::credential::{CloudKeys, Verdict};

#[cfg(feature = "providers")]
pub use http::{HttpProviders, ProviderUrls};

/// The clouds that tenants store keys for: STS `GetCallerIdentity` at AWS, the token endpoints of Azure and Google.
///
/// Asking changes nothing there, and what is given out for it (a token) is dropped at once.
#[async_trait]
pub trait Providers: Send + Sync {
    /// Asks the keys' own provider about them. It says what is so, or that nobody could be asked: no answer of a provider is an error of
    /// ours.
    async fn check(&self, keys: &CloudKeys) -> Verdict;
}
