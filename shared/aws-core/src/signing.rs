//! Presigned `GetCallerIdentity` requests: how one is signed.
//!
//! Whoever holds AWS credentials signs the question *who am I* (Signature Version 4, "authenticating requests: using query parameters")
//! and hands it to somebody else, who asks it and learns whose it is, but never the key. One more header is signed with it, which says for
//! whom it is meant.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use cloud::{
    AwsCredentials,
    presigned::{ASKED, sts_host},
};
use domain::{Secret, Timestamp};
use tracing::subscriber::{NoSubscriber, with_default};

use crate::sdk::sdk_credentials;

/// A request could not be signed: the region or a header is not one that HTTP can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request cannot be signed")]
pub struct CannotSign;

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
