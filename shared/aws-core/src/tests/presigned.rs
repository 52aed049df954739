//! Presigned requests: their signatures, and what STS is asked. The signatures were computed with other programs, by the definition of
//! Signature Version 4; botocore 1.44.5 gives the same.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cloud::{
    AwsCredentials, Clock, Identity, IdentityError, LoginRules, Presigned, Rejected,
    presigned::{SERVER_ID, WINDOW, amz_date, signed_headers},
};
use domain::identity::AwsCaller;

use super::{KEY_ID, NOW, TOKEN, TestClock, credentials, environment, sdk_at};
use crate::{
    Sdk, StsIdentity, eks_token,
    replay::{Answer, Replay},
    signing::signature,
};

const SERVER: &str = "gpus.example.com";
const SIGNATURE: &str = "837acf484323108619f4ebc86d722cdacc2d704245d06146db26095b787b1ef2";
const QUERY: &str = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
                     ASIAIOSFODNN7EXAMPLE%2F20260120%2Feu-central-1%2Fsts%2Faws4_request&X-Amz-Date=20260120T183000Z&X-Amz-Expires=60\
                     &X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2F%2Btoken%3D%3D&X-Amz-SignedHeaders=host%3Bx-slipway-server-id\
                     &X-Amz-Signature=837acf484323108619f4ebc86d722cdacc2d704245d06146db26095b787b1ef2";

fn rules() -> LoginRules {
    let regions = ["eu-central-1", "cn-north-1"].map(str::to_owned).to_vec();
    LoginRules { server_id: SERVER.into(), regions, temporary_only: true }
}

/// What a client makes of its credentials.
pub(super) fn sign(credentials: &AwsCredentials, region: &str, server_id: &str) -> Presigned {
    Presigned {
        access_key_id: credentials.access_key_id.clone(),
        region: region.to_owned(),
        date: amz_date(NOW),
        security_token: credentials.session_token.clone(),
        expires: WINDOW.as_secs(),
        signed_headers: signed_headers(SERVER_ID),
        signature: signature(credentials, region, (SERVER_ID, server_id), NOW, WINDOW).unwrap(),
    }
}

fn presigned() -> Presigned {
    sign(&credentials(KEY_ID, TOKEN), "eu-central-1", SERVER)
}

#[test]
fn the_signature_is_that_of_another_program() {
    assert_eq!(presigned().signature.reveal(), SIGNATURE);
    let china = sign(&credentials(KEY_ID, TOKEN), "cn-north-1", SERVER);
    assert_eq!(china.signature.reveal(), "23ad328a000a2fdfc9f7ab750710a7b6f64f8e6fedb3bda6ef617719431b8d5f");
    assert_eq!(china.rebuild(&rules(), NOW).unwrap().host, "sts.cn-north-1.amazonaws.com.cn");
}

const ARN: &str = "arn:aws:sts::308535385114:assumed-role/SSOCloudDevGpuReservation/jschmidt";

fn recognised() -> Answer {
    let body = serde_json::json!({"GetCallerIdentityResponse": {
        "GetCallerIdentityResult": {"Account": "308535385114", "Arn": ARN, "UserId": "AROAEXAMPLE:jschmidt"},
        "ResponseMetadata": {"RequestId": "r"}
    }});
    Answer::ok(body.to_string())
}

fn refused(status: u16, code: &str) -> Answer {
    let body = serde_json::json!({"Error": {"Code": code, "Message": "recorded", "Type": "Sender"}, "RequestId": "r"});
    Answer::Body(status, body.to_string())
}

fn sts(replay: &Replay, clock: std::sync::Arc<TestClock>) -> StsIdentity {
    StsIdentity::new(&sdk_at(replay, clock), SharedHttpConnector::new(replay.clone()), rules())
}

#[tokio::test]
async fn sts_is_asked_what_was_signed_and_nothing_else() {
    let replay = Replay::new([recognised()]);
    let caller = sts(&replay, TestClock::new()).presigned_caller(&presigned()).await;
    assert_eq!(caller, Ok(AwsCaller { account: "308535385114".into(), arn: ARN.into() }));
    let asked = replay.asked();
    assert_eq!(asked[0].method, "GET");
    assert_eq!(asked[0].uri, format!("https://sts.eu-central-1.amazonaws.com/?{QUERY}"));
    let headers = asked[0].headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
    let host = ("host", "sts.eu-central-1.amazonaws.com");
    assert_eq!(headers, [("accept", "application/json"), host, ("x-slipway-server-id", SERVER)]);
}

#[tokio::test]
async fn an_emulator_is_asked_under_the_signed_name() {
    let replay = Replay::new([recognised()]);
    let with = crate::Environment { endpoint: Some("http://127.0.0.1:4599/".into()), ..environment() };
    let emulated = Sdk::over(with, replay.clone(), TestClock::new());
    let sts = StsIdentity::new(&emulated, SharedHttpConnector::new(replay.clone()), rules());
    assert!(sts.presigned_caller(&presigned()).await.is_ok());
    let asked = replay.asked();
    assert_eq!(asked[0].uri, format!("http://127.0.0.1:4599/?{QUERY}"));
    assert_eq!(asked[0].header("host"), "sts.eu-central-1.amazonaws.com");
}

async fn check(answers: &[Answer], expected: Result<&str, IdentityError>) {
    let replay = Replay::new(answers.iter().cloned());
    let became = sts(&replay, TestClock::new()).presigned_caller(&presigned()).await;
    assert_eq!(became.as_ref().map(|caller| caller.arn.as_str()), expected.as_ref().copied(), "{answers:?}");
    assert_eq!(replay.left(), 0, "{answers:?}");
}

#[tokio::test]
async fn refusals_and_outages_are_told_apart() {
    for code in ["SignatureDoesNotMatch", "ExpiredToken", "InvalidClientTokenId", "AccessDenied"] {
        check(&[refused(403, code)], Err(IdentityError::Refused)).await;
    }
    check(&[refused(400, "Throttling")], Err(IdentityError::Unavailable)).await;
    check(&[Answer::Body(403, "<html>".into())], Err(IdentityError::Unavailable)).await;
    check(&[Answer::ok("{}")], Err(IdentityError::Unavailable)).await;
    check(&[refused(500, "InternalFailure"), Answer::Timeout], Err(IdentityError::Unavailable)).await;
    check(&[Answer::Unreachable, recognised()], Ok(ARN)).await;
}

#[tokio::test]
async fn what_is_rejected_is_not_asked_about() {
    let (replay, clock) = (Replay::new([recognised()]), TestClock::new());
    clock.pass(Duration::from_secs(90));
    assert!(clock.now() > NOW);
    let rejected = Err(IdentityError::Rejected(Rejected::Date));
    assert_eq!(sts(&replay, clock).presigned_caller(&presigned()).await, rejected);
    assert_eq!(replay.asked(), []);
}

#[test]
fn an_eks_token_is_a_url_that_names_its_cluster() {
    let long_lived = credentials("AKIAIOSFODNN7EXAMPLE", "");
    for (credentials, region, token, signature) in [
        (
            credentials(KEY_ID, TOKEN),
            "us-east-2",
            "&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2F%2Btoken%3D%3D",
            "5bede8a753b2736f7a018c9bb1d787f244e2fd59e0d7cbfd731733d8773493a9",
        ),
        (long_lived, "us-gov-west-1", "", "c3e54259091f43272b4558041c4ffa997684a44317b4223e298b2c3e2949af0e"),
    ] {
        // The part of a second does not lengthen what the URL says.
        let made = eks_token(&credentials, region, "gpu-cluster", NOW.plus(Duration::from_millis(700))).unwrap();
        let text = made.text.reveal().strip_prefix("k8s-aws-v1.").unwrap();
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        let id = credentials.access_key_id.reveal();
        let expected = format!(
            "https://sts.{region}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential={id}%2F20260120%2F{region}%2Fsts%2Faws4_request&X-Amz-Date=20260120T183000Z&X-Amz-Expires=60{token}\
             &X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Signature={signature}"
        );
        assert_eq!(url, expected);
        assert_eq!(made.good_until, NOW.plus(Duration::from_secs(60)));
    }
    assert!(eks_token(&credentials(KEY_ID, TOKEN), "us-east-2", "a\nb", NOW).is_err());
}
