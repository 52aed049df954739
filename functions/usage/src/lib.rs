//! What tenants used, and what it cost.

mod get_tenant_usage;
mod get_usage;

use utoipa_axum::routes;
use web::{Surface, dialect::typed};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("usage", typed)
        .operation(routes!(get_usage::get_usage))
        .operation(routes!(get_tenant_usage::get_tenant_usage))
}
