//! `POST /v1/auth/aws-login`

use axum::{Json, extract::State};
use cloud::{AwsCredentials, IdentityError};
use domain::{
    Secret, Timestamp,
    api_key::{KeyKind, mint, shown_prefix},
    identity::Member,
    job::Hours,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{DetailRefusals, Error, Input, Plane, body::Plain};

/// Temporary AWS credentials. They are used for one question to STS, and neither kept nor logged.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "aws_access_key_id": "ASIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "aws_session_token": "local:jschmidt"
}))]
pub(crate) struct AwsLogin {
    #[schema(value_type = String)]
    aws_access_key_id: Secret,
    #[schema(value_type = String)]
    aws_secret_access_key: Secret,
    #[schema(value_type = String)]
    aws_session_token: Secret,
}

impl Input for AwsLogin {
    const SECRET: &'static [&'static str] = &["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
}

/// A key, shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "api_key": "swk_...", "key_prefix": "swk_0Ab1", "user_id": 42, "username": "jschmidt",
    "aws_arn": "arn:aws:sts::308535385114:assumed-role/SSOCloudDevGpuReservation/jschmidt",
    "expires_at": "2026-01-20T20:00:00Z", "ttl_hours": 2
}))]
pub(crate) struct LoggedIn {
    #[schema(value_type = String)]
    api_key: Secret,
    /// Its first eight characters, by which a person recognises it.
    key_prefix: String,
    user_id: u64,
    username: String,
    aws_arn: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    ttl_hours: u32,
}

/// Exchange AWS credentials for an API key.
#[utoipa::path(post, path = "/v1/auth/aws-login", tag = "auth", request_body = AwsLogin,
    responses((status = 200, description = "A key that is good for a few hours.", body = LoggedIn), DetailRefusals))]
pub(crate) async fn aws_login(
    State(plane): State<Plane>,
    Plain(login): Plain<AwsLogin>,
) -> Result<Json<LoggedIn>, Error> {
    let credentials = AwsCredentials {
        access_key_id: login.aws_access_key_id,
        secret_access_key: login.aws_secret_access_key,
        session_token: login.aws_session_token,
    };
    let caller = plane.ports.identity.caller(&credentials).await.map_err(|error| match error {
        IdentityError::Refused => Error::Unauthenticated("AWS does not know these credentials: get fresh ones", true),
        IdentityError::Unavailable => Error::Unavailable("AWS cannot be asked: try again", 5),
    })?;
    let secrets = plane.settings.secrets.current().await?;
    let admitted = secrets.login.admit(&caller);
    let (tenant, user) =
        admitted.ok_or(Error::Forbidden("This AWS role may not log in here: ask whoever runs this installation"))?;
    let now = plane.ports.clock.now();
    let user_id = plane.store.user_id(&tenant, &user, now).await?;
    let ttl_hours = plane.settings.policy.key_ttl_hours;
    let expires_at = now.plus(Hours::whole(ttl_hours).duration());
    let api_key = mint(KeyKind::User, &plane.ports.ids.random());
    let member = Member { tenant, user, user_id, expires_at };
    plane.store.add_user_key(&api_key, &member).await?;
    Ok(Json(LoggedIn {
        key_prefix: shown_prefix(&api_key),
        api_key,
        user_id,
        username: member.user.to_string(),
        aws_arn: caller.arn,
        expires_at,
        ttl_hours,
    }))
}
