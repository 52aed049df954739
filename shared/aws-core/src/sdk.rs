//! How the SDK's clients are made on Lambda, without `aws-config` and without a call.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_sts::config::{BehaviorVersion, IdentityCache, retry::RetryConfig, timeout::TimeoutConfig};
use aws_smithy_async::{
    rt::sleep::{AsyncSleep, Sleep},
    time::TimeSource,
};
use aws_smithy_http_client::{
    Builder, Connector,
    tls::{self, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_types::{SdkConfig, region::Region};
use cloud::{AwsCredentials, Clock};
use domain::Secret;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one attempt of a call may take in all. Nothing that is asked here takes longer when it is well.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a call is made, the first time included. With the SDK's pauses that is at most about 17 seconds.
const ATTEMPTS: u32 = 3;

const TLS: tls::Provider = tls::Provider::Rustls(CryptoMode::Ring);

/// What a process is told about AWS by its environment, as Lambda sets it (Lambda developer guide, "Defined runtime environment variables").
#[derive(Clone, Debug)]
pub struct Environment {
    /// The region: `AWS_REGION`.
    pub region: String,
    /// The function's own credentials; the session token is empty where there is none. They outlive the process on Lambda, which
    /// replaces the process rather than the variables.
    pub credentials: AwsCredentials,
    /// Where everything is asked instead of AWS, for an emulator: `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
}

/// A variable that must be set is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not set")]
pub struct MissingVariable(&'static str);

impl Environment {
    /// Reads the process's own environment.
    ///
    /// # Errors
    /// When the region or the credentials are missing.
    pub fn from_process() -> Result<Self, MissingVariable> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables through `variable`; one that is empty counts as missing.
    ///
    /// # Errors
    /// When the region or the credentials are missing.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, MissingVariable> {
        let optional = |name: &str| variable(name).filter(|value| !value.is_empty());
        let needed = |name: &'static str| optional(name).ok_or(MissingVariable(name));
        Ok(Self {
            region: needed("AWS_REGION")?,
            credentials: AwsCredentials {
                access_key_id: Secret::new(needed("AWS_ACCESS_KEY_ID")?),
                secret_access_key: Secret::new(needed("AWS_SECRET_ACCESS_KEY")?),
                session_token: Secret::new(optional("AWS_SESSION_TOKEN").unwrap_or_default()),
            },
            endpoint: optional("AWS_ENDPOINT_URL"),
        })
    }
}

/// Credentials as the SDK takes them. It wipes its copy when it is dropped, too.
pub(crate) fn sdk_credentials(credentials: &AwsCredentials) -> Credentials {
    let token = Some(credentials.session_token.reveal()).filter(|token| !token.is_empty()).map(str::to_owned);
    let (id, key) = (credentials.access_key_id.reveal(), credentials.secret_access_key.reveal());
    Credentials::new(id, key, token, None, "slipway")
}

/// What every client is made from: where, as whom, over which HTTP client, how long and how often. Making it asks nobody anything.
pub fn client_config(environment: &Environment, http: impl HttpClient + 'static, clock: &Arc<dyn Clock>) -> SdkConfig {
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(environment.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(sdk_credentials(&environment.credentials)))
        // The credentials are at hand, so that there is nothing to cache; and a caller's, which log in, are never kept.
        .identity_cache(IdentityCache::no_cache())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts)
        .time_source(PortTime(clock.clone()))
        .sleep_impl(PortTime(clock.clone()))
        .http_client(http);
    config.set_endpoint_url(environment.endpoint.clone());
    config.build()
}

/// HTTP over TLS, for every client of a process.
#[must_use]
pub fn https() -> SharedHttpClient {
    Builder::new().tls_provider(TLS).build_https()
}

/// Makes every client. They share one HTTP client, and so its connections.
#[derive(Clone)]
pub struct Sdk {
    environment: Environment,
    config: SdkConfig,
    clock: Arc<dyn Clock>,
}

impl Sdk {
    /// Clients that speak TLS to AWS.
    #[must_use]
    pub fn new(environment: Environment, clock: Arc<dyn Clock>) -> Self {
        Self::over(environment, https(), clock)
    }

    /// The same clients, which ask `provider` for credentials, and again when those end.
    #[must_use]
    pub fn asking(mut self, provider: SharedCredentialsProvider) -> Self {
        let cached = IdentityCache::lazy().build();
        self.config = self.config.into_builder().credentials_provider(provider).identity_cache(cached).build();
        self
    }

    /// The same clients, with somebody else's keys.
    #[must_use]
    pub fn signing_as(&self, credentials: AwsCredentials) -> Self {
        let (mut other, provider) = (self.clone(), SharedCredentialsProvider::new(sdk_credentials(&credentials)));
        let config = other.config.into_builder().credentials_provider(provider);
        other.config = config.identity_cache(IdentityCache::no_cache()).build();
        other.environment.credentials = credentials;
        other
    }

    /// Clients over another HTTP client, such as one that replays answers.
    #[must_use]
    pub fn over(environment: Environment, http: impl HttpClient + 'static, clock: Arc<dyn Clock>) -> Self {
        let config = client_config(&environment, http, &clock);
        Self { environment, config, clock }
    }

    /// What clients are made from, for the crates that name an SDK of their own.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// What the environment said: the region, and the function's own credentials to sign with.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The time that all of its clients go by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// DynamoDB, without retries: the store has its own, which know what may be repeated.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::config::Builder::from(&self.config).retry_config(RetryConfig::disabled());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// SQS.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// Step Functions.
    #[must_use]
    pub fn sfn(&self) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(&self.config)
    }

    /// KMS.
    #[must_use]
    pub fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.config)
    }

    /// Secrets Manager.
    #[must_use]
    pub fn secretsmanager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }

    /// A connection to STS for requests that are not the SDK's to make: those that a client has signed.
    #[must_use]
    pub fn connector(&self) -> SharedHttpConnector {
        let timeouts = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(ATTEMPT_TIMEOUT);
        let connector = Connector::builder().tls_provider(TLS).connector_settings(timeouts.build());
        SharedHttpConnector::new(connector.sleep_impl(PortTime(self.clock.clone())).build())
    }
}

impl fmt::Debug for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sdk").field("environment", &self.environment).finish_non_exhaustive()
    }
}

/// The clock port, as the SDK wants it: its signatures, its time-outs and its pauses go by the same time as everything else.
struct PortTime(Arc<dyn Clock>);

impl fmt::Debug for PortTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PortTime(..)")
    }
}

impl TimeSource for PortTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.0.now().millis()).unwrap_or(0))
    }
}

impl AsyncSleep for PortTime {
    fn sleep(&self, pause: Duration) -> Sleep {
        let clock = self.0.clone();
        Sleep::new(Exclusive(Mutex::new(Box::pin(async move { clock.sleep(pause).await }))))
    }
}

/// A future that two threads may hold, because only one can ever poll it. The SDK wants its pauses so; the clock's are not.
struct Exclusive(Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Future for Exclusive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.get_mut().0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(context)
    }
}
