//! `GET /admin/credentials/{credential_id}`

use axum::{Json, extract::State};
use web::{Admin, Checked, Error, Id, Plane, TypedRefusals};

use crate::{
    act::get,
    name::{CredentialRef, OfTenant, owning},
    view::Credential,
};

/// Get a cloud credential of a tenant: what is known of it, and never the keys.
#[utoipa::path(get, path = "/admin/credentials/{credential_id}", tag = "credentials", security(("admin_token" = [])),
    params(("credential_id" = String, Path, description = "The credential."), ("tenant_id" = String, Query, description = "Its tenant.")),
    responses((status = 200, description = "The credential.", body = Credential), TypedRefusals))]
pub(crate) async fn get_tenant_credential(
    State(plane): State<Plane>,
    _: Admin,
    Id(credential): Id<CredentialRef>,
    Checked(query): Checked<OfTenant>,
) -> Result<Json<Credential>, Error> {
    let tenant = owning(&plane, &query).await?;
    get(&plane, &tenant, credential).await
}
