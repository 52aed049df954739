//! AWS: `GetCallerIdentity` at the regional STS endpoint, signed with Signature Version 4.
//!
//! Source: IAM user guide, "Create a signed AWS API request"; STS API reference, `GetCallerIdentity`.

use domain::{
    Timestamp,
    credential::{AwsKeys, Fault, Silence, Verdict},
};
use reqwest::{Client, RequestBuilder, StatusCode, header};
use ring::hmac;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Answer;
use crate::presigned::{ASKED, amz_date, sts_host};

const FORM: &str = "application/x-www-form-urlencoded";

/// A POST of a form to the root of a service, as it is to be signed.
pub(super) struct Signable<'a> {
    pub(super) keys: &'a AwsKeys,
    pub(super) service: &'a str,
    pub(super) host: &'a str,
    pub(super) body: &'a str,
    pub(super) at: Timestamp,
}

impl Signable<'_> {
    /// What goes into the header `Authorization`.
    pub(super) fn authorization(&self) -> String {
        let date = amz_date(self.at);
        let day = date.get(..8).unwrap_or_default();
        let AwsKeys { access_key_id, secret_access_key, region, session_token } = self.keys;
        let mut headers = format!("content-type:{FORM}\nhost:{}\nx-amz-date:{date}\n", self.host);
        let mut names = "content-type;host;x-amz-date".to_owned();
        if let Some(token) = session_token {
            headers.push_str(&format!("x-amz-security-token:{}\n", token.reveal()));
            names.push_str(";x-amz-security-token");
        }
        let body = hex::encode(Sha256::digest(self.body));
        let canonical = format!("POST\n/\n\n{headers}\n{names}\n{body}");
        let scope = format!("{day}/{region}/{}/aws4_request", self.service);
        let signed = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(&canonical)));
        let mut key = hmac_sha256(format!("AWS4{}", secret_access_key.reveal()).as_bytes(), day);
        for part in [region, self.service, "aws4_request", &signed] {
            key = hmac_sha256(key.as_ref(), part);
        }
        let (id, signature) = (access_key_id.reveal(), hex::encode(key.as_ref()));
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

fn hmac_sha256(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

/// Whose key is this? It is signed for the real endpoint's host wherever it is sent.
pub(super) fn question(http: &Client, base: Option<&str>, keys: &AwsKeys, now: Timestamp) -> RequestBuilder {
    let host = sts_host(&keys.region);
    let url = base.map_or_else(|| format!("https://{host}/"), |base| format!("{base}/"));
    let signable = Signable { keys, service: "sts", host: &host, body: ASKED, at: now };
    let mut request = http
        .post(url)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, FORM)
        .header("x-amz-date", amz_date(now))
        .header(header::AUTHORIZATION, signable.authorization())
        .header(header::HOST, host)
        .body(ASKED);
    if let Some(token) = &keys.session_token {
        request = request.header("x-amz-security-token", token.reveal());
    }
    request
}

#[derive(Deserialize)]
struct Answered {
    #[serde(rename = "GetCallerIdentityResponse")]
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "GetCallerIdentityResult")]
    result: Whose,
}

#[derive(Deserialize)]
struct Whose {
    #[serde(rename = "Account")]
    account: String,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(rename = "Error")]
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    #[serde(rename = "Code")]
    code: String,
}

/// What STS's answer means (IAM user guide, "Common errors"; STS API reference, "Common error types").
pub(super) fn verdict(answer: &Answer) -> Verdict {
    if answer.status == StatusCode::OK {
        let account = answer.json::<Answered>().map(|answered| answered.response.result.account);
        let account = account.filter(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()));
        return account.map_or_else(|| answer.says_nothing(), |account| Verdict::Valid { account });
    }
    let code = answer.json::<Refused>().map(|refused| refused.error.code).unwrap_or_default();
    Verdict::Invalid(match code.as_str() {
        "InvalidClientTokenId" | "InvalidAccessKeyId" | "UnrecognizedClientException" => Fault::UnknownKey,
        "SignatureDoesNotMatch" | "IncompleteSignature" => Fault::WrongSecret,
        "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" => Fault::Expired,
        "AccessDenied" | "AccessDeniedException" | "AuthFailure" | "OptInRequired" | "RegionDisabledException" => {
            Fault::Denied
        }
        "RequestExpired" | "RequestTimeTooSkewed" => return Verdict::Unreachable(Silence::Clock),
        "Throttling" | "ThrottlingException" => return Verdict::Unreachable(Silence::Busy),
        _ => return answer.says_nothing(),
    })
}
