//! Google Cloud: a token in exchange for a JWT that the service account's key signs.
//!
//! Source: Google Identity, "Using OAuth 2.0 for server to server applications", section "HTTP/REST"; RFC 7515 and RFC 7523.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use domain::{
    Secret, Timestamp,
    credential::{Fault, GcpKeys, Silence, Verdict},
};
use reqwest::{Client, RequestBuilder, StatusCode};
// The random numbers blind the computation against onlookers; the signature is the same whatever they are.
use ring::{
    rand as blinding,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Answer, Token};

/// For whom the JWT is: Google's token service under its own name, wherever it is reached. What the service account's file says
/// (`token_uri`) is not looked at.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// For how long the JWT is good, in seconds: long enough for clocks that differ a little.
const GOOD_FOR: i64 = 300;

/// The private key is none.
pub(super) struct NoKey;

/// Reads the key of a service account's file: PKCS #8, and the older PKCS #1, of 2048 to 4096 bits.
fn key_pair(pem: &Secret) -> Result<RsaKeyPair, NoKey> {
    // Whoever carries the file through an environment variable often turns its line breaks into a backslash and an n.
    let text = Zeroizing::new(pem.reveal().replace("\\n", "\n"));
    let inside = |label: &str| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let digits = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
        STANDARD.decode(&*digits).ok().map(Zeroizing::new)
    };
    let read = match (inside("PRIVATE KEY"), inside("RSA PRIVATE KEY")) {
        (Some(der), _) => RsaKeyPair::from_pkcs8(&der),
        (None, Some(der)) => RsaKeyPair::from_der(&der),
        (None, None) => return Err(NoKey),
    };
    read.map_err(|_rejected| NoKey)
}

/// The JWT, signed with RS256.
fn assertion(keys: &GcpKeys, now: Timestamp) -> Result<Secret, NoKey> {
    let pair = key_pair(&keys.private_key)?;
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": keys.private_key_id});
    let claims = json!({
        "iss": keys.client_email,
        "scope": SCOPE,
        "aud": AUDIENCE,
        "iat": now.seconds(),
        "exp": now.seconds() + GOOD_FOR,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    let blinding = blinding::SystemRandom::new();
    pair.sign(&RSA_PKCS1_SHA256, &blinding, signed.as_bytes(), &mut signature).map_err(|_unspecified| NoKey)?;
    Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

/// Let this service account in.
pub(super) fn question(http: &Client, base: &str, keys: &GcpKeys, now: Timestamp) -> Result<RequestBuilder, NoKey> {
    let assertion = assertion(keys, now)?;
    Ok(http.post(format!("{base}/token")).form(&[("grant_type", GRANT), ("assertion", assertion.reveal())]))
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// What the token service's answer means. Its one code for all that can be wrong with a JWT is told apart by its words, which go no
/// further.
pub(super) fn verdict(answer: &Answer, keys: &GcpKeys) -> Verdict {
    if answer.status == StatusCode::OK {
        let let_in = answer.json::<Token>().is_some();
        let account = keys.project_id.clone();
        return if let_in { Verdict::Valid { account } } else { answer.says_nothing() };
    }
    let Some(Refused { error, error_description }) = answer.json() else { return answer.says_nothing() };
    let words = error_description.to_ascii_lowercase();
    Verdict::Invalid(match error.as_str() {
        "invalid_grant" if words.contains("account not found") => Fault::UnknownKey,
        "invalid_grant" if words.contains("reasonable timeframe") => return Verdict::Unreachable(Silence::Clock),
        "invalid_grant" if words.contains("disabled") => Fault::Denied,
        "invalid_grant" => Fault::WrongSecret,
        "invalid_client" => Fault::UnknownKey,
        "unauthorized_client" | "access_denied" | "disabled_client" | "account_disabled" => Fault::Denied,
        _ => return answer.says_nothing(),
    })
}
