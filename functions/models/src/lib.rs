//! The registry of models, for the installation's admins.

mod create_model;
mod delete_model;
mod get_model;
mod list_models;
mod name;
mod update_model;
mod view;

use utoipa_axum::routes;
use web::{Surface, dialect::typed};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("models", typed)
        .operation(routes!(create_model::create_model))
        .operation(routes!(list_models::list_models))
        .operation(routes!(get_model::get_model))
        .operation(routes!(update_model::update_model))
        .operation(routes!(delete_model::delete_model))
}
