//! `GET /api/health`

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use web::Plane;

/// Whether machines can be made: the provisioner is a part of this plane, and answers for itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"status": "healthy", "version": "0.1.0"}))]
pub(crate) struct ProvisionerHealth {
    /// `healthy`, or `unhealthy` when the ledger or the queue cannot be reached.
    status: &'static str,
    version: &'static str,
}

/// Check the provisioner's health. The answer is 200 also when it is bad: read `status`.
#[utoipa::path(get, path = "/api/health", tag = "clusters",
    responses((status = 200, description = "How it is.", body = ProvisionerHealth)))]
pub(crate) async fn get_provisioner_health(State(plane): State<Plane>) -> Json<ProvisionerHealth> {
    let well = plane.store.healthy().await && plane.ports.queue.healthy().await;
    let status = if well { "healthy" } else { "unhealthy" };
    Json(ProvisionerHealth { status, version: plane.settings.version })
}
