//! What STS is asked with a caller's own credentials, and how it is understood.

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use cloud::{Identity, IdentityError, LoginRules};
use domain::identity::AwsCaller;

use super::{KEY, KEY_ID, TOKEN, credentials, sdk};
use crate::{
    StsIdentity,
    replay::{Answer, Replay},
};

const ARN: &str = "arn:aws:sts::308535385114:assumed-role/SSOCloudDevGpuReservation/jschmidt";

fn sts(replay: &Replay, temporary_only: bool) -> StsIdentity {
    let rules = LoginRules { server_id: "us".into(), regions: Vec::new(), temporary_only };
    StsIdentity::new(&sdk(replay), SharedHttpConnector::new(replay.clone()), rules)
}

fn recognised() -> Answer {
    Answer::ok(format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>{ARN}</Arn><UserId>AROAEXAMPLE:jschmidt</UserId><Account>308535385114</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    ))
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::Body(
        status,
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>recorded</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        ),
    )
}

fn caller() -> AwsCaller {
    AwsCaller { account: "308535385114".into(), arn: ARN.into() }
}

#[tokio::test]
async fn it_is_asked_in_the_callers_name() {
    let replay = Replay::new([recognised()]);
    let identity = sts(&replay, true);
    assert_eq!(identity.caller(&credentials(KEY_ID, TOKEN)).await, Ok(caller()));
    let asked = replay.asked();
    assert_eq!((asked[0].method.as_str(), asked[0].uri.as_str()), ("POST", "https://sts.eu-central-1.amazonaws.com/"));
    assert_eq!(asked[0].body, "Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!(asked[0].header("x-amz-security-token"), TOKEN);
    let scope = format!("Credential={KEY_ID}/20260120/eu-central-1/sts/aws4_request");
    assert!(asked[0].header("authorization").contains(&scope), "{}", asked[0].header("authorization"));
    let said = format!("{asked:?}");
    assert!(!said.contains(KEY) && !said.contains("OURS") && !said.contains("our-token"), "{said}");
}

async fn check(answers: &[Answer], expected: Result<AwsCaller, IdentityError>) {
    let replay = Replay::new(answers.iter().cloned());
    let identity = sts(&replay, true);
    assert_eq!(identity.caller(&credentials(KEY_ID, TOKEN)).await, expected, "{answers:?}");
    assert_eq!(replay.left(), 0, "{answers:?}");
}

#[tokio::test]
async fn refusals_and_outages_are_told_apart() {
    for (status, code) in [
        (403, "AccessDenied"),
        (403, "ExpiredToken"),
        (403, "InvalidClientTokenId"),
        (403, "SignatureDoesNotMatch"),
        (400, "IncompleteSignature"),
        (403, "MissingAuthenticationToken"),
    ] {
        check(&[refused(status, code)], Err(IdentityError::Refused)).await;
    }
    check(&[refused(403, "RegionDisabledException")], Err(IdentityError::Unavailable)).await;
    check(&[refused(400, "Throttling"), refused(400, "Throttling")], Err(IdentityError::Unavailable)).await;
    check(&[Answer::Timeout, Answer::Unreachable], Err(IdentityError::Unavailable)).await;
    check(&[refused(500, "InternalFailure"), recognised()], Ok(caller())).await;
    check(&[Answer::ok("<GetCallerIdentityResponse/>")], Err(IdentityError::Unavailable)).await;
}

#[tokio::test]
async fn keys_that_cannot_be_right_are_not_asked_about() {
    for (id, temporary_only, asked) in [
        ("AKIAIOSFODNN7EXAMPLE", true, false),
        ("AKIAIOSFODNN7EXAMPLE", false, true),
        ("ASIAIOSFODNN7EXAMPLE", true, true),
        ("ASIA", false, false),
        ("asiaiosfodnn7example", false, false),
        ("ASIAIOSFODNN7EXAMPL\n", false, false),
        ("AROAIOSFODNN7EXAMPLE", false, false),
        ("", false, false),
    ] {
        let replay = Replay::new([recognised()]);
        let identity = sts(&replay, temporary_only);
        let became = identity.caller(&credentials(id, TOKEN)).await;
        let expected = if asked { Ok(caller()) } else { Err(IdentityError::Refused) };
        assert_eq!((became, replay.asked().len()), (expected, usize::from(asked)), "{id} {temporary_only}");
    }
}
