//! `POST /admin/credentials/{credential_id}/validate`

use axum::{Json, extract::State};
use web::{Admin, Checked, Command, Error, Id, Nothing, Plane, TypedRefusals};

use crate::{
    act::validate,
    name::{CredentialRef, OfTenant, owning},
    view::Credential,
};

/// Ask the provider about the keys of a cloud credential of a tenant, and keep what it says.
#[utoipa::path(post, path = "/admin/credentials/{credential_id}/validate", tag = "credentials", security(("admin_token" = [])),
    params(("credential_id" = String, Path, description = "The credential."), ("tenant_id" = String, Query, description = "Its tenant."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "The credential, with what the provider said, or why it could not be asked.", body = Credential), TypedRefusals))]
pub(crate) async fn validate_tenant_credential(
    State(plane): State<Plane>,
    _: Admin,
    Id(credential): Id<CredentialRef>,
    Checked(query): Checked<OfTenant>,
    command: Command<Nothing, Admin>,
) -> Result<Json<Credential>, Error> {
    let tenant = owning(&plane, &query).await?;
    validate(&plane, &tenant, credential, &command).await
}
