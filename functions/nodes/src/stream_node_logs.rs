//! `GET /admin/nodes/{node_id}/logs/stream`

use axum::{extract::State, response::Response};
use domain::Workload;
use http::HeaderMap;
use web::{
    Admin, Checked, Error, Id, Plane, TypedRefusals,
    launch_log::{self, Shown, StreamQuery},
    nodes,
};

use crate::id::{NodeRef, UNKNOWN, platform};

/// How nodes are shown.
const NODE: Shown = Shown { what: "Node", endpoint: Workload::endpoint };

/// A node's launch, as events, while it happens.
///
/// Events are `log`, `status`, `done`, with which the stream is over, and `error`. Each has an `id`: a stream that ends without `done`, as
/// each does after two minutes, goes on with `Last-Event-ID`, and leaves nothing out and repeats nothing.
#[utoipa::path(get, path = "/admin/nodes/{node_id}/logs/stream", tag = "nodes", security(("admin_token" = [])),
    params(("node_id" = String, Path, description = "The node."), StreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event.")),
    responses((status = 200, description = "The launch, as it happens.", content_type = "text/event-stream", body = String),
        TypedRefusals))]
pub(crate) async fn stream_node_logs(
    State(plane): State<Plane>,
    _: Admin,
    Id(NodeRef(id)): Id<NodeRef>,
    Checked(wanted): Checked<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let held = nodes::find(&plane, &platform(), id, UNKNOWN).await?;
    launch_log::stream(&plane, held, NODE, &wanted, &headers).await
}
