//! `GET /admin/nodes`

use axum::{Json, extract::State};
use web::{
    Admin, Checked, Error, Plane, TypedRefusals,
    nodes::{self, Node, Which},
};

use crate::id::platform;

/// List the nodes, newest first.
#[utoipa::path(get, path = "/admin/nodes", tag = "nodes", security(("admin_token" = [])),
    params(
        ("status" = Option<String>, Query, description = "Only those with one of these statuses, comma-separated."),
        ("provider" = Option<String>, Query, description = "Only those of this provider."),
        ("gpu" = Option<String>, Query, description = "Only those with this GPU."),
        ("limit" = Option<usize>, Query, description = "At most so many: 1 to 500, 100 when left out."),
        ("offset" = Option<usize>, Query, description = "After so many.")),
    responses((status = 200, description = "The nodes.", body = Vec<Node>), TypedRefusals))]
pub(crate) async fn list_nodes(
    State(plane): State<Plane>,
    _: Admin,
    Checked(which): Checked<Which>,
) -> Result<Json<Vec<Node>>, Error> {
    Ok(Json(nodes::list(&plane, &platform(), &which).await?))
}
