//! Stored cloud credentials: a tenant's own keys to AWS, Azure or Google Cloud, with which its workloads run in its own account.
//!
//! A credential's row holds what may be shown; the keys themselves ([`CloudKeys`]) lie sealed beside it. Each decision takes the
//! credential as it is and gives it as it is to be, or a refusal; nothing is changed until the store has written it under the condition
//! that the version is still the one that was decided upon.

mod keys;
mod verdict;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use keys::{AwsKeys, AzureKeys, BadKeys, CloudKeys, GcpKeys, Mistake, fields};
pub use verdict::{Complaint, Fault, Silence, Verdict};

use crate::{
    TenantId, Timestamp,
    ids::{NotAnId, uuid_v7},
    names::Label,
};

/// How many credentials one tenant may have.
pub const MOST_CREDENTIALS: u32 = 100;

/// What stands before the UUID of a credential's id (checklist K9).
const PREFIX: &str = "cred-";

/// A cloud that keys can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Amazon Web Services.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Cloud.
    Gcp,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 3] = [Self::Aws, Self::Azure, Self::Gcp];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
        }
    }

    /// The provider of this name; `None` when it is none of ours.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == text)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What identifies a credential, written `cred-UUID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialId(Uuid);

impl CredentialId {
    /// A new id from the instant of its making and random bytes; both come from ports.
    #[must_use]
    pub fn new(at: Timestamp, random: &[u8; 32]) -> Self {
        Self(uuid_v7(at, random))
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0.hyphenated())
    }
}

impl FromStr for CredentialId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let id = text.strip_prefix(PREFIX).and_then(|uuid| Uuid::try_parse(uuid).ok()).map(Self).ok_or(NotAnId)?;
        // One thing has one address: of a UUID's spellings only ours is an id.
        if id.to_string() == text { Ok(id) } else { Err(NotAnId) }
    }
}

impl TryFrom<String> for CredentialId {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<CredentialId> for String {
    fn from(id: CredentialId) -> Self {
        id.to_string()
    }
}

/// One credential: all of it but the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The cloud that its keys are for; it stays.
    pub provider: Provider,
    /// What its owner calls it.
    pub name: Label,
    /// Grows by one with each change, the counting of uses included.
    pub version: u64,
    /// Grows by one with each replacement of the keys: a verdict is about the keys that were asked about, and no others.
    pub keys_version: u64,
    /// Whether it is what launches take that name no credential. It is a row of its own in the store, so that a tenant has one default
    /// a provider however many ask at once.
    #[serde(skip)]
    pub is_default: bool,
    /// What the provider said last about these keys; none while it has said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_valid: Option<bool>,
    /// Whose the keys are in the provider's words: an account, a directory or a project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_validated_at: Option<Timestamp>,
    /// What was wrong when it was last asked, with the keys or with the asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complaint: Option<Complaint>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When its owner last changed it, or the provider was last asked.
    pub updated_at: Timestamp,
    /// How many live workloads run with it: without it they could not be ended.
    pub uses: u64,
}

/// A credential as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialChange {
    /// As it was when this was decided; none for a new one.
    pub before: Option<Credential>,
    /// As it is to be.
    pub credential: Credential,
}

impl CredentialChange {
    /// Whether the keys are new, so that sealed ones have to be written with the change.
    #[must_use]
    pub fn has_new_keys(&self) -> bool {
        self.before.as_ref().is_none_or(|before| before.keys_version != self.credential.keys_version)
    }
}

/// A credential that somebody asks to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its id.
    pub id: CredentialId,
    /// Whose it is to be.
    pub tenant: TenantId,
    /// The cloud that its keys are for.
    pub provider: Provider,
    /// Its name.
    pub name: Label,
    /// Whether launches that name none are to take it.
    pub is_default: bool,
}

/// What an owner changes; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Another name.
    pub name: Option<Label>,
    /// Whether it is the default from now on.
    pub is_default: Option<bool>,
    /// Whether other keys come with it. Nothing is known of those yet.
    pub new_keys: bool,
}

/// Why a credential is not changed, in words for its owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialRefusal {
    /// Something runs in the account that it opens: without it nobody could end that.
    #[error("{0} live workloads run with this credential: end them first")]
    InUse(u64),
    /// Its keys were replaced while the provider was asked about the old ones.
    #[error("The keys were replaced while they were being validated: validate again")]
    Replaced,
}

impl Asked {
    /// The credential as it begins: nobody has been asked about it.
    #[must_use]
    pub fn create(self, now: Timestamp) -> CredentialChange {
        let Self { id, tenant, provider, name, is_default } = self;
        let credential = Credential {
            id,
            tenant,
            provider,
            name,
            version: 1,
            keys_version: 1,
            is_default,
            is_valid: None,
            account: None,
            last_validated_at: None,
            complaint: None,
            created_at: now,
            updated_at: now,
            uses: 0,
        };
        CredentialChange { before: None, credential }
    }
}

impl Credential {
    fn changed(&self, now: Timestamp, edit: impl FnOnce(&mut Self)) -> CredentialChange {
        let mut credential = self.clone();
        credential.version += 1;
        credential.updated_at = now;
        edit(&mut credential);
        CredentialChange { before: Some(self.clone()), credential }
    }

    /// As its owner wants it. What was known about the old keys is forgotten with them.
    #[must_use]
    pub fn update(&self, update: Update, now: Timestamp) -> CredentialChange {
        let Update { name, is_default, new_keys } = update;
        self.changed(now, |next| {
            next.name = name.unwrap_or_else(|| self.name.clone());
            next.is_default = is_default.unwrap_or(self.is_default);
            if new_keys {
                next.keys_version += 1;
                (next.is_valid, next.account, next.last_validated_at, next.complaint) = (None, None, None, None);
            }
        })
    }

    /// As what launches take from now on that name no credential.
    #[must_use]
    pub fn make_default(&self, now: Timestamp) -> CredentialChange {
        self.changed(now, |next| next.is_default = true)
    }

    /// With what the provider said about its keys of version `keys_version`. A provider that could not be asked has said nothing:
    /// what it said before stands.
    ///
    /// # Errors
    /// When the keys are others by now.
    pub fn validated(
        &self,
        keys_version: u64,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<CredentialChange, CredentialRefusal> {
        if self.keys_version != keys_version {
            return Err(CredentialRefusal::Replaced);
        }
        Ok(self.changed(now, |next| {
            next.complaint = verdict.complaint();
            match verdict {
                Verdict::Valid { account } => {
                    next.account = Some(account.clone());
                    (next.is_valid, next.last_validated_at) = (Some(true), Some(now));
                }
                Verdict::Invalid(_) => (next.is_valid, next.last_validated_at) = (Some(false), Some(now)),
                Verdict::Unreachable(_) => {}
            }
        }))
    }

    /// Whether it may go.
    ///
    /// # Errors
    /// When something runs with it.
    pub fn deletable(&self) -> Result<(), CredentialRefusal> {
        if self.uses == 0 { Ok(()) } else { Err(CredentialRefusal::InUse(self.uses)) }
    }

    /// What is wrong with it, as its owner is told: the class, a colon, and a sentence.
    #[must_use]
    pub fn validation_error(&self) -> Option<String> {
        self.complaint.map(|complaint| complaint.told(self.provider))
    }
}

#[cfg(test)]
mod tests;
