//! Reading the service's secret, and living through it not being readable.

use std::time::Duration;

use domain::{SecretHash, identity::LoginTable};
use serde_json::{Value, json};

use super::{TestClock, sdk_at};
use crate::{
    ServiceSecrets,
    replay::{Answer, Replay},
    secrets::SecretsError,
};

const ID: &str = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:slipway-AbCdEf";

fn secret(jwt: &str) -> Value {
    json!({
        "admin_token_sha256": SecretHash::of(b"admin").as_str(), "jwt_secret": jwt, "origin_secret": "from the edge",
        "login_table": [{"account": "308535385114", "role": "Builder", "tenant": "build", "sessions_are_people": false}]
    })
}

fn given(text: &str) -> Answer {
    let body = json!({"ARN": ID, "Name": "slipway", "VersionId": "v1", "SecretString": text});
    Answer::ok(body.to_string())
}

#[tokio::test]
async fn it_is_read_once_and_again_after_five_minutes() {
    let replay = Replay::new([given(&secret("one").to_string())]);
    let clock = TestClock::new();
    let secrets = ServiceSecrets::new(sdk_at(&replay, clock.clone()).secretsmanager(), ID, clock.clone());
    let first = secrets.current().await.unwrap();
    assert_eq!((first.jwt_secret.reveal(), first.origin_secret.reveal()), ("one", "from the edge"));
    assert!(first.admin_token_sha256.matches(&SecretHash::of(b"admin")) && first.login_table != LoginTable::default());
    let asked = replay.asked();
    assert_eq!(asked[0].header("x-amz-target"), "secretsmanager.GetSecretValue");
    assert_eq!(asked[0].json(), json!({"SecretId": ID}));

    clock.pass(Duration::from_secs(299));
    assert_eq!(secrets.current().await.unwrap(), first);
    assert_eq!(replay.asked().len(), 0);

    clock.pass(Duration::from_secs(1));
    replay.then([given(&secret("two").to_string())]);
    assert_eq!(secrets.current().await.unwrap().jwt_secret.reveal(), "two");
}

#[tokio::test]
async fn an_outage_leaves_it_as_it_was() {
    let replay = Replay::new([given(&secret("one").to_string())]);
    let clock = TestClock::new();
    let secrets = ServiceSecrets::new(sdk_at(&replay, clock.clone()).secretsmanager(), ID, clock.clone());
    secrets.current().await.unwrap();
    for broken in [Answer::json_error(400, "AccessDeniedException"), given("{}"), given("not JSON")] {
        clock.pass(Duration::from_secs(300));
        replay.then([broken]);
        assert_eq!(secrets.current().await.unwrap().jwt_secret.reveal(), "one");
        assert_eq!(secrets.current().await.unwrap().jwt_secret.reveal(), "one", "and nobody is asked again at once");
        assert_eq!(replay.left(), 0);
    }
    clock.pass(Duration::from_secs(30));
    replay.then([given(&secret("two").to_string())]);
    assert_eq!(secrets.current().await.unwrap().jwt_secret.reveal(), "two");
}

async fn check(answer: Answer, expected: SecretsError) {
    let (replay, clock) = (Replay::new([answer]), TestClock::new());
    let secrets = ServiceSecrets::new(sdk_at(&replay, clock.clone()).secretsmanager(), ID, clock);
    assert_eq!(secrets.current().await, Err(expected));
}

#[tokio::test]
async fn without_a_first_reading_there_is_none() {
    let missing = SecretsError::Unavailable("ResourceNotFoundException: recorded".into());
    check(Answer::json_error(400, "ResourceNotFoundException"), missing).await;
    check(given(r#"{"admin_token_sha256": "hunter2"}"#), SecretsError::Malformed { line: 1, column: 33 }).await;
    let mut without = secret("one");
    without.as_object_mut().unwrap().remove("origin_secret");
    let column = without.to_string().len();
    check(given(&without.to_string()), SecretsError::Malformed { line: 1, column }).await;
}
