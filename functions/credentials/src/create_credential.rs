//! `POST /v1/credentials`

use axum::{Json, extract::State};
use domain::{credential::Provider, names::Label};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Command, Error, Input, Plane, Pro, Tenant, TypedRefusals};

use crate::{
    act::{New, create},
    body::Given,
    view::Credential,
};

/// What it opens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "provider": "aws", "name": "My AWS Production", "is_default": true,
    "credentials": {
        "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "region": "us-west-2"
    }
}))]
pub(crate) struct NewCredential {
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

impl Input for NewCredential {
    const SECRET: &'static [&'static str] = &["credentials"];
}

/// Store a cloud credential of the caller's tenant. Its keys are sealed, and no answer ever holds them.
#[utoipa::path(post, path = "/v1/credentials", tag = "credentials", security(("tenant_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = NewCredential,
    responses((status = 201, description = "The credential, about which nobody was asked yet.", body = Credential), TypedRefusals))]
pub(crate) async fn create_credential(
    State(plane): State<Plane>,
    tenant: Tenant<Pro>,
    mut command: Command<NewCredential, Tenant<Pro>>,
) -> Result<(StatusCode, Json<Credential>), Error> {
    let NewCredential { provider, name, is_default, keys } = &mut command.input;
    let keys = keys.take(*provider)?;
    let new = New { provider: *provider, name: name.clone(), is_default: *is_default };
    create(&plane, &tenant.id, (new, &keys), &command).await
}
