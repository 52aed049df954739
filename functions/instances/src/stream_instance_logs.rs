//! `GET /v1/instances/{instance_id}/logs/stream`

use axum::{extract::State, response::Response};
use domain::Workload;
use http::HeaderMap;
use web::{
    Checked, Error, Id, Plane, Tenant, TypedRefusals,
    launch_log::{self, Shown, StreamQuery},
    nodes,
    tenant::Pro,
};

use crate::id::{InstanceRef, UNKNOWN};

/// How instances are shown.
const INSTANCE: Shown = Shown { what: "Instance", endpoint: Workload::endpoint };

/// An instance's launch, as events, while it happens.
///
/// Events are `log`, `status`, `done`, with which the stream is over, and `error`. Each has an `id`: a stream that ends without `done`, as
/// each does after two minutes, goes on with `Last-Event-ID`, and leaves nothing out and repeats nothing.
#[utoipa::path(get, path = "/v1/instances/{instance_id}/logs/stream", tag = "instances", security(("tenant_key" = [])),
    params(("instance_id" = String, Path, description = "The instance."), StreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event.")),
    responses((status = 200, description = "The launch, as it happens.", content_type = "text/event-stream", body = String),
        TypedRefusals))]
pub(crate) async fn stream_instance_logs(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Id(InstanceRef(id)): Id<InstanceRef>,
    Checked(wanted): Checked<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let held = nodes::find(&plane, &tenant.id, id, UNKNOWN).await?;
    launch_log::stream(&plane, held, INSTANCE, &wanted, &headers).await
}
