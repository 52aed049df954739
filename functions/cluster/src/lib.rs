//! What GPUs there are, and who waits for them.

mod get_cluster_status;
mod get_gpu_availability;
mod view;

use utoipa_axum::routes;
use web::{Surface, dialect::detail};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("cluster", detail)
        .operation(routes!(get_gpu_availability::get_gpu_availability))
        .operation(routes!(get_cluster_status::get_cluster_status))
}
