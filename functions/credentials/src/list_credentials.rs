//! `GET /v1/credentials`

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Error, Plane, Pro, Tenant, TypedRefusals};

use crate::{act::list, view::Credential};

/// A tenant's credentials.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Credentials {
    /// Oldest first.
    data: Vec<Credential>,
}

/// List the cloud credentials of the caller's tenant, oldest first: what is known of them, and never the keys.
#[utoipa::path(get, path = "/v1/credentials", tag = "credentials", security(("tenant_key" = [])),
    responses((status = 200, description = "The tenant's credentials.", body = Credentials), TypedRefusals))]
pub(crate) async fn list_credentials(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
) -> Result<Json<Credentials>, Error> {
    Ok(Json(Credentials { data: list(&plane, &tenant.id).await? }))
}
