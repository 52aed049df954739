//! `GET /admin/nodes/{node_id}`

use axum::{Json, extract::State};
use web::{
    Admin, Error, Id, Plane, TypedRefusals,
    nodes::{self, Node},
};

use crate::id::{NodeRef, UNKNOWN, platform};

/// Get a node.
#[utoipa::path(get, path = "/admin/nodes/{node_id}", tag = "nodes", security(("admin_token" = [])),
    params(("node_id" = String, Path, description = "The node.")),
    responses((status = 200, description = "The node as it is now.", body = Node), TypedRefusals))]
pub(crate) async fn get_node(
    State(plane): State<Plane>,
    _: Admin,
    Id(NodeRef(id)): Id<NodeRef>,
) -> Result<Json<Node>, Error> {
    Ok(Json(nodes::get(&plane, (&platform(), id), UNKNOWN).await?))
}
