//! `POST /v1/api-keys`

use axum::{Json, extract::State};
use domain::names::Label;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Command, Error, Input, LimitsBody, Plane, Tenant, TypedRefusals};

use crate::keys::{NewKey, create, may_make_keys};

/// What it is called.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "laptop"}))]
pub(crate) struct NewApiKey {
    /// What it is called, for people.
    #[schema(value_type = String)]
    name: Label,
    /// Its life in days, 1 to 3650; without an end when left out.
    expires_in_days: Option<u32>,
    /// What it may ask of models; all that its tenant may when left out.
    #[schema(value_type = Option<LimitsBody>)]
    limits: Option<LimitsBody>,
}

impl Input for NewApiKey {
    const SECRET: &'static [&'static str] = &[];
}

/// Create another API key for the caller's tenant. It is shown this once.
#[utoipa::path(post, path = "/v1/api-keys", tag = "tenants", security(("tenant_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A repetition is refused with 409 and names the key, since the answer held a secret.")),
    request_body = NewApiKey,
    responses((status = 201, description = "The key.", body = NewKey), TypedRefusals))]
pub(crate) async fn create_api_key(
    State(plane): State<Plane>,
    tenant: Tenant,
    command: Command<NewApiKey, Tenant>,
) -> Result<(StatusCode, Json<NewKey>), Error> {
    may_make_keys(&tenant)?;
    let NewApiKey { name, expires_in_days, limits } = &command.input;
    create(&plane, &tenant.id, (name, *expires_in_days, limits.as_ref()), &command).await
}
