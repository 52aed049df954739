//! SSH public keys: parsed, never passed on as text (trap T15).

use serde::{Deserialize, Serialize};

/// A public key as `type base64`: options such as `command=` and the comment are dropped, so nothing of the text that somebody sent
/// survives but the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(String);

/// The text is no SSH public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an SSH public key: give one line such as 'ssh-ed25519 AAAA... name'")]
pub struct NotAKey;

impl PublicKey {
    /// Longer text is refused unread: the largest key that anybody uses (RSA 16384) takes under 3 KB.
    const LONGEST: usize = 8 * 1024;

    /// Reads one line in OpenSSH's format: Ed25519, ECDSA, RSA and both kinds of security key.
    ///
    /// # Errors
    /// When the text is not exactly one such line.
    pub fn parse(line: &str) -> Result<Self, NotAKey> {
        let line = line.trim();
        if line.len() > Self::LONGEST || line.contains(['\n', '\r', '\0']) {
            return Err(NotAKey);
        }
        let mut key = ssh_key::PublicKey::from_openssh(line).map_err(|_unreadable| NotAKey)?;
        key.set_comment("");
        key.to_openssh().map(Self).map_err(|_unwritable| NotAKey)
    }

    /// The keys in what GitHub answers for `/NAME.keys`: one a line, at most `most`; lines that are no keys are passed over.
    #[must_use]
    pub fn parse_many(text: &str, most: usize) -> Vec<Self> {
        text.lines().filter_map(|line| Self::parse(line).ok()).take(most).collect()
    }

    /// The key as `type base64`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublicKey {
    type Error = NotAKey;

    fn try_from(text: String) -> Result<Self, NotAKey> {
        Self::parse(&text)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJFojX6izLI4MOEsHmtgpHww5Lt23xAraDqkVObhpifHipfjtklEtsGcrFEq0P7Q47JZbmB4cHtcbnupOOj8q7k=";
    const SK: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAICFo/k5LU8863u66YC9eUO2170QduohPURkQnbLa/dczAAAABHNzaDo=";

    #[test]
    fn keys_lose_all_but_the_key() {
        for key in [ED25519, ECDSA, SK] {
            assert_eq!(PublicKey::parse(key).unwrap().as_str(), key);
            assert_eq!(PublicKey::parse(&format!("  {key} me@host; rm -rf / \n")).unwrap().as_str(), key);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let options = format!("command=\"id\" {ED25519}");
        let two = format!("{ED25519}\n{ED25519}");
        let long = format!("ssh-rsa {}", "A".repeat(9000));
        for text in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "hello world", &options, &two, &long, "ssh-ed25519 \0"] {
            assert_eq!(PublicKey::parse(text), Err(NotAKey), "{text}");
        }
        assert_eq!(PublicKey::parse_many(&format!("{ED25519}\nnonsense\n\n{SK}\n{ECDSA}"), 2).len(), 2);
    }
}
