//! The client of a cluster's API server, with a token that is never older than it may be.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cloud::{Clock, PortError};
use domain::{Secret, Timestamp};
use http::{HeaderValue, Request, header::AUTHORIZATION};
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::sync::Mutex;
use tower::BoxError;

/// A token is not used any more when it ends within this time: a request takes a while, and clocks differ.
const MARGIN: Duration = Duration::from_secs(60);

/// What the API server knows us by, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub bearer: Secret,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Makes tokens for one cluster. For EKS it signs a request in advance, which is good for less than fifteen minutes.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// A new token.
    ///
    /// # Errors
    /// When none can be had now.
    async fn token(&self) -> Result<Token, PortError>;
}

/// A cluster, as `DescribeCluster` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The API server's address.
    pub endpoint: String,
    /// The certificate authority's certificates, PEM in base64.
    pub authority: Option<String>,
}

/// A cluster cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A token sent there could be read by others.
    #[error("{0}: only https, or http on this machine")]
    NotPrivate(String),
    /// The address or the certificates are not readable.
    #[error("the cluster's address or certificates are not readable")]
    Config(#[from] kube::config::KubeconfigError),
    /// There is a certificate authority without a certificate, which would trust nobody.
    #[error("the cluster's certificate authority has no certificate")]
    NoCertificate,
    /// The configuration could not be made.
    #[error("the cluster's configuration cannot be written")]
    Json(#[from] serde_json::Error),
    /// The client cannot be made.
    #[error("the client cannot be made")]
    Client(#[from] kube::Error),
}

/// A client that sends a good token with every request.
///
/// Nothing is retried here: every caller of a port repeats its calls, and knows how much time it has.
///
/// # Errors
/// When the cluster's description is of no use.
pub async fn connect(
    cluster: &Cluster,
    namespace: &str,
    tokens: Arc<dyn Tokens>,
    clock: Arc<dyn Clock>,
) -> Result<Client, ConnectError> {
    let local = ["http://127.0.0.1:", "http://localhost:"];
    let private = cluster.endpoint.starts_with("https://");
    if !private && !local.iter().any(|start| cluster.endpoint.starts_with(start)) {
        return Err(ConnectError::NotPrivate(cluster.endpoint.clone()));
    }
    let described: Kubeconfig = serde_json::from_value(json!({
        "clusters": [{"name": "eks", "cluster": {
            "server": cluster.endpoint, "certificate-authority-data": cluster.authority,
        }}],
        "users": [{"name": "eks", "user": {}}],
        "contexts": [{"name": "eks", "context": {"cluster": "eks", "user": "eks", "namespace": namespace}}],
        "current-context": "eks",
    }))?;
    let mut config = Config::from_custom_kubeconfig(described, &KubeConfigOptions::default()).await?;
    if cluster.authority.is_some() && config.root_cert.as_ref().is_none_or(Vec::is_empty) {
        return Err(ConnectError::NoCertificate);
    }
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(20));
    config.reset_reader_on_write = true;
    let plain = Client::try_from(config)?;
    let bearer = Arc::new(Bearer { tokens, clock, held: Mutex::new(None) });
    let service = tower::service_fn(move |request: Request<Body>| {
        let (plain, bearer) = (plain.clone(), Arc::clone(&bearer));
        async move { bearer.send(&plain, request).await }
    });
    Ok(Client::new(service, namespace))
}

/// Holds a token while it is good.
struct Bearer {
    tokens: Arc<dyn Tokens>,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Token>>,
}

impl Bearer {
    async fn send(&self, client: &Client, mut request: Request<Body>) -> Result<http::Response<Body>, BoxError> {
        let token = self.token().await?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.bearer.reveal()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
        let answer = client.send(request).await?;
        if answer.status() == http::StatusCode::UNAUTHORIZED {
            self.forget(&token).await;
        }
        Ok(answer)
    }

    async fn token(&self) -> Result<Token, PortError> {
        // Held while a new one is made, so that many requests at once ask for one token.
        let mut held = self.held.lock().await;
        if let Some(token) = held.as_ref().filter(|token| self.clock.now().plus(MARGIN) < token.expires_at) {
            return Ok(token.clone());
        }
        let token = self.tokens.token().await?;
        if token.expires_at <= self.clock.now() {
            return Err(PortError::Unavailable("the cluster's token ended before it was used".to_owned()));
        }
        *held = Some(token.clone());
        Ok(token)
    }

    /// The server does not know this token any more; the next request takes a new one.
    async fn forget(&self, token: &Token) {
        let mut held = self.held.lock().await;
        if held.as_ref() == Some(token) {
            *held = None;
        }
    }
}
