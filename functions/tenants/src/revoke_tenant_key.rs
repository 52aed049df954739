//! `DELETE /admin/api-keys/{key_id}`

use axum::{Json, extract::State};
use web::{Admin, Checked, Command, Error, Id, Identified, Nothing, Plane, TypedRefusals};

use crate::{
    keys::revoke,
    name::{KeyRef, OfTenant, named},
    view::KnownKey,
};

/// Revoke a tenant's API key: from this moment on it opens nothing.
#[utoipa::path(delete, path = "/admin/api-keys/{key_id}", tag = "tenants", security(("admin_token" = [])),
    params(("key_id" = String, Path, format = Uuid, description = "The key's id."), ("tenant_id" = String, Query, description = "The tenant.")),
    responses((status = 200, description = "What is known of it.", body = KnownKey), TypedRefusals))]
pub(crate) async fn revoke_tenant_key(
    State(plane): State<Plane>,
    _: Admin,
    Id(key): Id<KeyRef>,
    Checked(OfTenant { tenant_id }): Checked<OfTenant>,
    _: Command<Nothing, Admin>,
) -> Result<Json<KnownKey>, Error> {
    // An unknown tenant has no such key.
    let unknown = |_| Error::NotFound(KeyRef::UNKNOWN);
    let tenant = named(&plane, &tenant_id).await.map_err(unknown)?;
    revoke(&plane, &tenant.id, key).await
}
