//! Who AWS credentials belong to, over STS.

use std::sync::Arc;

use async_trait::async_trait;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sts::{
    Client,
    config::{Builder, retry::RetryConfig, timeout::TimeoutConfig},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use cloud::{
    AwsCredentials, Clock, Identity, IdentityError, LoginRules, Presigned,
    presigned::{Rebuilt, SERVER_ID, is_key_id},
};
use domain::identity::AwsCaller;
use futures::future::{Either, select};
use serde::Deserialize;

use crate::{
    Sdk,
    errors::{code, quietly, words},
    sdk::{CONNECT_TIMEOUT, sdk_credentials},
};

/// How long STS may take for one answer: somebody waits for a login.
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);
/// How often STS is asked in all.
const ATTEMPTS: u32 = 2;

/// The codes with which STS says that credentials are nobody's (IAM user guide, "Common errors" and STS API reference, `GetCallerIdentity`,
/// which denies nobody whose signature is right).
const REFUSALS: [&str; 13] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "MissingAuthenticationToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// What a refusal of STS means. Whatever is not about the credentials is about STS, or about us.
fn refused(code: Option<&str>, why: &str) -> IdentityError {
    if code.is_some_and(|code| REFUSALS.contains(&code)) {
        return IdentityError::Refused;
    }
    tracing::warn!(why, "sts.unavailable");
    IdentityError::Unavailable
}

/// `GetCallerIdentity` at a regional STS endpoint, signed by the caller and with nothing of ours: with credentials that they lend for one
/// question, or by themselves.
pub struct StsIdentity {
    config: Builder,
    connector: SharedHttpConnector,
    rules: LoginRules,
    clock: Arc<dyn Clock>,
    endpoint: Option<String>,
}

impl StsIdentity {
    /// Asks with lent credentials the STS of the SDK's region; with presigned requests that of any region which `rules` allow, over
    /// `connector` ([`Sdk::connector`]); or the emulator that the SDK was told of.
    #[must_use]
    pub fn new(sdk: &Sdk, connector: SharedHttpConnector, rules: LoginRules) -> Self {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ANSWER_TIMEOUT).build();
        let mut nobodys = sdk.config().clone().into_builder();
        nobodys.set_credentials_provider(None);
        let config = Builder::from(&nobodys.build())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts);
        let endpoint = sdk.environment().endpoint.clone();
        Self { config, connector, rules, clock: sdk.clock().clone(), endpoint }
    }

    fn request(&self, rebuilt: &Rebuilt) -> Option<HttpRequest> {
        let base = self.endpoint.clone().unwrap_or_else(|| format!("https://{}", rebuilt.host));
        let request = http::Request::get(format!("{}/?{}", base.trim_end_matches('/'), rebuilt.query.reveal()))
            .header("host", &rebuilt.host)
            .header("accept", "application/json")
            .header(SERVER_ID, &rebuilt.server_id)
            .body(SdkBody::empty());
        HttpRequest::try_from(request.ok()?).ok()
    }

    /// One try: the status and the body; `None` when there was no answer.
    async fn ask(&self, rebuilt: &Rebuilt) -> Option<(u16, Vec<u8>)> {
        let request = self.request(rebuilt)?;
        let answer = quietly(async {
            let response = self.connector.call(request).await.ok()?;
            let status = response.status().as_u16();
            let body = ByteStream::new(response.into_body()).collect().await.ok()?;
            Some((status, body.to_vec()))
        });
        match select(Box::pin(answer), self.clock.sleep(ANSWER_TIMEOUT)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), _)) => None,
        }
    }
}

/// What STS answers where JSON is asked for.
#[derive(Deserialize)]
struct Answered {
    #[serde(rename = "GetCallerIdentityResponse")]
    response: AnsweredResponse,
}

#[derive(Deserialize)]
struct AnsweredResponse {
    #[serde(rename = "GetCallerIdentityResult")]
    result: AnsweredResult,
}

#[derive(Deserialize)]
struct AnsweredResult {
    #[serde(rename = "Account")]
    account: String,
    #[serde(rename = "Arn")]
    arn: String,
}

/// What STS answers when it refuses.
#[derive(Deserialize)]
struct RefusedAnswer {
    #[serde(rename = "Error")]
    error: RefusedCode,
}

#[derive(Deserialize)]
struct RefusedCode {
    #[serde(rename = "Code")]
    code: String,
}

#[async_trait]
impl Identity for StsIdentity {
    async fn caller(&self, credentials: &AwsCredentials) -> Result<AwsCaller, IdentityError> {
        if !is_key_id(credentials.access_key_id.reveal(), self.rules.temporary_only) {
            return Err(IdentityError::Refused);
        }
        // A client of its own: when this call is over nothing holds the credentials, and what held them has wiped its copy.
        let theirs = SharedCredentialsProvider::new(sdk_credentials(credentials));
        let client = Client::from_conf(self.config.clone().credentials_provider(theirs).build());
        let answer = quietly(client.get_caller_identity().send()).await;
        let answer = answer.map_err(|error| refused(code(&error), &words(&error)))?;
        match (answer.account, answer.arn) {
            (Some(account), Some(arn)) => Ok(AwsCaller { account, arn }),
            _ => Err(IdentityError::Unavailable),
        }
    }

    async fn presigned_caller(&self, presigned: &Presigned) -> Result<AwsCaller, IdentityError> {
        let rebuilt = presigned.rebuild(&self.rules, self.clock.now())?;
        let mut answer = None;
        for _ in 0..ATTEMPTS {
            answer = self.ask(&rebuilt).await;
            // The question changes nothing, so that it can be asked again.
            if answer.as_ref().is_some_and(|(status, _)| *status < 500) {
                break;
            }
        }
        let (status, body) = answer.ok_or_else(|| refused(None, "no answer"))?;
        if status == 200 {
            let unreadable = |_malformed| refused(None, "an answer that cannot be read");
            let AnsweredResult { account, arn } =
                serde_json::from_slice::<Answered>(&body).map_err(unreadable)?.response.result;
            return Ok(AwsCaller { account, arn });
        }
        let said = serde_json::from_slice::<RefusedAnswer>(&body).ok();
        let code = said.as_ref().map(|said| said.error.code.as_str());
        Err(refused(code, &format!("status {status}, code {}", code.unwrap_or("none"))))
    }
}
