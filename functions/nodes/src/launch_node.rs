//! `POST /admin/nodes/launch`

use axum::{Json, extract::State};
use http::StatusCode;
use web::{
    Admin, Command, Error, Plane, TypedRefusals,
    nodes::{self, Launch, Node},
};

use crate::id::platform;

/// Launch a node that serves a registered model.
#[utoipa::path(post, path = "/admin/nodes/launch", tag = "nodes", security(("admin_token" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = Launch,
    responses((status = 201, description = "It is being launched.", body = Node), TypedRefusals))]
pub(crate) async fn launch_node(
    State(plane): State<Plane>,
    _: Admin,
    command: Command<Launch, Admin>,
) -> Result<(StatusCode, Json<Node>), Error> {
    let node = nodes::launch(&plane, (&platform(), "admin"), &command).await?;
    Ok((StatusCode::CREATED, Json(node)))
}
