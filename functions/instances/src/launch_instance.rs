//! `POST /v1/instances`

use axum::{Json, extract::State};
use http::StatusCode;
use web::{
    Command, Error, Plane, Tenant, TypedRefusals,
    nodes::{self, Launch, Node},
    tenant::Pro,
};

/// Launch an instance that serves a registered model, for the caller's tenant.
#[utoipa::path(post, path = "/v1/instances", tag = "instances", security(("tenant_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = Launch,
    responses((status = 201, description = "It is being launched.", body = Node), TypedRefusals))]
pub(crate) async fn launch_instance(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    command: Command<Launch, Tenant<Pro>>,
) -> Result<(StatusCode, Json<Node>), Error> {
    let instance = nodes::launch(&plane, (&tenant.id, &tenant.who), &command).await?;
    Ok((StatusCode::CREATED, Json(instance)))
}
