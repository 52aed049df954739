//! `GET /admin/tenants`

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::json;
use web::{Admin, Checked, Error, Plane, Problem, TypedRefusals};

use crate::view::Tenant;

/// Which part of the list.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Part {
    limit: usize,
    offset: usize,
}

impl Default for Part {
    fn default() -> Self {
        Self { limit: 100, offset: 0 }
    }
}

/// List the tenants, oldest first.
#[utoipa::path(get, path = "/admin/tenants", tag = "tenants", security(("admin_token" = [])),
    params(("limit" = Option<usize>, Query, description = "At most so many: 1 to 500, 100 when left out."), ("offset" = Option<usize>, Query, description = "After so many.")),
    responses((status = 200, description = "The tenants.", body = Vec<Tenant>), TypedRefusals))]
pub(crate) async fn list_tenants(
    State(plane): State<Plane>,
    _: Admin,
    Checked(Part { limit, offset }): Checked<Part>,
) -> Result<Json<Vec<Tenant>>, Error> {
    if !(1..=500).contains(&limit) || offset > 1_000_000 {
        let problem =
            Problem::value("limit", "A page has 1 to 500 tenants, after at most 1,000,000", Some(json!(limit)));
        return Err(Error::Invalid(vec![problem]));
    }
    Ok(Json(plane.store.tenants((limit, offset)).await?.into_iter().map(Tenant::from).collect()))
}
