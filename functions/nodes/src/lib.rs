//! Nodes: machines of the installation's own that serve models, for its admins.

mod get_node;
mod get_node_logs;
mod id;
mod launch_node;
mod list_nodes;
mod stream_node_logs;
mod terminate_node;

use utoipa_axum::routes;
use web::{Surface, dialect::typed};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("nodes", typed)
        .operation(routes!(launch_node::launch_node))
        .operation(routes!(list_nodes::list_nodes))
        .operation(routes!(get_node::get_node))
        .operation(routes!(get_node_logs::get_node_logs))
        .operation(routes!(stream_node_logs::stream_node_logs))
        .operation(routes!(terminate_node::terminate_node))
}
