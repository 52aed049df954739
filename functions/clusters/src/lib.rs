//! Clusters, for operators' tools: every node and instance of the installation, whoever's it is, with the service token.

mod get_cluster;
mod get_provisioner_health;
mod list_clusters;
mod name;
mod view;

use utoipa_axum::routes;
use web::{Surface, dialect::typed};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("clusters", typed)
        .operation(routes!(get_provisioner_health::get_provisioner_health))
        .operation(routes!(list_clusters::list_clusters))
        .operation(routes!(get_cluster::get_cluster))
}
