//! `GET /health`

use axum::{Json, extract::State};
use domain::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use web::Plane;

/// Whether we are well: what all the references' health checks show together.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "status": "healthy", "version": "0.1.0", "time": "2026-01-20T18:30:00Z", "timestamp": "2026-01-20T18:30:00Z",
    "database": "healthy", "queue": "healthy"
}))]
pub(crate) struct Health {
    /// `healthy`, or `unhealthy` when a part of us is.
    status: &'static str,
    version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    database: &'static str,
    queue: &'static str,
}

/// Check API health and dependencies. The answer is 200 also when it is bad: read `status`.
#[utoipa::path(get, path = "/health", tag = "meta",
    responses((status = 200, description = "How we are.", body = Health)))]
pub(crate) async fn get_health(State(plane): State<Plane>) -> Json<Health> {
    let words = |healthy| if healthy { "healthy" } else { "unhealthy" };
    let (database, queue) = (plane.store.healthy().await, plane.ports.queue.healthy().await);
    let now = plane.ports.clock.now();
    Json(Health {
        status: words(database && queue),
        version: plane.settings.version,
        time: now,
        timestamp: now,
        database: words(database),
        queue: words(queue),
    })
}
