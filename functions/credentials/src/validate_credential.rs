//! `POST /v1/credentials/{credential_id}/validate`

use axum::{Json, extract::State};
use web::{Command, Error, Id, Nothing, Plane, Pro, Tenant, TypedRefusals};

use crate::{act::validate, name::CredentialRef, view::Credential};

/// Ask the provider about the keys of a cloud credential of the caller's tenant, and keep what it says.
#[utoipa::path(post, path = "/v1/credentials/{credential_id}/validate", tag = "credentials", security(("tenant_key" = [])),
    params(("credential_id" = String, Path, description = "The credential."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "The credential, with what the provider said, or why it could not be asked.", body = Credential), TypedRefusals))]
pub(crate) async fn validate_credential(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Id(credential): Id<CredentialRef>,
    command: Command<Nothing, Tenant<Pro>>,
) -> Result<Json<Credential>, Error> {
    validate(&plane, &tenant.id, credential, &command).await
}
