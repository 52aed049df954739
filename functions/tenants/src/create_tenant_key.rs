//! `POST /admin/api-keys`

use axum::{Json, extract::State};
use domain::names::Label;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Admin, Command, Error, Input, LimitsBody, Plane, TypedRefusals};

use crate::{
    keys::{NewKey, create},
    name::named,
};

/// Whose, and what it is called.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"tenant_id": "550e8400-e29b-41d4-a716-446655440000", "name": "test-key"}))]
pub(crate) struct NewTenantKey {
    /// The tenant.
    tenant_id: String,
    /// What it is called, for people.
    #[schema(value_type = String)]
    name: Label,
    /// Its life in days, 1 to 3650; without an end when left out.
    expires_in_days: Option<u32>,
    /// What it may ask of models; all that its tenant may when left out.
    #[schema(value_type = Option<LimitsBody>)]
    limits: Option<LimitsBody>,
}

impl Input for NewTenantKey {
    const SECRET: &'static [&'static str] = &[];
}

/// Create an API key for a tenant. It is shown this once.
#[utoipa::path(post, path = "/admin/api-keys", tag = "tenants", security(("admin_token" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A repetition is refused with 409 and names the key, since the answer held a secret.")),
    request_body = NewTenantKey,
    responses((status = 201, description = "The key.", body = NewKey), TypedRefusals))]
pub(crate) async fn create_tenant_key(
    State(plane): State<Plane>,
    _: Admin,
    command: Command<NewTenantKey, Admin>,
) -> Result<(StatusCode, Json<NewKey>), Error> {
    let NewTenantKey { tenant_id, name, expires_in_days, limits } = &command.input;
    let tenant = named(&plane, tenant_id).await?;
    create(&plane, &tenant.id, (name, *expires_in_days, limits.as_ref()), &command).await
}
