//! `DELETE /v1/api-keys/{key_id}`

use axum::{Json, extract::State};
use web::{Command, Error, Id, Nothing, Plane, Tenant, TypedRefusals};

use crate::{keys::revoke, name::KeyRef, view::KnownKey};

/// Revoke an API key of the caller's tenant: from this moment on it opens nothing, also where it is the one that asks.
#[utoipa::path(delete, path = "/v1/api-keys/{key_id}", tag = "tenants", security(("tenant_key" = [])),
    params(("key_id" = String, Path, format = Uuid, description = "The key's id.")),
    responses((status = 200, description = "What is known of it.", body = KnownKey), TypedRefusals))]
pub(crate) async fn revoke_api_key(
    State(plane): State<Plane>,
    tenant: Tenant,
    Id(key): Id<KeyRef>,
    _: Command<Nothing, Tenant>,
) -> Result<Json<KnownKey>, Error> {
    revoke(&plane, &tenant.id, key).await
}
