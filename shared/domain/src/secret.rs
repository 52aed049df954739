//! Secrets as types that cannot print, and the hashes that are kept in their place.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Text that must never reach a log line, an error or a metric.
///
/// It has no `Display`, its `Debug` prints a placeholder, and it is wiped when dropped. It serialises as the plain text, because
/// the few wire types that carry a secret (a login's answer, what an agent is told) must: keep it out of every other type.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. Each call site is a place where it could leak: there should be few.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The SHA-256 of the secret, which is what is stored.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.reveal().as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A SHA-256 in lower-case hexadecimal: of a key, a token or a request.
///
/// For secrets of 256 random bits a plain hash is enough: there is nothing to guess, so nothing to slow down.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash(String);

/// The text is no hash: an agent's, or anybody's who sends one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give a SHA-256 in 64 lower-case hexadecimal digits")]
pub struct NotAHash;

impl TryFrom<String> for SecretHash {
    type Error = NotAHash;

    fn try_from(text: String) -> Result<Self, NotAHash> {
        Self::parse(&text).ok_or(NotAHash)
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        hash.0
    }
}

impl SecretHash {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }

    /// Reads 64 hexadecimal digits, as an agent sends them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hash.then(|| Self(text.to_owned()))
    }

    /// The hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares without giving away, by the time it takes, how much of the hash was right.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
    }

    #[test]
    fn hashes_are_sha256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(SecretHash::of(b"").as_str(), empty);
        assert!(SecretHash::parse(empty).is_some_and(|read| read.matches(&SecretHash::of(b""))));
        assert_eq!(SecretHash::parse(&empty.to_uppercase()), None);
        assert_eq!(SecretHash::parse("abc"), None);
        assert_eq!(SecretHash::try_from("abc".to_owned()), Err(NotAHash), "nor is it read from a body or a row");
    }
}
