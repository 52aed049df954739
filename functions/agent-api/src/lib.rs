//! What a node's agent calls. It dials out; nothing dials in. It may change its own workload only, and never expiry, usage or addresses.

mod agent_bye;
mod agent_contents;
mod agent_enroll;
mod agent_logs;
mod agent_sync;
mod desired;

use utoipa_axum::routes;
use web::{Surface, dialect::detail};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("agent-api", detail)
        .operation(routes!(agent_enroll::agent_enroll))
        .operation(routes!(agent_sync::agent_sync))
        .operation(routes!(agent_logs::agent_logs))
        .operation(routes!(agent_contents::agent_contents))
        .operation(routes!(agent_bye::agent_bye))
}
