//! Sealing what is secret at rest.

use std::sync::Arc;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use domain::{Secret, TenantId};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Ids;

/// What a sealed text belongs to. Opened in any other context it does not decrypt (invariant I20).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealContext {
    /// The tenant that owns the row.
    pub tenant: TenantId,
    /// The row's own id.
    pub row: String,
    /// What the text is for.
    pub purpose: &'static str,
}

impl SealContext {
    /// The context as bytes that no other context has: each part is preceded by its length.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let parts = [self.tenant.as_str(), &self.row, self.purpose];
        parts
            .iter()
            .flat_map(|part| [&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes(), part.as_bytes()].concat())
            .collect()
    }
}

/// A text could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// It was sealed for another context, with another key, or was changed since.
    #[error("sealed text does not open")]
    Forged,
    /// The key service cannot be asked.
    #[error("the key service is unavailable")]
    Unavailable,
}

/// Seals texts, bound to their context.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Seals `text`; the result is printable.
    ///
    /// # Errors
    /// When the key service cannot be asked.
    async fn seal(&self, context: &SealContext, text: &Secret) -> Result<String, VaultError>;

    /// Opens what was sealed in the same context.
    ///
    /// # Errors
    /// When it was not, or the key service cannot be asked.
    async fn open(&self, context: &SealContext, sealed: &str) -> Result<Secret, VaultError>;
}

/// A vault over one key that this process holds: a key file locally, an unwrapped data key of KMS on AWS.
///
/// AES-256-GCM with a fresh key for each text, derived (HKDF, RFC 5869) from the master key and 256 random bits, so that the number of texts under
/// one key never nears the limit of random nonces (NIST SP 800-38D, section 8.3).
pub struct KeyVault {
    master: Zeroizing<[u8; 32]>,
    ids: Arc<dyn Ids>,
}

const SALT: usize = 32;

impl KeyVault {
    /// A vault with this master key.
    #[must_use]
    pub fn new(master: [u8; 32], ids: Arc<dyn Ids>) -> Self {
        Self { master: Zeroizing::new(master), ids }
    }

    fn cipher(&self, salt: &[u8]) -> Result<Aes256Gcm, VaultError> {
        let mut key = Zeroizing::new([0; 32]);
        let derived = Hkdf::<Sha256>::new(Some(salt), &*self.master).expand(b"slipway vault 1", &mut *key);
        derived.map_err(|_too_long| VaultError::Forged)?;
        Ok(Aes256Gcm::new(&(*key).into()))
    }
}

#[async_trait]
impl Vault for KeyVault {
    async fn seal(&self, context: &SealContext, text: &Secret) -> Result<String, VaultError> {
        let salt = self.ids.random();
        let aad = context.bytes();
        let payload = Payload { msg: text.reveal().as_bytes(), aad: &aad };
        // The derived key serves once, so that a constant nonce is a fresh one.
        let sealed = self.cipher(&salt)?.encrypt(&[0; 12].into(), payload).map_err(|_opaque| VaultError::Forged)?;
        Ok(STANDARD_NO_PAD.encode([&salt[..], &sealed].concat()))
    }

    async fn open(&self, context: &SealContext, sealed: &str) -> Result<Secret, VaultError> {
        let bytes = STANDARD_NO_PAD.decode(sealed).map_err(|_malformed| VaultError::Forged)?;
        let (salt, sealed) = bytes.split_at_checked(SALT).ok_or(VaultError::Forged)?;
        let payload = Payload { msg: sealed, aad: &context.bytes() };
        let text = self.cipher(salt)?.decrypt(&[0; 12].into(), payload).map_err(|_opaque| VaultError::Forged)?;
        String::from_utf8(text).map(Secret::new).map_err(|_not_text| VaultError::Forged)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::OsIds;

    #[test]
    fn sealed_texts_open_only_where_they_belong() {
        let context =
            |tenant: &str, row: &str, purpose| SealContext { tenant: TenantId::new(tenant), row: row.into(), purpose };
        let vault = KeyVault::new([1; 32], Arc::new(OsIds));
        let home = context("a", "row", "env");
        let sealed = block_on(vault.seal(&home, &Secret::new("hunter2"))).unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_eq!(block_on(vault.open(&home, &sealed)).unwrap().reveal(), "hunter2");
        for other in [
            context("b", "row", "env"),
            context("a", "row2", "env"),
            context("a", "row", "token"),
            context("ar", "ow", "env"),
        ] {
            assert_eq!(block_on(vault.open(&other, &sealed)), Err(VaultError::Forged));
        }
        let other_key = KeyVault::new([2; 32], Arc::new(OsIds));
        assert_eq!(block_on(other_key.open(&home, &sealed)), Err(VaultError::Forged));
        for broken in ["", "AAAA", &sealed[..sealed.len() - 4], &format!("A{}", &sealed[1..])] {
            assert_eq!(block_on(vault.open(&home, broken)), Err(VaultError::Forged), "{broken}");
        }
    }
}
