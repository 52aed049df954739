//! Login: AWS credentials for an API key.

mod aws_login;

use utoipa_axum::{router::OpenApiRouter, routes};
use web::Plane;

/// Every operation of this surface.
#[must_use]
pub fn routes() -> OpenApiRouter<Plane> {
    OpenApiRouter::new().routes(routes!(aws_login::aws_login))
}
