//! `PUT /admin/credentials/{credential_id}`

use axum::{Json, extract::State};
use web::{Admin, Checked, Command, Error, Id, Plane, TypedRefusals};

use crate::{
    act::update,
    body::CredentialChanges,
    name::{CredentialRef, OfTenant, owning},
    view::Credential,
};

/// Change a cloud credential of a tenant: its name, its keys, or whether it is the default.
#[utoipa::path(put, path = "/admin/credentials/{credential_id}", tag = "credentials", security(("admin_token" = [])),
    params(("credential_id" = String, Path, description = "The credential."), ("tenant_id" = String, Query, description = "Its tenant."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = CredentialChanges,
    responses((status = 200, description = "The credential as it is now.", body = Credential), TypedRefusals))]
pub(crate) async fn update_tenant_credential(
    State(plane): State<Plane>,
    _: Admin,
    Id(credential): Id<CredentialRef>,
    Checked(query): Checked<OfTenant>,
    command: Command<CredentialChanges, Admin>,
) -> Result<Json<Credential>, Error> {
    let tenant = owning(&plane, &query).await?;
    update(&plane, &tenant, credential, command).await
}
