//! Who is calling. Who may call an operation is a type in its signature.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use domain::{
    SecretHash, TenantId,
    api_key::{self, KeyKind},
    identity,
    tenant::{TenantStatus, Tier},
};
use http::{HeaderMap, header};
use store::{
    Plane,
    identities::{AgentKey, Holder, KeyRefusal, KeyRow, ModelKey, TenantKey},
};

use crate::{Error, admin};

/// Somebody who may change things: whose idempotency keys are apart from everybody else's.
pub trait Principal: Clone + Send + Sync {
    /// The tenant that its keys lie with.
    fn realm(&self) -> &TenantId;

    /// What tells it apart within the tenant.
    fn name(&self) -> String;
}

/// Somebody with a user key. The tenant comes from the key alone.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub identity: identity::Member,
    /// The hash of the key that was offered.
    pub key: SecretHash,
    /// What the tenant pays for.
    pub tier: Tier,
}

impl std::ops::Deref for Member {
    type Target = identity::Member;

    fn deref(&self) -> &identity::Member {
        &self.identity
    }
}

impl Principal for Member {
    fn realm(&self) -> &TenantId {
        &self.identity.tenant
    }

    fn name(&self) -> String {
        self.identity.user.to_string()
    }
}

/// A node's agent, with its one-time token or its session.
#[derive(Clone, Debug)]
pub struct AgentCaller {
    /// What it serves.
    pub holder: AgentKey,
    /// The hash of what it offered.
    pub key: SecretHash,
    /// True when it offered its one-time token.
    pub enrolling: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Member
where
    Plane: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let plane = Plane::from_ref(state);
        if let Some(member) = parts.extensions.get::<Self>() {
            return Ok(member.clone());
        }
        admin::keep_out(&plane, parts, FOR_A_PERSON).await?;
        let (key, row) = look_up(&plane, parts).await?;
        match row.holder {
            Holder::User(identity) => {
                let tier = admitted(&plane, &identity.tenant).await?;
                let member = Self { identity, key, tier };
                parts.extensions.insert(member.clone());
                Ok(member)
            }
            Holder::Tenant(TenantKey { tenant, .. }) | Holder::Model(ModelKey { tenant, .. }) => {
                admitted(&plane, &tenant).await?;
                Err(Error::Forbidden(FOR_A_PERSON))
            }
            Holder::Enroll(_) | Holder::Session(_) => Err(INVALID),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AgentCaller
where
    Plane: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let (key, row) = look_up(&Plane::from_ref(state), parts).await?;
        match row.holder {
            Holder::Enroll(holder) => Ok(Self { holder, key, enrolling: true }),
            Holder::Session(holder) => Ok(Self { holder, key, enrolling: false }),
            Holder::User(_) | Holder::Tenant(_) | Holder::Model(_) => Err(INVALID),
        }
    }
}

const FOR_A_PERSON: &str = "This operation acts for a person: use that person's API key";

/// The key opens nothing.
pub const INVALID: Error = Error::Unauthenticated("Invalid API key", true);

/// What a tenant pays for, if its keys open anything now.
pub(crate) async fn admitted(plane: &Plane, tenant: &TenantId) -> Result<Tier, Error> {
    if !tenant.is_kept() {
        return tier(tenant, None);
    }
    tier(tenant, plane.store.tenant(tenant).await?.as_ref())
}

/// What a tenant pays for whose row is `row`, if its keys open anything.
///
/// # Errors
/// When they do not.
pub fn tier(tenant: &TenantId, row: Option<&domain::tenant::Tenant>) -> Result<Tier, Error> {
    tracing::Span::current().record("tenant", tenant.as_str());
    if !tenant.is_kept() {
        return Ok(Tier::Enterprise);
    }
    let row = row.ok_or(INVALID)?;
    match row.status {
        TenantStatus::Active => Ok(row.tier),
        TenantStatus::Suspended => Err(Error::Forbidden("The tenant is suspended")),
        TenantStatus::Deleting | TenantStatus::Deleted => Err(INVALID),
    }
}

/// The kind and the hash of the key that is offered. What is not formed like a key is refused without a look-up.
///
/// # Errors
/// When there is none, or it is none.
pub fn offered(headers: &HeaderMap) -> Result<(KeyKind, SecretHash), Error> {
    let Some(offered) = headers.get(header::AUTHORIZATION) else {
        return Err(Error::Unauthenticated("Missing API key: send Authorization: Bearer KEY", false));
    };
    let text = offered.to_str().map_err(|_not_text| INVALID)?;
    api_key::read(bearer(text).ok_or(INVALID)?).ok_or(INVALID)
}

/// The row of a key of this kind, if it opens anything now.
///
/// # Errors
/// When it does not.
pub fn opened(plane: &Plane, kind: KeyKind, row: Option<KeyRow>) -> Result<KeyRow, Error> {
    let row = row.filter(|row| row.holder.kind() == kind).ok_or(INVALID)?;
    match row.refused(plane.ports.clock.now()) {
        None => Ok(row),
        Some(KeyRefusal::Expired) => Err(Error::Unauthenticated("API key has expired", true)),
        Some(KeyRefusal::Revoked) => Err(INVALID),
    }
}

/// The row of the key that was offered, if it opens anything now.
pub(crate) async fn look_up(plane: &Plane, parts: &Parts) -> Result<(SecretHash, KeyRow), Error> {
    let (kind, hash) = offered(&parts.headers)?;
    let row = opened(plane, kind, plane.store.key(&hash).await?)?;
    Ok((hash, row))
}

/// What follows `Bearer` in a header.
pub(crate) fn bearer(header: &str) -> Option<&str> {
    let (scheme, credential) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}
