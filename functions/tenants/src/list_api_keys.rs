//! `GET /v1/api-keys`

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Error, Plane, Tenant, TypedRefusals};

use crate::{keys::list, view::KnownKey};

/// A tenant's keys.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct KnownKeys {
    /// Oldest first; those included that were taken back.
    data: Vec<KnownKey>,
}

/// List the API keys of the caller's tenant: what is known of them, and never the keys.
#[utoipa::path(get, path = "/v1/api-keys", tag = "tenants", security(("tenant_key" = [])),
    responses((status = 200, description = "The tenant's keys.", body = KnownKeys), TypedRefusals))]
pub(crate) async fn list_api_keys(State(plane): State<Plane>, tenant: Tenant) -> Result<Json<KnownKeys>, Error> {
    Ok(Json(KnownKeys { data: list(&plane, &tenant.id).await? }))
}
