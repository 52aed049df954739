//! What a node's agent calls. It dials out; nothing dials in. It may change its own workload only, and never expiry, usage or addresses.

mod agent_bye;
mod agent_enroll;
mod agent_logs;
mod agent_sync;
mod desired;

use utoipa_axum::{router::OpenApiRouter, routes};
use web::Plane;

/// Every operation of this surface.
#[must_use]
pub fn routes() -> OpenApiRouter<Plane> {
    OpenApiRouter::new()
        .routes(routes!(agent_enroll::agent_enroll))
        .routes(routes!(agent_sync::agent_sync))
        .routes(routes!(agent_logs::agent_logs))
        .routes(routes!(agent_bye::agent_bye))
}
