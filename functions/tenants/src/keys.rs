//! What admins and tenants alike do with a tenant's keys.

use std::time::Duration;

use axum::Json;
use domain::{
    Secret, TenantId, Timestamp,
    api_key::{KeyKind, mint, shown_prefix},
    names::Label,
    policy,
};
use http::StatusCode;
use serde::Serialize;
use store::tenants::TenantKeyRow;
use utoipa::ToSchema;
use web::{Command, Error, Identified, LimitsBody, Plane, Tenant};

use crate::{name::KeyRef, view::KnownKey};

/// How many days a key may be good for.
pub(crate) const DAYS: std::ops::RangeInclusive<u32> = 1..=3650;

/// A new key, shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d13", "tenant_id": "550e8400-e29b-41d4-a716-446655440000", "name": "test-key",
    "key": "clsk_live_...", "prefix": "clsk_live_0Ab1", "created_at": "2024-01-15T10:30:00Z", "expires_at": null
}))]
pub(crate) struct NewKey {
    id: String,
    tenant_id: String,
    name: String,
    /// The key. Nobody can be told it again: only its hash is kept.
    #[schema(value_type = String)]
    key: Secret,
    /// Its first characters, by which a person recognises it.
    prefix: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Null when it does not end.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Whoever has a key with limits would have one without by making another.
pub(crate) fn may_make_keys(tenant: &Tenant) -> Result<(), Error> {
    if tenant.is_limited {
        return Err(Error::Forbidden("A key that has limits of its own makes no others"));
    }
    Ok(())
}

/// Makes a key of the tenant's.
pub(crate) async fn create<T, P>(
    plane: &Plane,
    tenant: &TenantId,
    (name, days, limits): (&Label, Option<u32>, Option<&LimitsBody>),
    command: &Command<T, P>,
) -> Result<(StatusCode, Json<NewKey>), Error> {
    if days.is_some_and(|days| !DAYS.contains(&days)) {
        let words = format!("A key is good for {} to {} days, or without an end", DAYS.start(), DAYS.end());
        return Err(Error::field("expires_in_days", words, days.map(Into::into)));
    }
    let now = plane.ports.clock.now();
    let open = plane.store.tenant_keys(tenant).await?.into_iter().filter(|key| key.is_open(now)).count();
    if open >= policy::KEYS_PER_TENANT {
        return Err(Error::Conflict(format!("The tenant has {open} keys already: revoke one first")));
    }
    let key = mint(KeyKind::Tenant, &plane.ports.ids.random());
    let known = TenantKeyRow {
        id: plane.ports.ids.key(now),
        tenant: tenant.clone(),
        name: name.clone(),
        prefix: shown_prefix(KeyKind::Tenant, &key),
        hash: key.hash(),
        created_at: now,
        expires_at: days.map(|days| now.plus(Duration::from_secs(u64::from(days) * 24 * 3600))),
        revoked_at: None,
        limits: limits.map(LimitsBody::read).transpose()?.unwrap_or_default(),
    };
    let claim = command.claim_secret(format!("the key {}...", known.prefix), now);
    plane.store.add_tenant_key(&known, claim.as_ref()).await?;
    let TenantKeyRow { id, prefix, created_at, expires_at, .. } = known;
    let (id, tenant_id, name) = (id.to_string(), tenant.to_string(), name.as_str().to_owned());
    Ok((StatusCode::CREATED, Json(NewKey { id, tenant_id, name, key, prefix, created_at, expires_at })))
}

/// The tenant's keys.
pub(crate) async fn list(plane: &Plane, tenant: &TenantId) -> Result<Vec<KnownKey>, Error> {
    let now = plane.ports.clock.now();
    Ok(plane.store.tenant_keys(tenant).await?.into_iter().map(|key| KnownKey::of(key, now)).collect())
}

/// Takes a key of the tenant's back.
pub(crate) async fn revoke(plane: &Plane, tenant: &TenantId, KeyRef(id): KeyRef) -> Result<Json<KnownKey>, Error> {
    let now = plane.ports.clock.now();
    let known = plane.store.revoke_tenant_key(tenant, id, now).await?;
    known.map(|key| Json(KnownKey::of(key, now))).ok_or(Error::NotFound(KeyRef::UNKNOWN))
}
