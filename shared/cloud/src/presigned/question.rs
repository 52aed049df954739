//! The question *who am I* as a presigned URL: how one is written and read.
//!
//! Source: AWS Signature Version 4, "authenticating requests: using query parameters"; STS API reference, `GetCallerIdentity`.

use std::collections::BTreeMap;

use domain::{Secret, Timestamp};

use super::Presigned;

/// The question, and the version of the STS API in which it is asked.
pub const ASKED: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// The regional STS endpoint's host name, in any of the three public partitions (AWS general reference, "AWS STS endpoints and quotas").
#[must_use]
pub fn sts_host(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("sts.{region}.{suffix}")
}

/// An instant as `X-Amz-Date` wants it, in whole seconds: `20260120T180000Z`.
#[must_use]
pub fn amz_date(at: Timestamp) -> String {
    let whole = Timestamp::from_millis(at.seconds() * 1000).to_string();
    whole.replace(['-', ':'], "")
}

/// Reads what [`amz_date`] writes, and nothing else.
pub(super) fn parse_amz_date(text: &str) -> Option<Timestamp> {
    let (day, time) = text.split_once('T')?;
    let (year, month, date) = (day.get(..4)?, day.get(4..6)?, day.get(6..)?);
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    let read = Timestamp::parse(&format!("{year}-{month}-{date}T{hour}:{minute}:{second}"))?;
    (amz_date(read) == text).then_some(read)
}

/// The list of signed headers: `host` and `header`, which sorts after it.
#[must_use]
pub fn signed_headers(header: &str) -> String {
    format!("host;{header}")
}

/// Everything that the query of a presigned question says.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The access key's id.
    pub access_key_id: &'a Secret,
    /// The region whose STS is asked.
    pub region: &'a str,
    /// When it was signed, as [`amz_date`] writes it.
    pub date: &'a str,
    /// For how many seconds from its date the request says that it is good.
    pub expires: u64,
    /// Empty for keys that have none.
    pub security_token: &'a Secret,
    /// The header that is signed besides `host`.
    pub header: &'a str,
    /// The signature.
    pub signature: &'a Secret,
}

impl Query<'_> {
    /// The query, its parameters in the order in which they are signed.
    #[must_use]
    pub fn text(&self) -> Secret {
        let day = self.date.get(..8).unwrap_or_default();
        let scope = format!("{}/{day}/{}/sts/aws4_request", self.access_key_id.reveal(), self.region);
        let token = match self.security_token.reveal() {
            "" => String::new(),
            token => format!("&X-Amz-Security-Token={}", encoded(token)),
        };
        Secret::new(format!(
            "{ASKED}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={}&X-Amz-Expires={}{token}\
             &X-Amz-SignedHeaders={}&X-Amz-Signature={}",
            encoded(&scope),
            encoded(self.date),
            self.expires,
            encoded(&signed_headers(self.header)),
            encoded(self.signature.reveal()),
        ))
    }

    /// The whole URL.
    #[must_use]
    pub fn url(&self) -> Secret {
        Secret::new(format!("https://{}/?{}", sts_host(self.region), self.text().reveal()))
    }
}

/// Everything but the unreserved characters of RFC 3986 percent-encoded, as Signature Version 4 has it.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Reads what [`encoded`] writes, and what leaves a reserved character as it is; a plus is refused, because some take it for a space.
fn decoded(text: &str) -> Option<Secret> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? * 16 + hex_digit(rest.next()?)?,
            b'+' => return None,
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Secret::new)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The parts of a URL that asks a regional STS who its signer is; `None` for any other URL. Each part is there once, and no other.
pub(super) fn read(url: &str) -> Option<Presigned> {
    let (host, query) = url.strip_prefix("https://")?.split_once('?')?;
    let mut parts = BTreeMap::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=')?;
        if parts.insert(name, decoded(value)?).is_some() {
            return None;
        }
    }
    for (name, value) in
        ASKED.split('&').chain(["X-Amz-Algorithm=AWS4-HMAC-SHA256"]).filter_map(|one| one.split_once('='))
    {
        parts.remove(name).filter(|given| given.reveal() == value)?;
    }
    let scope = parts.remove("X-Amz-Credential")?;
    let [id, day, region, "sts", "aws4_request"] = *scope.reveal().split('/').collect::<Vec<_>>() else { return None };
    let date = parts.remove("X-Amz-Date")?.reveal().to_owned();
    let named = !region.is_empty() && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let asks_it = named && host.strip_suffix('/').unwrap_or(host) == sts_host(region);
    let read = Presigned {
        access_key_id: Secret::new(id),
        region: region.to_owned(),
        security_token: parts.remove("X-Amz-Security-Token").unwrap_or_else(|| Secret::new("")),
        expires: parts.remove("X-Amz-Expires")?.reveal().parse().ok()?,
        signed_headers: parts.remove("X-Amz-SignedHeaders")?.reveal().to_owned(),
        signature: parts.remove("X-Amz-Signature")?,
        date,
    };
    (asks_it && read.date.get(..8) == Some(day) && parts.is_empty()).then_some(read)
}
