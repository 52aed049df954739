//! Login with a presigned request: what a client sends, and what the server asks STS with it.
//!
//! The client signs the question *who am I* for this installation and sends its URL, never its key. The server **rebuilds** the
//! request from the URL's parts and constants of its own: it forwards no URL, so that nobody can make it ask another host, another
//! question, or one that was signed for another service (Vault and EKS take the same kind of request: the confused deputy of
//! invariant 3.1). What a part says is checked before; that it was signed so is for STS to say.
//!
//! All of this is pure, so that every identity service, on AWS or not, takes the same requests.

mod question;

use std::time::Duration;

use domain::{Secret, SecretHash, Timestamp};

use crate::AwsCredentials;
use question::parse_amz_date;
pub use question::{ASKED, Query, amz_date, signed_headers, sts_host};

/// The header that says for which installation a request was signed. Its value is not in the URL: the server signs for itself alone.
pub const SERVER_ID: &str = "x-slipway-server-id";

/// How far a request's date may be from the server's, either way; and how long a request may say that it is good. STS itself takes requests
/// for 15 minutes whatever they say (kubernetes-sigs/aws-iam-authenticator#160), so that this window is ours to hold.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Longer than any session token that STS gives out, in bytes; it bounds what is sent on.
const LONGEST_TOKEN: usize = 8 * 1024;

/// The parts of a presigned `GetCallerIdentity` request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// The access key's id.
    pub access_key_id: Secret,
    /// The region whose STS is to be asked.
    pub region: String,
    /// When it was signed: `20260120T180000Z`.
    pub date: String,
    /// The session token; empty for a long-lived key, which has none.
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
    /// This installation's own id, which clients sign: its host name. No other service has it.
    pub server_id: String,
    /// The regions whose STS may be asked.
    pub regions: Vec<String>,
    /// Only temporary keys, whose ids begin with `ASIA`: those of a user (`AKIA`) live for years.
    pub temporary_only: bool,
}

/// The URL is none that asks a regional STS who its signer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "give the presigned URL of GetCallerIdentity at a regional STS endpoint, with exactly the parameters of Signature Version 4"
)]
pub struct NotPresigned;

/// A presigned request that STS need not be asked about. Each says to its sender what is wrong, and nothing that it did not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Its region is not on the list.
    #[error("{}", self.words())]
    Region,
    /// Its key's id is malformed, or a long-lived key's.
    #[error("{}", self.words())]
    KeyId,
    /// Its session token is missing or malformed.
    #[error("{}", self.words())]
    Token,
    /// Its date cannot be read, or is more than [`WINDOW`] from the server's.
    #[error("{}", self.words())]
    Date,
    /// It says that it is good for longer than [`WINDOW`], or not at all.
    #[error("{}", self.words())]
    Expires,
    /// It was good, and is no more.
    #[error("{}", self.words())]
    Expired,
    /// Other headers were signed than must be.
    #[error("{}", self.words())]
    SignedHeaders,
    /// Its signature is not 64 lower-case hexadecimal digits.
    #[error("{}", self.words())]
    Signature,
}

impl Rejected {
    /// One sentence for the sender.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Region => {
                "The presigned request is for a region whose STS is not asked here: sign it for this installation's"
            }
            Self::KeyId => "The presigned request was not signed with a temporary access key",
            Self::Token => "The presigned request has no session token, or none that could be one",
            Self::Date => "The presigned request's date must be within 60 seconds of the server's",
            Self::Expires => "The presigned request must expire within 60 seconds",
            Self::Expired => "The presigned request has expired: sign a fresh one",
            Self::SignedHeaders => "The presigned request must have exactly host and x-slipway-server-id signed",
            Self::Signature => "The presigned request has no signature that could be one",
        }
    }
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

/// Whether `id` is one of an access key that may log in (IAM API reference, `AccessKey`: 16 to 128 word characters; the prefixes are
/// those of the IAM user guide, "Unique identifiers"); with `temporary_only` that of a temporary one.
#[must_use]
pub fn is_key_id(id: &str, temporary_only: bool) -> bool {
    let prefixed = id.starts_with("ASIA") || (!temporary_only && id.starts_with("AKIA"));
    let worded = id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    prefixed && worded && (16..=128).contains(&id.len())
}

impl Presigned {
    /// Reads the parts out of a URL, as botocore's `SigV4QueryAuth` writes it.
    ///
    /// # Errors
    /// When it is the URL of anything else.
    pub fn read(url: &Secret) -> Result<Self, NotPresigned> {
        question::read(url.reveal()).ok_or(NotPresigned)
    }

    /// The URL, as a client sends it.
    #[must_use]
    pub fn url(&self) -> Secret {
        self.query().url()
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
        let (host, server_id) = (sts_host(&self.region), rules.server_id.clone());
        Ok(Rebuilt { host, query: self.query().text(), server_id })
    }

    /// What somebody is taken for who sends this where no STS can be asked: as if the signature were the secret key.
    ///
    /// Nobody there can tell by whom it was signed, nor for which server: this is for one machine's own programs and for tests.
    ///
    /// # Errors
    /// As [`Presigned::rebuild`]; any region and any kind of key will do.
    pub fn unverified(&self, now: Timestamp) -> Result<AwsCredentials, Rejected> {
        let (server_id, regions) = (String::new(), vec![self.region.clone()]);
        self.rebuild(&LoginRules { server_id, regions, temporary_only: false }, now)?;
        Ok(AwsCredentials {
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.signature.clone(),
            session_token: self.security_token.clone(),
        })
    }

    fn query(&self) -> Query<'_> {
        Query {
            access_key_id: &self.access_key_id,
            region: &self.region,
            date: &self.date,
            expires: self.expires,
            security_token: &self.security_token,
            header: SERVER_ID,
            signature: &self.signature,
        }
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

#[cfg(test)]
mod tests;
