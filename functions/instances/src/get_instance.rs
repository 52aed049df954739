//! `GET /v1/instances/{instance_id}`

use axum::{Json, extract::State};
use web::{
    Error, Id, Plane, Tenant, TypedRefusals,
    nodes::{self, Node},
    tenant::Pro,
};

use crate::id::{InstanceRef, UNKNOWN};

/// Get an instance of the caller's tenant.
#[utoipa::path(get, path = "/v1/instances/{instance_id}", tag = "instances", security(("tenant_key" = [])),
    params(("instance_id" = String, Path, description = "The instance.")),
    responses((status = 200, description = "The instance as it is now.", body = Node), TypedRefusals))]
pub(crate) async fn get_instance(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Id(InstanceRef(id)): Id<InstanceRef>,
) -> Result<Json<Node>, Error> {
    Ok(Json(nodes::get(&plane, (&tenant.id, id), UNKNOWN).await?))
}
