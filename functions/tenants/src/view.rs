//! A tenant and a key as callers see them.

use domain::{Timestamp, tenant};
use serde::Serialize;
use store::tenants::TenantKeyRow;
use utoipa::ToSchema;
use web::LimitsBody;

/// A tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "550e8400-e29b-41d4-a716-446655440000", "name": "Test Organization", "email": "test@example.com", "tier": "free",
    "status": "active", "created_at": "2024-01-15T10:30:00Z", "updated_at": "2024-01-15T10:30:00Z"
}))]
pub(crate) struct Tenant {
    id: String,
    name: String,
    email: String,
    /// `free`, `starter`, `pro` or `enterprise`.
    tier: &'static str,
    /// `active`, `suspended` or, while what it has is being ended, `deleting`.
    status: &'static str,
    /// What it may ask of models, where that has limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = LimitsBody, required = false)]
    limits: Option<LimitsBody>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<tenant::Tenant> for Tenant {
    fn from(tenant: tenant::Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            name: tenant.name.into(),
            email: tenant.email.into(),
            tier: tenant.tier.name(),
            status: tenant.status.name(),
            limits: LimitsBody::shown(&tenant.limits),
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        }
    }
}

/// What is told of a key: never the key.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d13", "tenant_id": "550e8400-e29b-41d4-a716-446655440000", "name": "test-key",
    "prefix": "clsk_live_0Ab1", "status": "active", "created_at": "2024-01-15T10:30:00Z", "expires_at": null, "revoked_at": null
}))]
pub(crate) struct KnownKey {
    id: String,
    tenant_id: String,
    name: String,
    /// Its first characters, by which a person recognises it.
    prefix: String,
    /// `active`, `expired` or `revoked`.
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Null when it does not end.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Null when it was not taken back.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// What it may ask of models, where that has limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = LimitsBody, required = false)]
    limits: Option<LimitsBody>,
}

impl KnownKey {
    /// As it is at `now`.
    pub(crate) fn of(key: TenantKeyRow, now: Timestamp) -> Self {
        let status = if key.revoked_at.is_some() {
            "revoked"
        } else if key.expires_at.is_some_and(|end| end <= now) {
            "expired"
        } else {
            "active"
        };
        Self {
            id: key.id.to_string(),
            tenant_id: key.tenant.to_string(),
            name: key.name.into(),
            prefix: key.prefix,
            status,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            limits: LimitsBody::shown(&key.limits),
        }
    }
}
