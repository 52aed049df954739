//! `PUT /admin/tenants/{tenant_id}`

use axum::{Json, extract::State};
use domain::{
    names::{Email, TenantName},
    tenant::{TenantUpdate, Tier},
};
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Admin, Command, Error, Id, Input, LimitsBody, Plane, TypedRefusals};

use crate::{
    name::{TenantRef, read},
    view::Tenant,
};

/// What is to be different; what is left out stays as it is.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"tier": "pro"}))]
pub(crate) struct TenantChanges {
    /// Another name.
    #[schema(value_type = Option<String>)]
    name: Option<TenantName>,
    /// Another address.
    #[schema(value_type = Option<String>, format = Email)]
    email: Option<Email>,
    /// `free`, `starter`, `pro` or `enterprise`.
    #[schema(value_type = Option<String>)]
    tier: Option<Tier>,
    /// `suspended`: its keys open nothing from now on. `active`: they do again.
    status: Option<Wanted>,
    /// What it may ask of models, in the place of all limits that it has: `{}` takes them away.
    limits: Option<LimitsBody>,
}

/// What an admin may make of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    Active,
    Suspended,
}

impl Input for TenantChanges {
    const SECRET: &'static [&'static str] = &[];
}

/// Change a tenant's name, address, tier, status or limits. A suspended tenant's keys open nothing from that moment on; what runs goes on.
#[utoipa::path(put, path = "/admin/tenants/{tenant_id}", tag = "tenants", security(("admin_token" = [])),
    params(("tenant_id" = String, Path, format = Uuid, description = "The tenant.")),
    request_body = TenantChanges,
    responses((status = 200, description = "The tenant as it is now.", body = Tenant), TypedRefusals))]
pub(crate) async fn update_tenant(
    State(plane): State<Plane>,
    _: Admin,
    Id(tenant): Id<TenantRef>,
    command: Command<TenantChanges, Admin>,
) -> Result<Json<Tenant>, Error> {
    let TenantChanges { name, email, tier, status, limits } = command.input.clone();
    let suspended = status.map(|status| status == Wanted::Suspended);
    let limits = limits.as_ref().map(LimitsBody::read).transpose()?;
    let now = plane.ports.clock.now();
    let update = TenantUpdate { name, email, tier, suspended, limits };
    let changed = read(&plane, &tenant).await?.update(update, now)?;
    let answer = Tenant::from(changed.clone());
    let claim = command.claim(format!("tenant {}", changed.id), &answer, now)?;
    plane.store.write_tenant(&changed, claim.as_ref()).await?;
    Ok(Json(answer))
}
