//! A tenant as a whole, by a key of its own or by one of its people's; and what it must pay for.

use std::marker::PhantomData;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use domain::{TenantId, names::ModelName, tenant::Tier};
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

/// What an admin is told who asks for what a tenant asks for.
pub const FOR_A_TENANT: &str = "This operation acts for a tenant: use one of its API keys";

async fn let_in(plane: &Plane, parts: &Parts) -> Result<LetIn, Error> {
    admin::keep_out(plane, parts, FOR_A_TENANT).await?;
    let row = look_up(plane, parts).await?.1;
    let is_limited = !row.limits.is_empty();
    let (tenant, who) = holder(&row.holder)?;
    let tier = admitted(plane, tenant).await?;
    if let Holder::Model(_) = row.holder {
        return Err(Error::Forbidden(
            "This key asks one model and does nothing else: use one of the tenant's API keys",
        ));
    }
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
        Holder::Model(key) => Ok((&key.tenant, format!("key-{}", key.id))),
        Holder::Enroll(_) | Holder::Session(_) => Err(INVALID),
    }
}

/// Whoever may ask a tenant's models: its people and its keys, also those that ask one model alone.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The tenant.
    pub tenant: TenantId,
    /// The only model that there is for it.
    pub only: Option<ModelName>,
}

impl Asker {
    /// Whether there is such a model for it.
    #[must_use]
    pub fn sees(&self, model: &ModelName) -> bool {
        self.only.as_ref().is_none_or(|only| only == model)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asker
where
    Plane: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let plane = Plane::from_ref(state);
        admin::keep_out(&plane, parts, FOR_A_TENANT).await?;
        let row = look_up(&plane, parts).await?.1;
        let tenant = holder(&row.holder)?.0.clone();
        admitted(&plane, &tenant).await?;
        Ok(Self { tenant, only: row.holder.only().cloned() })
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
