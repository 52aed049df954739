//! Ids in paths and queries. What is malformed is unknown.

use std::str::FromStr;

use domain::{CredentialId, KeyId, TenantId, ids::NotAnId, tenant::Tenant};
use serde::Deserialize;
use web::{Error, Identified, Plane};

/// A credential.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CredentialRef(pub(crate) CredentialId);

impl FromStr for CredentialRef {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.parse().map(Self)
    }
}

impl Identified for CredentialRef {
    const PARAMETER: &'static str = "credential_id";
    const UNKNOWN: &'static str = "credential not found";
}

/// Whose, in an admin's query. It has to be the credential's own tenant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfTenant {
    pub(crate) tenant_id: String,
}

/// The tenant that an admin names.
pub(crate) async fn named(plane: &Plane, id: &str) -> Result<TenantId, Error> {
    const UNKNOWN: Error = Error::NotFound("tenant not found");
    // A tenant's id is a UUID, in the spelling of every other id.
    id.parse::<KeyId>().map_err(|_malformed| UNKNOWN)?;
    let known = plane.store.tenant(&TenantId::new(id)).await?.filter(Tenant::is_there);
    known.map(|tenant| tenant.id).ok_or(UNKNOWN)
}

/// The tenant whose credential an admin means. Of an unknown tenant's there are none, and nothing else is said.
pub(crate) async fn owning(plane: &Plane, OfTenant { tenant_id }: &OfTenant) -> Result<TenantId, Error> {
    named(plane, tenant_id).await.map_err(|error| match error {
        Error::NotFound(_) => Error::NotFound(CredentialRef::UNKNOWN),
        other => other,
    })
}
