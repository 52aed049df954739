//! `DELETE /v1/credentials/{credential_id}`

use axum::{Json, extract::State};
use web::{Command, Error, Id, Nothing, Plane, Pro, Tenant, TypedRefusals};

use crate::{act::delete, name::CredentialRef, view::Deleted};

/// Delete a cloud credential of the caller's tenant. While something runs with it, it is refused.
#[utoipa::path(delete, path = "/v1/credentials/{credential_id}", tag = "credentials", security(("tenant_key" = [])),
    params(("credential_id" = String, Path, description = "The credential."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "It is gone, and its keys with it.", body = Deleted), TypedRefusals))]
pub(crate) async fn delete_credential(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    Id(credential): Id<CredentialRef>,
    command: Command<Nothing, Tenant<Pro>>,
) -> Result<Json<Deleted>, Error> {
    delete(&plane, &tenant.id, credential, &command).await
}
