//! Ids in paths and queries. What is malformed is unknown.

use std::str::FromStr;

use domain::{KeyId, TenantId, ids::NotAnId, tenant::Tenant};
use serde::Deserialize;
use web::{Error, Identified, Plane};

/// What is said of a tenant that is not there.
pub(crate) const UNKNOWN: &str = "tenant not found";

/// A tenant's id: a UUID, since others come from the login table and have no row.
#[derive(Clone, Debug)]
pub(crate) struct TenantRef(pub(crate) TenantId);

impl FromStr for TenantRef {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Some(TenantId::new(text)).filter(TenantId::is_kept).map(Self).ok_or(NotAnId)
    }
}

impl Identified for TenantRef {
    const PARAMETER: &'static str = "tenant_id";
    const UNKNOWN: &'static str = UNKNOWN;
}

/// A tenant's key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRef(pub(crate) KeyId);

impl FromStr for KeyRef {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.parse().map(Self)
    }
}

impl Identified for KeyRef {
    const PARAMETER: &'static str = "key_id";
    const UNKNOWN: &'static str = "API key not found";
}

/// Whose, in an admin's query.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfTenant {
    pub(crate) tenant_id: String,
}

/// The tenant of this id, if anybody is told of it.
pub(crate) async fn read(plane: &Plane, TenantRef(id): &TenantRef) -> Result<Tenant, Error> {
    plane.store.tenant(id).await?.filter(Tenant::is_there).ok_or(Error::NotFound(UNKNOWN))
}

/// The tenant that an admin names in a body or a query.
pub(crate) async fn named(plane: &Plane, id: &str) -> Result<Tenant, Error> {
    read(plane, &id.parse().map_err(|_malformed| Error::NotFound(UNKNOWN))?).await
}
