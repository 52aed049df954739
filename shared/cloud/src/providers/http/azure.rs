//! Azure: a token for the management API by the client credentials grant.
//!
//! Source: Microsoft identity platform, "OAuth 2.0 client credentials flow" and "Microsoft Entra authentication and authorization error
//! codes".

use domain::credential::{AzureKeys, Fault, Verdict};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;

use super::{Answer, Token};

/// What the token is for: that which would start machines.
const SCOPE: &str = "https://management.azure.com/.default";

/// Let this application in. The directory is a UUID, so that it is one segment of the path whatever it says.
pub(super) fn question(http: &Client, base: &str, keys: &AzureKeys) -> RequestBuilder {
    let client = keys.client_id.to_string();
    http.post(format!("{base}/{}/oauth2/v2.0/token", keys.tenant_id)).form(&[
        ("grant_type", "client_credentials"),
        ("client_id", &*client),
        ("client_secret", keys.client_secret.reveal()),
        ("scope", SCOPE),
    ])
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_codes: Vec<u64>,
}

pub(super) fn verdict(answer: &Answer, keys: &AzureKeys) -> Verdict {
    if answer.status == StatusCode::OK {
        let let_in = answer.json::<Token>().is_some();
        let account = keys.tenant_id.to_string();
        return if let_in { Verdict::Valid { account } } else { answer.says_nothing() };
    }
    let Some(refused) = answer.json::<Refused>() else { return answer.says_nothing() };
    let by_code = refused.error_codes.iter().find_map(|code| {
        Some(match code {
            // The application, or the directory, is not there.
            700_016 | 90_002 | 900_023 => Fault::UnknownKey,
            7_000_215 => Fault::WrongSecret,
            7_000_222 => Fault::Expired,
            // The application is disabled.
            7_000_112 => Fault::Denied,
            _ => return None,
        })
    });
    Verdict::Invalid(match (by_code, refused.error.as_str()) {
        (Some(fault), _) => fault,
        (None, "invalid_client") => Fault::WrongSecret,
        (None, "unauthorized_client" | "invalid_grant" | "access_denied") => Fault::Denied,
        (None, _) => return answer.says_nothing(),
    })
}
