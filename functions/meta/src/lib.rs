//! What anybody may ask: what this is, whether it is well, and how to use it.

mod docs;
mod get_api_info;
mod get_health;

use axum::routing::get;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::Plane;

/// Every operation of this surface, and the pages that show the API document.
#[must_use]
pub fn routes() -> OpenApiRouter<Plane> {
    OpenApiRouter::new()
        .routes(routes!(get_api_info::get_api_info))
        .routes(routes!(get_health::get_health))
        .routes(routes!(docs::get_openapi))
        .route("/docs", get(docs::swagger_index))
        .route("/docs/", get(docs::swagger_file))
        .route("/docs/{*file}", get(docs::swagger_file))
        .route("/redoc", get(docs::redoc))
}
