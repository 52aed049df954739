//! Instances: what a tenant launches for itself to serve a model. Every key of the tenant sees them.

mod get_instance;
mod id;
mod launch_instance;
mod list_instances;
mod terminate_instance;

use utoipa_axum::routes;
use web::{Surface, dialect::typed};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("instances", typed)
        .operation(routes!(launch_instance::launch_instance))
        .operation(routes!(list_instances::list_instances))
        .operation(routes!(get_instance::get_instance))
        .operation(routes!(terminate_instance::terminate_instance))
}
