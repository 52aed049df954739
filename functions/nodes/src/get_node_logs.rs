//! `GET /admin/nodes/{node_id}/logs`

use axum::{Json, extract::State};
use web::{
    Admin, Checked, Error, Id, Plane, TypedRefusals,
    launch_log::{self, History, HistoryQuery},
    nodes,
};

use crate::id::{NodeRef, UNKNOWN, platform};

/// What happened to a node so far: its launch, and what its server said.
#[utoipa::path(get, path = "/admin/nodes/{node_id}/logs", tag = "nodes", security(("admin_token" = [])),
    params(("node_id" = String, Path, description = "The node."), HistoryQuery),
    responses((status = 200, description = "The end of its log, oldest first.", body = History), TypedRefusals))]
pub(crate) async fn get_node_logs(
    State(plane): State<Plane>,
    _: Admin,
    Id(NodeRef(id)): Id<NodeRef>,
    Checked(wanted): Checked<HistoryQuery>,
) -> Result<Json<History>, Error> {
    let held = nodes::find(&plane, &platform(), id, UNKNOWN).await?;
    Ok(Json(launch_log::history(&plane, &held, &wanted).await?))
}
