//! Tenants, and their keys: for the installation's admins, and the keys for the tenants themselves.

mod create_api_key;
mod create_tenant;
mod create_tenant_key;
mod delete_tenant;
mod get_tenant;
mod keys;
mod list_api_keys;
mod list_tenant_keys;
mod list_tenants;
mod name;
mod revoke_api_key;
mod revoke_tenant_key;
mod update_tenant;
mod view;

use utoipa_axum::routes;
use web::{Surface, dialect::typed};

/// Every operation of this surface.
#[must_use]
pub fn surface() -> Surface {
    Surface::new("tenants", typed)
        .operation(routes!(create_tenant::create_tenant))
        .operation(routes!(list_tenants::list_tenants))
        .operation(routes!(get_tenant::get_tenant))
        .operation(routes!(update_tenant::update_tenant))
        .operation(routes!(delete_tenant::delete_tenant))
        .operation(routes!(create_tenant_key::create_tenant_key))
        .operation(routes!(list_tenant_keys::list_tenant_keys))
        .operation(routes!(revoke_tenant_key::revoke_tenant_key))
        .operation(routes!(create_api_key::create_api_key))
        .operation(routes!(list_api_keys::list_api_keys))
        .operation(routes!(revoke_api_key::revoke_api_key))
}
