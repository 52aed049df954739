//! `GET /admin/tenants/{tenant_id}`

use axum::{Json, extract::State};
use web::{Admin, Error, Id, Plane, TypedRefusals};

use crate::{
    name::{TenantRef, read},
    view::Tenant,
};

/// Get a tenant.
#[utoipa::path(get, path = "/admin/tenants/{tenant_id}", tag = "tenants", security(("admin_token" = [])),
    params(("tenant_id" = String, Path, format = Uuid, description = "The tenant.")),
    responses((status = 200, description = "The tenant.", body = Tenant), TypedRefusals))]
pub(crate) async fn get_tenant(
    State(plane): State<Plane>,
    _: Admin,
    Id(tenant): Id<TenantRef>,
) -> Result<Json<Tenant>, Error> {
    Ok(Json(read(&plane, &tenant).await?.into()))
}
