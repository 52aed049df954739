//! `GET /admin/credentials`

use axum::{Json, extract::State};
use web::{Admin, Checked, Error, Plane, TypedRefusals};

use crate::{
    act::list,
    name::{OfTenant, named},
    view::Credential,
};

/// List the cloud credentials of a tenant, oldest first: what is known of them, and never the keys.
#[utoipa::path(get, path = "/admin/credentials", tag = "credentials", security(("admin_token" = [])),
    params(("tenant_id" = String, Query, description = "Its tenant.")),
    responses((status = 200, description = "Its credentials.", body = Vec<Credential>), TypedRefusals))]
pub(crate) async fn list_tenant_credentials(
    State(plane): State<Plane>,
    _: Admin,
    Checked(OfTenant { tenant_id }): Checked<OfTenant>,
) -> Result<Json<Vec<Credential>>, Error> {
    let tenant = named(&plane, &tenant_id).await?;
    Ok(Json(list(&plane, &tenant).await?))
}
