//! `POST /v1/auth/aws-login`

use axum::{Json, extract::State};
use cloud::{AwsCredentials, IdentityError, Presigned};
use domain::{
    Secret, Timestamp,
    api_key::{KeyKind, mint, shown_prefix},
    identity::{AwsCaller, Member},
    job::Hours,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use web::{DetailRefusals, Error, Input, Plane, Problem, body::Plain};

/// Who is logging in, proved in exactly one of two ways: by a request that they have signed, which is safest because no key is sent; or by
/// temporary AWS credentials, which are used for one question to STS, and neither kept nor logged.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "aws_access_key_id": "ASIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "aws_session_token": "local:jschmidt"
}))]
pub(crate) struct AwsLogin {
    /// The presigned URL of `GetCallerIdentity` at the regional STS endpoint, with the header `x-slipway-server-id` (this API's host
    /// name) signed, good for at most 60 seconds, and for one login. With it the other fields are left out.
    #[schema(value_type = Option<String>)]
    presigned_url: Option<Secret>,
    /// Without `presigned_url`: the temporary key's id, `ASIA...`.
    #[schema(value_type = Option<String>)]
    aws_access_key_id: Option<Secret>,
    /// Without `presigned_url`: the secret key.
    #[schema(value_type = Option<String>)]
    aws_secret_access_key: Option<Secret>,
    /// Without `presigned_url`: the session token.
    #[schema(value_type = Option<String>)]
    aws_session_token: Option<Secret>,
}

impl Input for AwsLogin {
    const SECRET: &'static [&'static str] =
        &["presigned_url", "aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
}

/// What a login is proved with.
enum Proof {
    Signed(Presigned),
    Lent(AwsCredentials),
}

impl AwsLogin {
    /// Exactly one of the two ways.
    fn proof(self) -> Result<Proof, Error> {
        let lent = [&self.aws_access_key_id, &self.aws_secret_access_key, &self.aws_session_token];
        if let Some(url) = &self.presigned_url {
            if lent.into_iter().any(Option::is_some) {
                return Err(Error::field(
                    "presigned_url",
                    "Give presigned_url or the three aws_ fields, not both",
                    None,
                ));
            }
            let read = Presigned::read(url).map_err(|none| Error::field("presigned_url", none.to_string(), None))?;
            return Ok(Proof::Signed(read));
        }
        Ok(Proof::Lent(AwsCredentials {
            access_key_id: needed("aws_access_key_id", self.aws_access_key_id)?,
            secret_access_key: needed("aws_secret_access_key", self.aws_secret_access_key)?,
            session_token: needed("aws_session_token", self.aws_session_token)?,
        }))
    }
}

/// A field that is there; else the refusal that a missing field always gets, which shows nothing of a body that is all secrets.
fn needed(field: &'static str, given: Option<Secret>) -> Result<Secret, Error> {
    given.ok_or_else(|| {
        let loc = vec!["body".into(), field.into()];
        Error::Invalid(vec![Problem { kind: "missing", loc, msg: "Field required".into(), input: Some(json!({})) }])
    })
}

/// Whose proof this is.
///
/// A signed request is used up after STS has vouched for it, and before anything is given for it. Not earlier: then whoever sends
/// nonsense could fill the table, and an outage of STS would cost its sender a request that nobody has used. Of two who come at once
/// with the same request STS vouches for both; the table lets one of them through, whichever is written first.
async fn caller_of(plane: &Plane, proof: Proof) -> Result<AwsCaller, Error> {
    let refused = |error| match error {
        IdentityError::Refused => Error::Unauthenticated("AWS does not know these credentials: get fresh ones", true),
        IdentityError::Rejected(why) => Error::Unauthenticated(why.words(), true),
        IdentityError::Unavailable => Error::Unavailable("AWS cannot be asked: try again", 5),
    };
    match proof {
        Proof::Lent(credentials) => plane.ports.identity.caller(&credentials).await.map_err(refused),
        Proof::Signed(presigned) => {
            let caller = plane.ports.identity.presigned_caller(&presigned).await.map_err(refused)?;
            let first = plane.store.use_login(&presigned.nonce(), plane.ports.clock.now()).await?;
            let used = Error::Unauthenticated("The presigned request was used before: sign a fresh one", true);
            if first { Ok(caller) } else { Err(used) }
        }
    }
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
    let caller = caller_of(&plane, login.proof()?).await?;
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
        key_prefix: shown_prefix(KeyKind::User, &api_key),
        api_key,
        user_id,
        username: member.user.to_string(),
        aws_arn: caller.arn,
        expires_at,
        ttl_hours,
    }))
}
