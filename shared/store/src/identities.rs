//! Keys, users, and the answers of idempotent requests.

use domain::{
    KeyId, Secret, SecretHash, TenantId, Timestamp, UserName, WorkloadId, api_key::KeyKind, identity::Member,
    limits::Limits, names::ModelName, policy,
};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError, Table,
    items::{Item, count_of, millis, number, row, text, value},
    tables::TTL,
    tenants::users_pk,
    transaction::{Guard, Lost, Outcome, Transaction},
};

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Holder {
    /// A person.
    User(Member),
    /// A tenant as a whole.
    Tenant(TenantKey),
    /// Whoever may ask one model in a tenant's name.
    Model(ModelKey),
    /// A node that may enroll once.
    Enroll(AgentKey),
    /// A node's session.
    Session(AgentKey),
}

/// What a tenant's key stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The key's own id.
    pub id: KeyId,
}

/// What a model's key stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelKey {
    /// Whose limits and bill it is.
    pub tenant: TenantId,
    /// The only model that it asks.
    pub model: ModelName,
    /// The key's own id.
    pub id: KeyId,
}

/// What a node's token or session is good for: one attempt of one workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentKey {
    /// The workload's tenant.
    pub tenant: TenantId,
    /// The workload.
    pub workload: WorkloadId,
    /// The attempt.
    pub attempt: u32,
    /// For a one-time token, the session that it was spent on: the same session may spend it again, no other may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent_on: Option<SecretHash>,
    /// For a session, the one in whose place it comes, until it is first used: then that one dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<SecretHash>,
}

impl AgentKey {
    /// A key for this attempt of this workload, as yet unused.
    #[must_use]
    pub fn new(tenant: &TenantId, workload: WorkloadId, attempt: u32) -> Self {
        Self { tenant: tenant.clone(), workload, attempt, spent_on: None, replaces: None }
    }
}

/// A key's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Who holds it.
    pub holder: Holder,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// What it may ask of models.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

impl KeyRow {
    /// A key of somebody's, until then.
    #[must_use]
    pub fn new(holder: Holder, expires_at: Timestamp) -> Self {
        Self { holder, expires_at, revoked_at: None, limits: Limits::default() }
    }

    /// Why this key opens nothing at `now`; `None` when it is good. At the very instant of its end it is not (invariant I16).
    #[must_use]
    pub fn refused(&self, now: Timestamp) -> Option<KeyRefusal> {
        // Whoever revoked it may have had a faster clock: that it was revoked is what counts, not when (invariant I17).
        if self.revoked_at.is_some() {
            Some(KeyRefusal::Revoked)
        } else if now >= self.expires_at {
            Some(KeyRefusal::Expired)
        } else {
            None
        }
    }
}

/// Why a known key opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// Its time is over.
    Expired,
    /// It was rotated out, or taken back.
    Revoked,
}

/// A person's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct UserRow {
    user_id: u64,
    created_at: Timestamp,
}

/// An idempotency key that a request claims, with the answer that repetitions are to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The tenant of the caller.
    pub tenant: TenantId,
    /// The hash of caller, operation and key.
    pub key: SecretHash,
    /// The hash of the request's body.
    pub request: SecretHash,
    /// The answer's body; `None` when it held a secret.
    pub answer: Option<String>,
    /// Something new was made, and the answer says so.
    pub made: bool,
    /// What was made or changed.
    pub resource: String,
    /// When it was claimed.
    pub at: Timestamp,
}

/// What is known of a claimed idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The hash of the request's body.
    pub request: SecretHash,
    /// The answer's body; `None` when it held a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Something new was made, and the answer said so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made: bool,
    /// What was made or changed.
    pub resource: String,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

const ONLY: &str = "-";

pub(crate) fn key_pk(hash: &SecretHash) -> String {
    format!("key#{}", hash.as_str())
}

fn claim_pk(tenant: &TenantId, key: &SecretHash) -> String {
    format!("{tenant}#once#{}", key.as_str())
}

fn login_pk(nonce: &SecretHash) -> String {
    format!("login#{}", nonce.as_str())
}

impl Claim {
    /// The error that a lost claim means: whoever asked for something else meanwhile must not be given the winner's answer.
    pub(crate) fn judged(claim: Option<&Self>, error: StoreError) -> StoreError {
        match (claim, error) {
            (Some(claim), StoreError::Claimed(won)) if won.request != claim.request => StoreError::ClaimedOtherwise,
            (_, error) => error,
        }
    }

    pub(crate) fn add_to(&self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        let claimed = Claimed {
            request: self.request.clone(),
            answer: self.answer.clone(),
            made: self.made,
            resource: self.resource.clone(),
            expires_at: self.at.plus(policy::IDEMPOTENCY_TTL),
        };
        let mut item = row((&claim_pk(&self.tenant, &self.key), ONLY), &claimed)?;
        item.insert(TTL.to_owned(), number(claimed.expires_at.seconds()));
        item.insert("good_until".to_owned(), millis(claimed.expires_at));
        // Time to live deletes late, so an answer that is over may still lie there.
        let free = ("attribute_not_exists(pk) OR good_until <= :now", &[(":now", millis(self.at))][..]);
        transaction.put(Guard::Claim, Table::Identity, item, Some(free))
    }
}

impl Lost {
    /// The error that this loss means to whoever wrote.
    pub(crate) fn into_error(self) -> StoreError {
        match self.guard {
            Guard::Version => StoreError::Moved,
            Guard::Room => StoreError::NoRoom,
            Guard::Limit => StoreError::TooManyJobs,
            Guard::DiskLimit => StoreError::TooManyDisks,
            Guard::CredentialLimit => StoreError::TooManyCredentials,
            Guard::Name => StoreError::NameTaken,
            // It was there when this was decided.
            Guard::Snapshot => StoreError::Moved,
            Guard::Claim => match value(self.row) {
                Ok(claimed) => StoreError::Claimed(Box::new(claimed)),
                Err(error) => error,
            },
        }
    }
}

impl Outcome {
    pub(crate) fn written(self) -> Result<(), StoreError> {
        match self {
            Self::Written => Ok(()),
            Self::Lost(lost) => Err(lost.into_error()),
        }
    }
}

impl KeyRow {
    fn item(&self, hash: &SecretHash) -> Result<Item, StoreError> {
        let mut item = row((&key_pk(hash), ONLY), self)?;
        item.insert(TTL.to_owned(), number(self.expires_at.plus(policy::DEAD_KEY_TTL).seconds()));
        Ok(item)
    }

    pub(crate) fn add_to(&self, transaction: &mut Transaction<'_>, hash: &SecretHash) -> Result<(), StoreError> {
        transaction.put(Guard::Version, Table::Identity, self.item(hash)?, None)
    }
}

/// Spends a one-time token on a session, unless it was spent on another.
pub(crate) fn spend(
    transaction: &mut Transaction<'_>,
    token: &SecretHash,
    session: &SecretHash,
) -> Result<(), StoreError> {
    let unspent = "attribute_exists(pk) AND (attribute_not_exists(holder.spent_on) OR holder.spent_on = :session)";
    let values = [(":session", text(session.as_str()))];
    let key = key_pk(token);
    let expressions = ("SET holder.spent_on = :session", Some(unspent));
    transaction.update(Guard::Version, Table::Identity, (&key, ONLY), expressions, &values)
}

impl Store {
    /// The row of a key, read strongly: a revoked key opens nothing from that moment on.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn key(&self, hash: &SecretHash) -> Result<Option<KeyRow>, StoreError> {
        let pk = key_pk(hash);
        let read = Box::pin(async { self.get_row(Table::Identity, (&pk, ONLY)).await?.map(value).transpose() });
        match &self.unchanged {
            Some(unchanged) => unchanged.key(hash, read).await,
            None => read.await,
        }
    }

    /// The number of a person, given out at the first login.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn user_id(&self, tenant: &TenantId, user: &UserName, now: Timestamp) -> Result<u64, StoreError> {
        let (pk, sk) = (users_pk(tenant), user.as_str());
        let known = |item| value::<UserRow>(item).map(|user| user.user_id);
        if let Some(item) = self.get_row(Table::Identity, (&pk, sk)).await? {
            return known(item);
        }
        let counter = ("counter#users", ONLY);
        let counted = self.update_row(Table::Identity, counter, "ADD given :one", None, &[(":one", number(1))]).await?;
        let user_id = u64::try_from(count_of(&counted.unwrap_or_default(), "given")).unwrap_or(0);
        // Two first logins at once: one number is used, the other is left out.
        if self.put_new(Table::Identity, row((&pk, sk), &UserRow { user_id, created_at: now })?).await? {
            return Ok(user_id);
        }
        let item = self.get_row(Table::Identity, (&pk, sk)).await?.ok_or(StoreError::Moved)?;
        known(item)
    }

    /// Records a person's key.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn add_user_key(&self, key: &Secret, member: &Member) -> Result<(), StoreError> {
        let row = KeyRow::new(Holder::User(member.clone()), member.expires_at);
        self.put_row(Table::Identity, row.item(&key.hash())?).await
    }

    /// Records a key of a model's, with limits of its own.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn add_model_key(
        &self,
        key: &SecretHash,
        holder: ModelKey,
        limits: Limits,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let row = KeyRow { limits, ..KeyRow::new(Holder::Model(holder), expires_at) };
        self.put_row(Table::Identity, row.item(key)?).await
    }

    /// Uses a presigned login up: true for the first who does, false for whoever comes with the same later. A first whose answer from
    /// the table was lost may be told false: nobody is ever let in twice.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn use_login(&self, nonce: &SecretHash, now: Timestamp) -> Result<bool, StoreError> {
        let until = now.plus(policy::LOGIN_MEMORY);
        let mut item = Item::new();
        item.insert("pk".to_owned(), text(login_pk(nonce)));
        item.insert("sk".to_owned(), text(ONLY));
        item.insert("ttl".to_owned(), number(until.seconds()));
        item.insert("good_until".to_owned(), millis(until));
        self.put_over(Table::Identity, item, now).await
    }

    /// Puts a new key in the place of an old one, which opens nothing from `now` on. Of two rotations at once one wins.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when the old key was rotated out meanwhile.
    pub async fn rotate_user_key(
        &self,
        old: &SecretHash,
        new: &Secret,
        member: &Member,
        claim: Option<&Claim>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.transaction();
        let live = Some("attribute_exists(pk) AND attribute_not_exists(revoked_at)");
        let values = [(":now", text(now.to_string()))];
        let old = key_pk(old);
        transaction.update(Guard::Version, Table::Identity, (&old, ONLY), ("SET revoked_at = :now", live), &values)?;
        let row = KeyRow::new(Holder::User(member.clone()), member.expires_at);
        row.add_to(&mut transaction, &new.hash())?;
        if let Some(claim) = claim {
            claim.add_to(&mut transaction)?;
        }
        transaction.commit().await?.written().map_err(|error| Claim::judged(claim, error))
    }

    /// Adds a node's next session beside the present one, which dies when the next is first used. A hash that is somebody's already is
    /// left as it is: of a repeated request it is the node's own.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn add_session(
        &self,
        session: &SecretHash,
        holder: &AgentKey,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let row = KeyRow::new(Holder::Session(holder.clone()), until);
        self.put_new(Table::Identity, row.item(session)?).await.map(drop)
    }

    /// A session is used for the first time: the one in whose place it comes is taken back.
    ///
    /// # Errors
    /// When the tables fail; the next use does it then.
    pub async fn session_used(&self, session: &SecretHash, replaced: &SecretHash) -> Result<(), StoreError> {
        // The old one goes first: if what follows is lost, it is gone all the same.
        self.delete_row(Table::Identity, (&key_pk(replaced), ONLY)).await?;
        let exists = Some("attribute_exists(pk)");
        let own = key_pk(session);
        self.update_row(Table::Identity, (&own, ONLY), "REMOVE holder.replaces", exists, &[]).await.map(drop)
    }

    /// What is known of an idempotency key at `now`.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn claimed(
        &self,
        tenant: &TenantId,
        key: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Claimed>, StoreError> {
        let item = self.get_row(Table::Identity, (&claim_pk(tenant, key), ONLY)).await?;
        let claimed = item.map(value::<Claimed>).transpose()?;
        Ok(claimed.filter(|claimed| now < claimed.expires_at))
    }
}

impl Holder {
    /// The kind of key that this holder has.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        match self {
            Self::User(_) => KeyKind::User,
            Self::Tenant(_) => KeyKind::Tenant,
            Self::Model(_) => KeyKind::Model,
            Self::Enroll(_) => KeyKind::Enroll,
            Self::Session(_) => KeyKind::Session,
        }
    }

    /// The only model that it may ask, where it may ask one alone.
    #[must_use]
    pub const fn only(&self) -> Option<&ModelName> {
        match self {
            Self::Model(key) => Some(&key.model),
            Self::User(_) | Self::Tenant(_) | Self::Enroll(_) | Self::Session(_) => None,
        }
    }
}
