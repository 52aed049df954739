//! Tenants' own keys to clouds: for the installation's admins, and for the tenants themselves.
//!
//! What goes in comes out never again: an answer says what is known of keys, and no operation reads them but the one that asks their
//! provider about them.

mod act;
mod body;
mod create_credential;
mod create_tenant_credential;
mod default_credential;
mod default_tenant_credential;
mod delete_credential;
mod delete_tenant_credential;
mod get_credential;
mod get_tenant_credential;
mod list_credentials;
mod list_tenant_credentials;
mod name;
mod update_credential;
mod update_tenant_credential;
mod validate_credential;
mod validate_tenant_credential;
mod view;

use utoipa_axum::routes;
use web::{Surface, dialect::typed};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("credentials", typed)
        .operation(routes!(create_tenant_credential::create_tenant_credential))
        .operation(routes!(list_tenant_credentials::list_tenant_credentials))
        .operation(routes!(get_tenant_credential::get_tenant_credential))
        .operation(routes!(update_tenant_credential::update_tenant_credential))
        .operation(routes!(delete_tenant_credential::delete_tenant_credential))
        .operation(routes!(validate_tenant_credential::validate_tenant_credential))
        .operation(routes!(default_tenant_credential::default_tenant_credential))
        .operation(routes!(create_credential::create_credential))
        .operation(routes!(list_credentials::list_credentials))
        .operation(routes!(get_credential::get_credential))
        .operation(routes!(update_credential::update_credential))
        .operation(routes!(delete_credential::delete_credential))
        .operation(routes!(validate_credential::validate_credential))
        .operation(routes!(default_credential::default_credential))
}
