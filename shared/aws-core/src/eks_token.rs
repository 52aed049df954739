//! Tokens for the Kubernetes API of an EKS cluster.
//!
//! A token is a presigned `GetCallerIdentity` request with the cluster's name in a signed header, in base64 (kubernetes-sigs/aws-iam-authenticator,
//! README, "API authorization from outside a cluster"). Making one is signing, without a call.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cloud::{
    AwsCredentials,
    presigned::{Query, amz_date},
};
use domain::{Secret, Timestamp};

use crate::signing::{CannotSign, signature};

/// The header that says for which cluster a request was signed.
const CLUSTER: &str = "x-k8s-aws-id";

/// What the URL itself says, as `aws eks get-token` does.
const EXPIRES: Duration = Duration::from_secs(60);

/// A bearer token for a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EksToken {
    /// The token.
    pub text: Secret,
    /// Until when it may be used: as long as its URL says that it is good, and not a moment longer.
    ///
    /// EKS's own check allows 15 minutes from the date of signing, and for years STS did not look at the URL's own time
    /// (kubernetes-sigs/aws-iam-authenticator#160), so that clients keep tokens for 14 minutes. Where STS does look, 13 of them are spent
    /// with 401s (wdvr/osdc 99b5373). A new token costs a signature and no call: nothing is won by keeping an old one.
    pub good_until: Timestamp,
}

/// Makes a token for `cluster` in `region`, signed at `now`.
///
/// # Errors
/// When the region or the cluster's name cannot be signed.
pub fn eks_token(
    credentials: &AwsCredentials,
    region: &str,
    cluster: &str,
    now: Timestamp,
) -> Result<EksToken, CannotSign> {
    let signature = signature(credentials, region, (CLUSTER, cluster), now, EXPIRES)?;
    let query = Query {
        access_key_id: &credentials.access_key_id,
        region,
        date: &amz_date(now),
        expires: EXPIRES.as_secs(),
        security_token: &credentials.session_token,
        header: CLUSTER,
        signature: &signature,
    };
    let signed_at = Timestamp::from_millis(now.seconds() * 1000);
    Ok(EksToken {
        text: Secret::new(format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(query.url().reveal()))),
        good_until: signed_at.plus(EXPIRES),
    })
}
