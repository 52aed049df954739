//! Presigned `GetCallerIdentity` requests: how one is signed, and how its query is written.
//!
//! Whoever holds AWS credentials signs the question *who am I* (Signature Version 4, "authenticating requests: using query parameters")
//! and hands it to somebody else, who asks it and learns whose it is, but never the key. One more header is signed with it, which says for
//! whom it is meant.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use cloud::AwsCredentials;
use domain::{Secret, Timestamp};
use tracing::subscriber::{NoSubscriber, with_default};

use crate::sdk::sdk_credentials;

/// The question, and the version of the STS API in which it is asked.
const ASKED: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// A request could not be signed: the region or a header is not one that HTTP can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request cannot be signed")]
pub struct CannotSign;

/// The regional STS endpoint's host name, in any of the three public partitions (AWS general reference, "AWS STS endpoints and quotas").
pub(crate) fn sts_host(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("sts.{region}.{suffix}")
}

/// An instant as `X-Amz-Date` wants it, in whole seconds: `20260120T180000Z`.
pub(crate) fn amz_date(at: Timestamp) -> String {
    let whole = Timestamp::from_millis(at.seconds() * 1000).to_string();
    whole.replace(['-', ':'], "")
}

/// Reads what [`amz_date`] writes, and nothing else.
pub(crate) fn parse_amz_date(text: &str) -> Option<Timestamp> {
    let (day, time) = text.split_once('T')?;
    let (year, month, date) = (day.get(..4)?, day.get(4..6)?, day.get(6..)?);
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    let read = Timestamp::parse(&format!("{year}-{month}-{date}T{hour}:{minute}:{second}"))?;
    (amz_date(read) == text).then_some(read)
}

/// Everything that the query of a presigned request says.
pub(crate) struct Query<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) region: &'a str,
    pub(crate) date: &'a str,
    /// For how many seconds from its date the request says that it is good.
    pub(crate) expires: u64,
    /// Empty for keys that have none.
    pub(crate) security_token: &'a str,
    /// The header that is signed besides `host`.
    pub(crate) header: &'a str,
    pub(crate) signature: &'a str,
}

impl Query<'_> {
    /// The query, its parameters in the order in which they are signed.
    pub(crate) fn text(&self) -> Secret {
        let day = self.date.get(..8).unwrap_or_default();
        let scope = format!("{}/{day}/{}/sts/aws4_request", self.access_key_id, self.region);
        let token = match self.security_token {
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
            encoded(self.signature),
        ))
    }
}

/// The list of signed headers: `host` and `header`, which sorts after it.
pub(crate) fn signed_headers(header: &str) -> String {
    format!("host;{header}")
}

/// Everything but the unreserved characters of RFC 3986 percent-encoded, as Signature Version 4 has it.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Signs the question with somebody's credentials, and gives the signature.
pub(crate) fn signature(
    credentials: &AwsCredentials,
    region: &str,
    header: (&str, &str),
    at: Timestamp,
    expires: Duration,
) -> Result<Secret, CannotSign> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(expires);
    let identity = sdk_credentials(credentials).into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(system_time(at))
        .settings(settings)
        .build()
        .map_err(|_incomplete| CannotSign)?
        .into();
    let url = format!("https://{}/?{ASKED}", sts_host(region));
    // What is signed names the token, and the signer prints it at the level `trace`.
    with_default(NoSubscriber::new(), || {
        let request = SignableRequest::new("GET", url, [header].into_iter(), SignableBody::empty());
        let signed = sign(request.map_err(|_malformed| CannotSign)?, &params).map_err(|_unsignable| CannotSign)?;
        Ok(Secret::new(signed.into_parts().1))
    })
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(at.seconds()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_one_spelling() {
        let at = Timestamp::from_seconds(1_768_933_800);
        assert_eq!(amz_date(at), "20260120T183000Z");
        assert_eq!(amz_date(at.plus(Duration::from_millis(999))), "20260120T183000Z");
        assert_eq!(parse_amz_date("20260120T183000Z"), Some(at));
        for other in [
            "",
            "T",
            "20260120T183000",
            "20260120T183000z",
            "2026-01-20T18:30:00Z",
            "20260120T183000+0100",
            "é0260120T1",
        ] {
            assert_eq!(parse_amz_date(other), None, "{other}");
        }
    }

    #[test]
    fn each_partition_has_its_hosts() {
        for (region, host) in [
            ("eu-central-1", "sts.eu-central-1.amazonaws.com"),
            ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ] {
            assert_eq!(sts_host(region), host);
        }
    }
}
