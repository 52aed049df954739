//! `DELETE /admin/credentials/{credential_id}`

use axum::{Json, extract::State};
use web::{Admin, Checked, Command, Error, Id, Nothing, Plane, TypedRefusals};

use crate::{
    act::delete,
    name::{CredentialRef, OfTenant, owning},
    view::Deleted,
};

/// Delete a cloud credential of a tenant. While something runs with it, it is refused.
#[utoipa::path(delete, path = "/admin/credentials/{credential_id}", tag = "credentials", security(("admin_token" = [])),
    params(("credential_id" = String, Path, description = "The credential."), ("tenant_id" = String, Query, description = "Its tenant."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "It is gone, and its keys with it.", body = Deleted), TypedRefusals))]
pub(crate) async fn delete_tenant_credential(
    State(plane): State<Plane>,
    _: Admin,
    Id(credential): Id<CredentialRef>,
    Checked(query): Checked<OfTenant>,
    command: Command<Nothing, Admin>,
) -> Result<Json<Deleted>, Error> {
    let tenant = owning(&plane, &query).await?;
    delete(&plane, &tenant, credential, &command).await
}
