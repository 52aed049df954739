//! Where clients are pointed, and as whom.

use std::collections::BTreeMap;

use super::{TestClock, environment, sdk};
use crate::{
    Environment, Sdk,
    replay::{Answer, Replay},
    sdk::MissingVariable,
};

fn read(variables: &[(&str, &str)]) -> Result<Environment, MissingVariable> {
    let variables = variables.iter().copied().collect::<BTreeMap<_, _>>();
    Environment::read(|name| variables.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn the_environment_is_read() {
    let needed = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLEEXAMPLE00"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
    ];
    let least = read(&needed).unwrap();
    assert_eq!((least.region.as_str(), least.credentials.session_token.reveal()), ("eu-central-1", ""));
    assert_eq!(least.endpoint, None);
    let all = [&needed[..], &[("AWS_SESSION_TOKEN", "token"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:4599")]].concat();
    let all = read(&all).unwrap();
    assert_eq!(all.credentials.session_token.reveal(), "token");
    assert_eq!(all.endpoint.as_deref(), Some("http://127.0.0.1:4599"));
    for (at, (name, _)) in needed.iter().enumerate() {
        let mut without = needed;
        without[at].1 = "";
        assert_eq!(read(&without).unwrap_err().to_string(), format!("the environment variable {name} is not set"));
    }
}

#[test]
fn a_real_client_is_made_without_a_call() {
    let real = Sdk::new(environment(), TestClock::new());
    drop((real.dynamodb(), real.sqs(), real.sfn(), real.kms(), real.secretsmanager(), real.connector()));
    let shown = format!("{real:?}");
    assert!(!shown.contains("ours") && !shown.contains("our-token"), "{shown}");
}

#[tokio::test]
async fn our_own_calls_are_signed_by_the_function() {
    let replay = Replay::new([Answer::ok("{}")]);
    sdk(&replay).sfn().send_task_success().task_token("t").output("{}").send().await.unwrap();
    let asked = replay.asked();
    assert!(asked[0].header("authorization").contains("ASIAOURSOURSOURSOURS/20260120/eu-central-1/states"));
    assert_eq!(asked[0].header("x-amz-security-token"), "our-token");
}

#[tokio::test]
async fn an_emulator_is_asked_instead_of_aws() {
    let replay = Replay::new([Answer::ok("{}"), Answer::ok(r#"{"TableNames":[]}"#)]);
    let emulated = Environment { endpoint: Some("http://127.0.0.1:4599".into()), ..environment() };
    let emulated = Sdk::over(emulated, replay.clone(), TestClock::new());
    emulated.sfn().send_task_success().task_token("t").output("{}").send().await.unwrap();
    emulated.dynamodb().list_tables().send().await.unwrap();
    for asked in replay.asked() {
        assert_eq!(asked.uri, "http://127.0.0.1:4599/");
    }
}

#[tokio::test]
async fn only_the_store_repeats_its_requests() {
    let replay = Replay::new([const { Answer::Timeout }; 4]);
    assert!(sdk(&replay).dynamodb().list_tables().send().await.is_err());
    assert_eq!(replay.left(), 3);
    assert!(sdk(&replay).kms().list_aliases().send().await.is_err());
    assert_eq!(replay.left(), 0);
}
