//! `GET /admin/api-keys`

use axum::{Json, extract::State};
use web::{Admin, Checked, Error, Plane, TypedRefusals};

use crate::{
    keys::list,
    name::{OfTenant, named},
    view::KnownKey,
};

/// List a tenant's API keys, oldest first: what is known of them, and never the keys.
#[utoipa::path(get, path = "/admin/api-keys", tag = "tenants", security(("admin_token" = [])),
    params(("tenant_id" = String, Query, description = "The tenant.")),
    responses((status = 200, description = "Its keys.", body = Vec<KnownKey>), TypedRefusals))]
pub(crate) async fn list_tenant_keys(
    State(plane): State<Plane>,
    _: Admin,
    Checked(OfTenant { tenant_id }): Checked<OfTenant>,
) -> Result<Json<Vec<KnownKey>>, Error> {
    let tenant = named(&plane, &tenant_id).await?;
    Ok(Json(list(&plane, &tenant.id).await?))
}
