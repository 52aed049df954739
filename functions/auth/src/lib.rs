//! Login: AWS credentials for an API key.

mod aws_login;

use utoipa_axum::routes;
use web::{Surface, dialect::detail};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("auth", detail).operation(routes!(aws_login::aws_login))
}
