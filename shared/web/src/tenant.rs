//! A tenant as a whole, by a key of its own or by one of its people's; and what it must pay for.

use std::marker::PhantomData;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use domain::{TenantId, tenant::Tier};
use store::{Plane, identities::Holder};

use crate::{
    Error, admin,
    caller::{INVALID, Principal, admitted, look_up},
};

/// The least tier that an operation is for.
pub trait Gate: Clone + Send + Sync {
    /// The tier.
    const LEAST: Tier;
}

/// Every tier.
#[derive(Clone, Copy, Debug)]
pub struct Any;

/// Pro and above.
#[derive(Clone, Copy, Debug)]
pub struct Pro;

impl Gate for Any {
    const LEAST: Tier = Tier::Free;
}

impl Gate for Pro {
    const LEAST: Tier = Tier::Pro;
}

/// A tenant that pays for at least what `G` says. The tenant comes from the key alone.
#[derive(Clone, Debug)]
pub struct Tenant<G = Any> {
    /// Its id.
    pub id: TenantId,
    /// What it pays for.
    pub tier: Tier,
    /// Who of it is calling: a person's name, or `key-` and a key's id.
    pub who: String,
    /// The key that is calling has limits of its own: it makes no others, which would have none.
    pub is_limited: bool,
    gate: PhantomData<G>,
}

/// Who was let in, whatever for: one look-up serves every extractor of a request.
#[derive(Clone, Debug)]
struct LetIn(TenantId, Tier, String, bool);

impl<S: Send + Sync, G: Gate> FromRequestParts<S> for Tenant<G>
where
    Plane: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let plane = Plane::from_ref(state);
        let LetIn(id, tier, who, is_limited) = match parts.extensions.get::<LetIn>() {
            Some(known) => known.clone(),
            None => {
                let let_in = let_in(&plane, parts).await?;
                parts.extensions.insert(let_in.clone());
                let_in
            }
        };
        if tier < G::LEAST {
            return Err(Error::Tier { needed: G::LEAST, has: tier });
        }
        Ok(Self { id, tier, who, is_limited, gate: PhantomData })
    }
}

async fn let_in(plane: &Plane, parts: &Parts) -> Result<LetIn, Error> {
    admin::keep_out(plane, parts, "This operation acts for a tenant: use one of its API keys").await?;
    let row = look_up(plane, parts).await?.1;
    let is_limited = !row.limits.is_empty();
    let (tenant, who) = holder(&row.holder)?;
    let tier = admitted(plane, tenant).await?;
    Ok(LetIn(tenant.clone(), tier, who, is_limited))
}

/// The tenant whose key it is, and who of it holds the key: a person's name, or `key-` and the key's id.
///
/// # Errors
/// When it is no tenant's.
pub fn holder(holder: &Holder) -> Result<(&TenantId, String), Error> {
    match holder {
        Holder::User(member) => Ok((&member.tenant, member.user.to_string())),
        Holder::Tenant(key) => Ok((&key.tenant, format!("key-{}", key.id))),
        Holder::Enroll(_) | Holder::Session(_) => Err(INVALID),
    }
}

impl<G: Gate> Principal for Tenant<G> {
    fn realm(&self) -> &TenantId {
        &self.id
    }

    /// All of a tenant's keys are one caller: a request that is repeated with another of them is the same request.
    fn name(&self) -> String {
        domain::tenant::ITSELF.to_owned()
    }
}
