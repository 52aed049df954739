//! Who is calling. Who may call an operation is a type in its signature.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use domain::{SecretHash, api_key, identity};
use http::{HeaderMap, header};
use store::{
    Plane,
    identities::{AgentKey, Holder, KeyRefusal, KeyRow},
};

use crate::Error;

/// Somebody with a user key. The tenant comes from the key alone.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub identity: identity::Member,
    /// The hash of the key that was offered.
    pub key: SecretHash,
}

impl std::ops::Deref for Member {
    type Target = identity::Member;

    fn deref(&self) -> &identity::Member {
        &self.identity
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
        if parts.headers.contains_key("x-admin-token") && !parts.headers.contains_key(header::AUTHORIZATION) {
            return Err(admin_instead(&plane, &parts.headers).await);
        }
        let (key, row) = look_up(&plane, &parts.headers).await?;
        match row.holder {
            Holder::User(identity) => {
                tracing::Span::current().record("tenant", identity.tenant.as_str());
                let member = Self { identity, key };
                parts.extensions.insert(member.clone());
                Ok(member)
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
        let (key, row) = look_up(&Plane::from_ref(state), &parts.headers).await?;
        match row.holder {
            Holder::Enroll(holder) => Ok(Self { holder, key, enrolling: true }),
            Holder::Session(holder) => Ok(Self { holder, key, enrolling: false }),
            Holder::User(_) => Err(INVALID),
        }
    }
}

const INVALID: Error = Error::Unauthenticated("Invalid API key", true);

/// The admin's token opens the admin's operations; a person's need a person.
async fn admin_instead(plane: &Plane, headers: &HeaderMap) -> Error {
    let offered = headers.get("x-admin-token").map(|token| SecretHash::of(token.as_bytes()));
    let secrets = match plane.settings.secrets.current().await {
        Ok(secrets) => secrets,
        Err(error) => return error.into(),
    };
    if offered.is_some_and(|offered| offered.matches(&secrets.admin_token)) {
        Error::Forbidden("This operation acts for a person: use that person's API key")
    } else {
        Error::Unauthenticated("Invalid admin token", true)
    }
}

/// The row of the key that was offered, if it opens anything now. What is not formed like a key is refused without a look-up.
async fn look_up(plane: &Plane, headers: &HeaderMap) -> Result<(SecretHash, KeyRow), Error> {
    let Some(offered) = headers.get(header::AUTHORIZATION) else {
        return Err(Error::Unauthenticated("Missing API key: send Authorization: Bearer KEY", false));
    };
    let text = offered.to_str().map_err(|_not_text| INVALID)?;
    let (scheme, key) = text.split_once(' ').ok_or(INVALID)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(INVALID);
    }
    let (kind, hash) = api_key::read(key.trim()).ok_or(INVALID)?;
    let row = plane.store.key(&hash).await?.filter(|row| row.holder.kind() == kind).ok_or(INVALID)?;
    match row.refused(plane.ports.clock.now()) {
        None => Ok((hash, row)),
        Some(KeyRefusal::Expired) => Err(Error::Unauthenticated("API key has expired", true)),
        Some(KeyRefusal::Revoked) => Err(INVALID),
    }
}
