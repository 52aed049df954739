//! API keys of people.

mod rotate_key;

use utoipa_axum::{router::OpenApiRouter, routes};
use web::Plane;

/// Every operation of this surface.
#[must_use]
pub fn routes() -> OpenApiRouter<Plane> {
    OpenApiRouter::new().routes(routes!(rotate_key::rotate_key))
}
