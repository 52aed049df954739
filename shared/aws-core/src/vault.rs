//! Sealing with keys that KMS wraps.
//!
//! A sealed text is `k1.WRAPPED.SEALED`: the data key as KMS wrapped it, in base64, and the text as [`KeyVault`] seals it with that key
//! (AES-256-GCM, the tenant, the row and the purpose as associated data, a derived key for each text). KMS unwraps a key only for the
//! tenant that it was made for, which is its encryption context; the associated data binds what KMS does not know of. The same binding
//! holds for keys that are at hand already: each is remembered with its tenant.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_kms::{Client, operation::decrypt::DecryptError, types::DataKeySpec};
use aws_smithy_types::Blob;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use cloud::{Clock, Ids, KeyVault, SealContext, Vault, VaultError};
use domain::{Secret, TenantId, Timestamp};
use zeroize::Zeroizing;

use crate::errors::{quietly, words};

/// What a sealed text begins with.
const FORMAT: &str = "k1.";
/// The encryption context's one name. IAM policies can name it: `kms:EncryptionContext:slipway:tenant`.
const TENANT: &str = "slipway:tenant";
/// A data key seals and opens for this long, so that what is revoked in KMS is soon of no use.
const KEY_LIFE: Duration = Duration::from_secs(5 * 60);
/// The most texts that one data key seals.
const MOST_SEALS: u32 = 1_000;
/// How many unwrapped keys a process keeps.
const MOST_OPENED: usize = 100;
/// The longest wrapped key that KMS takes, in bytes (KMS API reference, `Decrypt`).
const LONGEST_WRAPPED: usize = 6_144;

/// A data key: as KMS wrapped it, and in use. The key itself is wiped when the last use of it ends.
#[derive(Clone)]
struct DataKey {
    wrapped: Arc<str>,
    vault: Arc<KeyVault>,
}

/// A tenant's key that new texts are sealed with.
struct Sealing {
    key: DataKey,
    since: Timestamp,
    seals: u32,
}

/// A key that was unwrapped, or made, not long ago.
struct Opened {
    tenant: TenantId,
    key: DataKey,
    since: Timestamp,
}

/// The keys that a process has at hand.
#[derive(Default)]
struct Keys {
    sealing: BTreeMap<TenantId, Sealing>,
    /// The one used last is last.
    opened: VecDeque<Opened>,
}

impl Keys {
    /// Forgets, and so wipes, what has been at hand for too long.
    fn forget(&mut self, now: Timestamp) {
        self.sealing.retain(|_, sealing| now.since(sealing.since) < KEY_LIFE);
        self.opened.retain(|opened| now.since(opened.since) < KEY_LIFE);
    }

    /// The key that a text of `tenant` is sealed with, if it has seals left. Each call counts as one.
    fn sealing_key(&mut self, tenant: &TenantId) -> Option<DataKey> {
        let sealing = self.sealing.get_mut(tenant).filter(|sealing| sealing.seals < MOST_SEALS)?;
        sealing.seals += 1;
        Some(sealing.key.clone())
    }

    fn opened_key(&mut self, tenant: &TenantId, wrapped: &str) -> Option<DataKey> {
        let at = self.opened.iter().position(|one| one.tenant == *tenant && *one.key.wrapped == *wrapped)?;
        let used = self.opened.remove(at)?;
        let key = used.key.clone();
        self.opened.push_back(used);
        Some(key)
    }

    fn remember(&mut self, tenant: &TenantId, key: DataKey, now: Timestamp) {
        if self.opened.len() >= MOST_OPENED {
            self.opened.pop_front();
        }
        self.opened.push_back(Opened { tenant: tenant.clone(), key, since: now });
    }
}

/// A vault over one KMS key.
pub struct KmsVault {
    client: Client,
    key_id: String,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    keys: Mutex<Keys>,
}

impl KmsVault {
    /// A vault over the symmetric KMS key with this ARN.
    #[must_use]
    pub fn new(client: Client, key_id: impl Into<String>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { client, key_id: key_id.into(), clock, ids, keys: Mutex::default() }
    }

    /// The keys that are at hand now. What a panic left behind is still a list of whole keys.
    fn keys(&self, now: Timestamp) -> MutexGuard<'_, Keys> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.forget(now);
        keys
    }

    fn data_key(&self, wrapped: &str, plain: Option<Blob>) -> Result<DataKey, VaultError> {
        let plain = Zeroizing::new(plain.map(Blob::into_inner).unwrap_or_default());
        let mut key = Zeroizing::new([0; 32]);
        if plain.len() != key.len() {
            tracing::error!(bytes = plain.len(), "kms.not_a_data_key");
            return Err(VaultError::Unavailable);
        }
        key.copy_from_slice(&plain);
        Ok(DataKey { wrapped: wrapped.into(), vault: Arc::new(KeyVault::new(*key, self.ids.clone())) })
    }

    async fn make(&self, tenant: &TenantId) -> Result<DataKey, VaultError> {
        let request = self.client.generate_data_key().key_id(&self.key_id).key_spec(DataKeySpec::Aes256);
        let answer = quietly(request.encryption_context(TENANT, tenant.as_str()).send()).await;
        let made = answer.map_err(|error| unavailable(&words(&error)))?;
        let wrapped = made.ciphertext_blob.ok_or_else(|| unavailable("a data key without its wrapping"))?;
        self.data_key(&STANDARD_NO_PAD.encode(wrapped), made.plaintext)
    }

    async fn unwrap(&self, tenant: &TenantId, wrapped: &str) -> Result<DataKey, VaultError> {
        let bytes = STANDARD_NO_PAD.decode(wrapped).map_err(|_malformed| VaultError::Forged)?;
        if bytes.is_empty() || bytes.len() > LONGEST_WRAPPED {
            return Err(VaultError::Forged);
        }
        // Naming the key keeps KMS from unwrapping with any other key that the wrapped one may name.
        let request = self.client.decrypt().key_id(&self.key_id).ciphertext_blob(Blob::new(bytes));
        match quietly(request.encryption_context(TENANT, tenant.as_str()).send()).await {
            Ok(opened) => self.data_key(wrapped, opened.plaintext),
            Err(error) => Err(match error.as_service_error() {
                Some(DecryptError::InvalidCiphertextException(_) | DecryptError::IncorrectKeyException(_)) => {
                    VaultError::Forged
                }
                _ => unavailable(&words(&error)),
            }),
        }
    }
}

fn unavailable(why: &str) -> VaultError {
    tracing::warn!(why, "kms.unavailable");
    VaultError::Unavailable
}

#[async_trait]
impl Vault for KmsVault {
    async fn seal(&self, context: &SealContext, text: &Secret) -> Result<String, VaultError> {
        let (now, tenant) = (self.clock.now(), &context.tenant);
        let at_hand = self.keys(now).sealing_key(tenant);
        let key = match at_hand {
            Some(key) => key,
            None => {
                // Two at once may make a key each, of which one is kept: a call too many, and no harm.
                let key = self.make(tenant).await?;
                let mut keys = self.keys(now);
                keys.remember(tenant, key.clone(), now);
                keys.sealing.insert(tenant.clone(), Sealing { key: key.clone(), since: now, seals: 1 });
                key
            }
        };
        Ok(format!("{FORMAT}{}.{}", key.wrapped, key.vault.seal(context, text).await?))
    }

    async fn open(&self, context: &SealContext, sealed: &str) -> Result<Secret, VaultError> {
        let (now, tenant) = (self.clock.now(), &context.tenant);
        let parts = sealed.strip_prefix(FORMAT).and_then(|rest| rest.split_once('.'));
        let (wrapped, text) = parts.ok_or(VaultError::Forged)?;
        let at_hand = self.keys(now).opened_key(tenant, wrapped);
        let key = match at_hand {
            Some(key) => key,
            None => {
                let key = self.unwrap(tenant, wrapped).await?;
                self.keys(now).remember(tenant, key.clone(), now);
                key
            }
        };
        key.vault.open(context, text).await
    }
}
