//! Instances: what a tenant launches for itself to serve a model. Every key of the tenant sees them.

mod get_instance;
mod get_instance_logs;
mod id;
mod launch_instance;
mod list_instances;
mod stream_instance_logs;
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
        .operation(routes!(get_instance_logs::get_instance_logs))
        .operation(routes!(stream_instance_logs::stream_instance_logs))
        .operation(routes!(terminate_instance::terminate_instance))
}
