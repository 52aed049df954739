//! `GET /v1/instances`

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use web::{
    Checked, Error, Plane, Tenant, TypedRefusals,
    nodes::{self, Node, Which},
    tenant::Pro,
};

/// A tenant's instances.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Instances {
    /// Newest first.
    data: Vec<Node>,
}

/// List the instances of the caller's tenant, newest first.
#[utoipa::path(get, path = "/v1/instances", tag = "instances", security(("tenant_key" = [])),
    params(
        ("status" = Option<String>, Query, description = "Only those with one of these statuses, comma-separated."),
        ("provider" = Option<String>, Query, description = "Only those of this provider."),
        ("gpu" = Option<String>, Query, description = "Only those with this GPU."),
        ("limit" = Option<usize>, Query, description = "At most so many: 1 to 500, 100 when left out."),
        ("offset" = Option<usize>, Query, description = "After so many.")),
    responses((status = 200, description = "The instances.", body = Instances), TypedRefusals))]
pub(crate) async fn list_instances(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Checked(which): Checked<Which>,
) -> Result<Json<Instances>, Error> {
    Ok(Json(Instances { data: nodes::list(&plane, &tenant.id, &which).await? }))
}
