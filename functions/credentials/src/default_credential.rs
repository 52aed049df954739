//! `POST /v1/credentials/{credential_id}/default`

use axum::{Json, extract::State};
use web::{Command, Error, Id, Nothing, Plane, Pro, Tenant, TypedRefusals};

use crate::{act::make_default, name::CredentialRef, view::Credential};

/// Make a cloud credential of the caller's tenant the one that launches at its provider take which name none.
#[utoipa::path(post, path = "/v1/credentials/{credential_id}/default", tag = "credentials", security(("tenant_key" = [])),
    params(("credential_id" = String, Path, description = "The credential."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "The credential, which is the default.", body = Credential), TypedRefusals))]
pub(crate) async fn default_credential(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Id(credential): Id<CredentialRef>,
    command: Command<Nothing, Tenant<Pro>>,
) -> Result<Json<Credential>, Error> {
    make_default(&plane, &tenant.id, credential, &command).await
}
