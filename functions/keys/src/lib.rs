//! API keys of people.

mod rotate_key;

use utoipa_axum::routes;
use web::{Surface, dialect::detail};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("keys", detail).operation(routes!(rotate_key::rotate_key))
}
