//! `POST /admin/credentials`

use axum::{Json, extract::State};
use domain::{credential::Provider, names::Label};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Admin, Command, Error, Input, Plane, TypedRefusals};

use crate::{
    act::{New, create},
    body::Given,
    name::named,
    view::Credential,
};

/// Whose, and what it opens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "tenant_id": "550e8400-e29b-41d4-a716-446655440000", "provider": "aws", "name": "AWS Production", "is_default": true,
    "credentials": {
        "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "region": "us-west-2"
    }
}))]
pub(crate) struct NewTenantCredential {
    /// The tenant.
    tenant_id: String,
    /// `aws`, `azure` or `gcp`.
    #[schema(value_type = String)]
    provider: Provider,
    /// What it is called, for people.
    #[schema(value_type = String)]
    name: Label,
    /// Whether launches at this provider that name no credential take this one; no when left out.
    #[serde(default)]
    is_default: bool,
    /// For `aws`: `access_key_id`, `secret_access_key`, `region` and, of temporary keys, `session_token`. For `azure`: `subscription_id`,
    /// `tenant_id`, `client_id`, `client_secret`. For `gcp`: a service account's file.
    #[serde(rename = "credentials")]
    #[schema(value_type = Object)]
    keys: Given,
}

impl Input for NewTenantCredential {
    const SECRET: &'static [&'static str] = &["credentials"];
}

/// Store a cloud credential of a tenant. Its keys are sealed, and no answer ever holds them.
#[utoipa::path(post, path = "/admin/credentials", tag = "credentials", security(("admin_token" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = NewTenantCredential,
    responses((status = 201, description = "The credential, about which nobody was asked yet.", body = Credential), TypedRefusals))]
pub(crate) async fn create_tenant_credential(
    State(plane): State<Plane>,
    _: Admin,
    mut command: Command<NewTenantCredential, Admin>,
) -> Result<(StatusCode, Json<Credential>), Error> {
    let tenant = named(&plane, &command.input.tenant_id).await?;
    let NewTenantCredential { provider, name, is_default, keys, .. } = &mut command.input;
    let keys = keys.take(*provider)?;
    let new = New { provider: *provider, name: name.clone(), is_default: *is_default };
    create(&plane, &tenant, (new, &keys), &command).await
}
