//! `POST /admin/nodes/{node_id}/terminate`

use axum::{Json, extract::State};
use web::{
    Admin, Checked, Command, Error, Id, Nothing, Plane, TypedRefusals,
    nodes::{self, How, Terminating},
};

use crate::id::{NodeRef, UNKNOWN, platform};

/// Terminate a node: gracefully, or with `purge` at once, with everything that was made for it.
#[utoipa::path(post, path = "/admin/nodes/{node_id}/terminate", tag = "nodes", security(("admin_token" = [])),
    params(("node_id" = String, Path, description = "The node."), ("purge" = Option<bool>, Query, description = "Leave it no time to finish."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "It is ending.", body = Terminating), TypedRefusals))]
pub(crate) async fn terminate_node(
    State(plane): State<Plane>,
    _: Admin,
    Id(NodeRef(id)): Id<NodeRef>,
    Checked(How { purge }): Checked<How>,
    command: Command<Nothing, Admin>,
) -> Result<Json<Terminating>, Error> {
    let said = nodes::terminate(&plane, (&platform(), id), ("admin", purge), ("Node", UNKNOWN), &command).await?;
    Ok(Json(said))
}
