//! `DELETE /v1/instances/{instance_id}`

use axum::{Json, extract::State};
use web::{
    Checked, Command, Error, Id, Nothing, Plane, Tenant, TypedRefusals,
    nodes::{self, How, Terminating},
    tenant::Pro,
};

use crate::id::{InstanceRef, UNKNOWN};

/// Terminate an instance of the caller's tenant: gracefully, or with `purge` at once.
#[utoipa::path(delete, path = "/v1/instances/{instance_id}", tag = "instances", security(("tenant_key" = [])),
    params(("instance_id" = String, Path, description = "The instance."), ("purge" = Option<bool>, Query, description = "Leave it no time to finish.")),
    responses((status = 200, description = "It is ending.", body = Terminating), TypedRefusals))]
pub(crate) async fn terminate_instance(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Id(InstanceRef(id)): Id<InstanceRef>,
    Checked(How { purge }): Checked<How>,
    command: Command<Nothing, Tenant<Pro>>,
) -> Result<Json<Terminating>, Error> {
    let of = (&tenant.id, id);
    Ok(Json(nodes::terminate(&plane, of, (&tenant.who, purge), ("Instance", UNKNOWN), &command).await?))
}
