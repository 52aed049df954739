//! `GET /v1/instances/{instance_id}/logs`

use axum::{Json, extract::State};
use web::{
    Checked, Error, Id, Plane, Tenant, TypedRefusals,
    launch_log::{self, History, HistoryQuery},
    nodes,
    tenant::Pro,
};

use crate::id::{InstanceRef, UNKNOWN};

/// What happened to an instance so far: its launch, and what its server said.
#[utoipa::path(get, path = "/v1/instances/{instance_id}/logs", tag = "instances", security(("tenant_key" = [])),
    params(("instance_id" = String, Path, description = "The instance."), HistoryQuery),
    responses((status = 200, description = "The end of its log, oldest first.", body = History), TypedRefusals))]
pub(crate) async fn get_instance_logs(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Id(InstanceRef(id)): Id<InstanceRef>,
    Checked(wanted): Checked<HistoryQuery>,
) -> Result<Json<History>, Error> {
    let held = nodes::find(&plane, &tenant.id, id, UNKNOWN).await?;
    Ok(Json(launch_log::history(&plane, &held, &wanted).await?))
}
