//! `POST /admin/tenants`

use axum::{Json, extract::State};
use domain::{
    names::{Email, TenantName},
    tenant::{self, Tier},
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Admin, Command, Error, Input, Plane, TypedRefusals};

use crate::view::Tenant;

/// Who.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Test Organization", "email": "test@example.com"}))]
pub(crate) struct NewTenant {
    /// Its name, for people: 1 to 200 characters.
    #[schema(value_type = String)]
    name: TenantName,
    /// Where to write to.
    #[schema(value_type = String, format = Email)]
    email: Email,
    /// `free` when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    tier: Tier,
}

impl Input for NewTenant {
    const SECRET: &'static [&'static str] = &[];
}

/// Create a tenant: what owns credentials, keys, nodes and their cost.
#[utoipa::path(post, path = "/admin/tenants", tag = "tenants", security(("admin_token" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = NewTenant,
    responses((status = 201, description = "The tenant.", body = Tenant), TypedRefusals))]
pub(crate) async fn create_tenant(
    State(plane): State<Plane>,
    _: Admin,
    command: Command<NewTenant, Admin>,
) -> Result<(StatusCode, Json<Tenant>), Error> {
    let now = plane.ports.clock.now();
    let NewTenant { name, email, tier } = command.input.clone();
    let id = plane.ports.ids.tenant(now);
    let made = tenant::Tenant::create(id, name, email, tier, now);
    let answer = Tenant::from(made.clone());
    let claim = command.claim_new(format!("tenant {}", made.id), &answer, now)?;
    plane.store.write_tenant(&made, claim.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(answer)))
}
