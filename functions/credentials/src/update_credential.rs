//! `PUT /v1/credentials/{credential_id}`

use axum::{Json, extract::State};
use web::{Command, Error, Id, Plane, Pro, Tenant, TypedRefusals};

use crate::{act::update, body::CredentialChanges, name::CredentialRef, view::Credential};

/// Change a cloud credential of the caller's tenant: its name, its keys, or whether it is the default.
#[utoipa::path(put, path = "/v1/credentials/{credential_id}", tag = "credentials", security(("tenant_key" = [])),
    params(("credential_id" = String, Path, description = "The credential."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = CredentialChanges,
    responses((status = 200, description = "The credential as it is now.", body = Credential), TypedRefusals))]
pub(crate) async fn update_credential(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Id(credential): Id<CredentialRef>,
    command: Command<CredentialChanges, Tenant<Pro>>,
) -> Result<Json<Credential>, Error> {
    update(&plane, &tenant.id, credential, command).await
}
