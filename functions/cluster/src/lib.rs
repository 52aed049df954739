//! What GPUs there are, and who waits for them.

mod get_cluster_status;
mod get_gpu_availability;
mod view;

use utoipa_axum::{router::OpenApiRouter, routes};
use web::Plane;

/// Every operation of this surface.
#[must_use]
pub fn routes() -> OpenApiRouter<Plane> {
    OpenApiRouter::new()
        .routes(routes!(get_gpu_availability::get_gpu_availability))
        .routes(routes!(get_cluster_status::get_cluster_status))
}
