//! What anybody may ask: what this is, whether it is well, and how to use it.

mod docs;
mod get_api_info;
mod get_health;

use axum::routing::get;
use utoipa_axum::routes;
use web::{Surface, dialect::detail};

/// Every operation of this surface, and the pages that show the API document.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("meta", detail)
        .operation(routes!(get_api_info::get_api_info))
        .operation(routes!(get_health::get_health))
        .operation(routes!(docs::get_openapi))
        .page("/docs", get(docs::swagger_index))
        .page("/docs/", get(docs::swagger_file))
        .page("/docs/{*file}", get(docs::swagger_file))
        .page("/redoc", get(docs::redoc))
}
