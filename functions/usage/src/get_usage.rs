//! `GET /v1/usage`

use axum::{Json, extract::State};
use web::{
    Checked, Error, Plane, Tenant, TypedRefusals,
    usage::{self, Report, UsageQuery},
};

/// What the caller's tenant used, and what it cost.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", security(("tenant_key" = [])), params(UsageQuery),
    responses((status = 200, description = "The report.", body = Report), TypedRefusals))]
pub(crate) async fn get_usage(
    State(plane): State<Plane>,
    tenant: Tenant,
    Checked(wanted): Checked<UsageQuery>,
) -> Result<Json<Report>, Error> {
    Ok(Json(usage::report(&plane, &tenant.id, &wanted).await?))
}
