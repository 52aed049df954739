//! Login with a presigned request: what a client sends, and how the server asks STS with it.
//!
//! The client signs the question *who am I* for this installation and sends the parts of it, never its key. The server **rebuilds** the
//! request from the parts and constants of its own: it forwards no URL, so that nobody can make it ask another host, another question, or
//! one that was signed for another service (Vault and EKS take the same kind of request: the confused deputy of invariant 3.1). What a
//! part says is checked before; that it was signed so is for STS to say.

use std::time::Duration;

use cloud::AwsCredentials;
use domain::{Secret, SecretHash, Timestamp};
use serde::{Deserialize, Serialize};

use crate::signing::{CannotSign, Query, amz_date, parse_amz_date, signature, signed_headers, sts_host};

/// The header that says for which installation a request was signed.
pub const SERVER_ID: &str = "x-slipway-server-id";

/// How far a request's date may be from the server's, either way; and how long a request may say that it is good. STS itself takes requests
/// for 15 minutes whatever they say (kubernetes-sigs/aws-iam-authenticator#160), so that this window is ours to hold.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Longer than any session token that STS gives out, in bytes; it bounds what is sent on.
const LONGEST_TOKEN: usize = 8 * 1024;

/// The parts of a presigned `GetCallerIdentity` request, as a client sends them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presigned {
    /// The access key's id.
    pub access_key_id: Secret,
    /// The region whose STS is to be asked.
    pub region: String,
    /// When it was signed: `20260120T180000Z`.
    pub date: String,
    /// The session token.
    pub security_token: Secret,
    /// For how many seconds from its date it is good.
    pub expires: u64,
    /// Which headers were signed: always `host;x-slipway-server-id`.
    pub signed_headers: String,
    /// The signature, 64 lower-case hexadecimal digits.
    pub signature: Secret,
}

/// What this installation takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRules {
    /// This installation's own id, which clients sign; no other service has it.
    pub server_id: String,
    /// The regions whose STS may be asked.
    pub regions: Vec<String>,
    /// Only temporary keys, whose ids begin with `ASIA`: those of a user (`AKIA`) live for years.
    pub temporary_only: bool,
}

/// A presigned request that STS need not be asked about. Each says to its sender what is wrong, and nothing that it did not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Its region is not on the list.
    #[error("STS of that region is not asked here")]
    Region,
    /// Its key's id is malformed, or a long-lived key's.
    #[error("not the id of a temporary access key")]
    KeyId,
    /// Its session token is missing or malformed.
    #[error("not a session token")]
    Token,
    /// Its date cannot be read, or is more than [`WINDOW`] from the server's.
    #[error("the date must be within 60 seconds of the server's")]
    Date,
    /// It says that it is good for longer than [`WINDOW`], or not at all.
    #[error("it must expire within 60 seconds")]
    Expires,
    /// It was good, and is no more.
    #[error("it has expired")]
    Expired,
    /// Other headers were signed than must be.
    #[error("exactly host and x-slipway-server-id must be signed")]
    SignedHeaders,
    /// Its signature is not 64 lower-case hexadecimal digits.
    #[error("not a signature")]
    Signature,
}

/// The request that STS is asked, built from checked parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The host: a regional STS endpoint.
    pub host: String,
    /// The query, signature included.
    pub query: Secret,
    /// What goes into the header [`SERVER_ID`].
    pub server_id: String,
}

/// Whether `id` is one of an access key that `rules` allow (IAM API reference, `AccessKey`: 16 to 128 word characters; the prefixes are
/// those of the IAM user guide, "Unique identifiers").
pub(crate) fn is_key_id(id: &str, temporary_only: bool) -> bool {
    let prefixed = id.starts_with("ASIA") || (!temporary_only && id.starts_with("AKIA"));
    let worded = id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    prefixed && worded && (16..=128).contains(&id.len())
}

impl Presigned {
    /// Makes the parts on the client's side.
    ///
    /// # Errors
    /// When the region or the server's id cannot be signed.
    pub fn sign(
        credentials: &AwsCredentials,
        region: &str,
        server_id: &str,
        now: Timestamp,
    ) -> Result<Self, CannotSign> {
        Ok(Self {
            access_key_id: credentials.access_key_id.clone(),
            region: region.to_owned(),
            date: amz_date(now),
            security_token: credentials.session_token.clone(),
            expires: WINDOW.as_secs(),
            signed_headers: signed_headers(SERVER_ID),
            signature: signature(credentials, region, (SERVER_ID, server_id), now, WINDOW)?,
        })
    }

    /// Checks the parts and builds the request that STS is asked.
    ///
    /// # Errors
    /// When STS need not be asked.
    pub fn rebuild(&self, rules: &LoginRules, now: Timestamp) -> Result<Rebuilt, Rejected> {
        self.check(rules)?;
        let date = parse_amz_date(&self.date).ok_or(Rejected::Date)?;
        if now.since(date) > WINDOW || date.since(now) > WINDOW {
            return Err(Rejected::Date);
        }
        if self.expires == 0 || self.expires > WINDOW.as_secs() {
            return Err(Rejected::Expires);
        }
        if now > date.plus(Duration::from_secs(self.expires)) {
            return Err(Rejected::Expired);
        }
        let query = Query {
            access_key_id: self.access_key_id.reveal(),
            region: &self.region,
            date: &self.date,
            expires: self.expires,
            security_token: self.security_token.reveal(),
            header: SERVER_ID,
            signature: self.signature.reveal(),
        };
        Ok(Rebuilt { host: sts_host(&self.region), query: query.text(), server_id: rules.server_id.clone() })
    }

    /// What can be checked without a clock.
    fn check(&self, rules: &LoginRules) -> Result<(), Rejected> {
        if !rules.regions.contains(&self.region) {
            return Err(Rejected::Region);
        }
        let id = self.access_key_id.reveal();
        if !is_key_id(id, rules.temporary_only) {
            return Err(Rejected::KeyId);
        }
        let token = self.security_token.reveal();
        let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || token.len() > LONGEST_TOKEN || (token.is_empty() && id.starts_with("ASIA")) {
            return Err(Rejected::Token);
        }
        if self.signed_headers != signed_headers(SERVER_ID) {
            return Err(Rejected::SignedHeaders);
        }
        // One spelling, or the same signature could be sent twice under two nonces.
        SecretHash::parse(self.signature.reveal()).map(drop).ok_or(Rejected::Signature)
    }

    /// What is stored once, for longer than [`WINDOW`] on either side, so that nobody logs in with what somebody else sent before: the
    /// SHA-256 of the signature, which covers everything else.
    #[must_use]
    pub fn nonce(&self) -> SecretHash {
        self.signature.hash()
    }
}
