//! People's public keys.

use async_trait::async_trait;
use domain::{names::GithubName, ssh::PublicKey};

/// No keys were had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeopleError {
    /// Nobody has this name.
    #[error("GitHub knows no user of that name")]
    Unknown,
    /// The directory could not be asked; it may be later.
    #[error("GitHub cannot be reached: {0}")]
    Unavailable(String),
}

/// Where people publish their SSH keys: GitHub's `/NAME.keys`.
#[async_trait]
pub trait People: Send + Sync {
    /// Somebody's keys, at most [`domain::policy::MOST_KEYS`]; empty for somebody who has published none.
    ///
    /// # Errors
    /// When nobody has that name, or the directory cannot be asked.
    async fn keys_of(&self, name: &GithubName) -> Result<Vec<PublicKey>, PeopleError>;
}
