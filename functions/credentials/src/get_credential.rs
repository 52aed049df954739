//! `GET /v1/credentials/{credential_id}`

use axum::{Json, extract::State};
use web::{Error, Id, Plane, Pro, Tenant, TypedRefusals};

use crate::{act::get, name::CredentialRef, view::Credential};

/// Get a cloud credential of the caller's tenant: what is known of it, and never the keys.
#[utoipa::path(get, path = "/v1/credentials/{credential_id}", tag = "credentials", security(("tenant_key" = [])),
    params(("credential_id" = String, Path, description = "The credential.")),
    responses((status = 200, description = "The credential.", body = Credential), TypedRefusals))]
pub(crate) async fn get_credential(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Id(credential): Id<CredentialRef>,
) -> Result<Json<Credential>, Error> {
    get(&plane, &tenant.id, credential).await
}
