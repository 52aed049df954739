//! A credential as callers see it: never its keys.

use domain::{Timestamp, credential};
use serde::Serialize;
use utoipa::ToSchema;

/// A credential.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "cred-12345678-1234-1234-1234-123456789012", "tenant_id": "550e8400-e29b-41d4-a716-446655440000", "provider": "aws",
    "name": "AWS Production", "is_default": true, "is_valid": null, "account": null, "last_validated_at": null,
    "validation_error": null, "in_use": 0, "created_at": "2024-01-15T10:30:00Z", "updated_at": "2024-01-15T10:30:00Z"
}))]
pub(crate) struct Credential {
    id: String,
    tenant_id: String,
    /// `aws`, `azure` or `gcp`.
    provider: &'static str,
    name: String,
    /// Launches at this provider that name no credential take this one.
    is_default: bool,
    /// What the provider said last; null while it has said nothing.
    is_valid: Option<bool>,
    /// Whose the keys are: AWS's account, Azure's directory, Google's project. Null while the provider has not said.
    account: Option<String>,
    /// When the provider said so.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_validated_at: Option<Timestamp>,
    /// What was wrong when the provider was last asked: `malformed`, `unknown_key`, `wrong_secret`, `expired`, `denied` or
    /// `unreachable`, a colon, and a sentence.
    validation_error: Option<String>,
    /// How many live workloads run with it.
    in_use: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<&credential::Credential> for Credential {
    fn from(known: &credential::Credential) -> Self {
        Self {
            id: known.id.to_string(),
            tenant_id: known.tenant.to_string(),
            provider: known.provider.name(),
            name: known.name.as_str().to_owned(),
            is_default: known.is_default,
            is_valid: known.is_valid,
            account: known.account.clone(),
            last_validated_at: known.last_validated_at,
            validation_error: known.validation_error(),
            in_use: known.uses,
            created_at: known.created_at,
            updated_at: known.updated_at,
        }
    }
}

/// A credential is gone.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "cred-12345678-1234-1234-1234-123456789012", "deleted": true, "message": "Credential deleted"
}))]
pub(crate) struct Deleted {
    id: String,
    deleted: bool,
    message: &'static str,
}

impl Deleted {
    /// Of this credential.
    pub(crate) fn of(known: &credential::Credential) -> Self {
        Self { id: known.id.to_string(), deleted: true, message: "Credential deleted" }
    }
}
