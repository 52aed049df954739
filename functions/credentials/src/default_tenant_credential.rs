//! `POST /admin/credentials/{credential_id}/default`

use axum::{Json, extract::State};
use web::{Admin, Checked, Command, Error, Id, Nothing, Plane, TypedRefusals};

use crate::{
    act::make_default,
    name::{CredentialRef, OfTenant, owning},
    view::Credential,
};

/// Make a cloud credential of a tenant the one that launches at its provider take which name none.
#[utoipa::path(post, path = "/admin/credentials/{credential_id}/default", tag = "credentials", security(("admin_token" = [])),
    params(("credential_id" = String, Path, description = "The credential."), ("tenant_id" = String, Query, description = "Its tenant."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "The credential, which is the default.", body = Credential), TypedRefusals))]
pub(crate) async fn default_tenant_credential(
    State(plane): State<Plane>,
    _: Admin,
    Id(credential): Id<CredentialRef>,
    Checked(query): Checked<OfTenant>,
    command: Command<Nothing, Admin>,
) -> Result<Json<Credential>, Error> {
    let tenant = owning(&plane, &query).await?;
    make_default(&plane, &tenant, credential, &command).await
}
