//! What an orchestrator asks: whether the process lives, and whether it is to be sent requests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use store::Plane;

#[derive(Clone)]
struct Asked {
    plane: Plane,
    ready: Arc<AtomicBool>,
}

/// `/live` says that requests are answered at all; `/ready` that the tables and the queues are reached and that it is not stopping.
pub(crate) fn router(plane: Plane, ready: Arc<AtomicBool>) -> Router {
    Router::new()
        .route("/live", get(|| async { StatusCode::OK }))
        .route("/ready", get(ready_now))
        .with_state(Asked { plane, ready })
}

async fn ready_now(State(Asked { plane, ready }): State<Asked>) -> StatusCode {
    if !ready.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let (tables, queues) = (plane.store.healthy().await, plane.ports.queue.healthy().await);
    if tables && queues {
        return StatusCode::OK;
    }
    tracing::warn!(tables, queues, "server.not_ready");
    StatusCode::SERVICE_UNAVAILABLE
}
