//! Reading the service's secret, and living through it not being readable.

use std::time::Duration;

use domain::{SecretHash, identity::LoginTable};
use serde_json::{Value, json};

use super::{TestClock, sdk_at};
use crate::{
    ReadSecrets, ServiceSecrets,
    replay::{Answer, Replay},
    secrets::SecretsError,
};

const ORIGIN: &str = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:slipway-origin-AbCdEf";
const ID: &str = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:slipway-AbCdEf";

fn secret(jwt: &str) -> Value {
    json!({
        "admin_token_sha256": SecretHash::of(b"admin").as_str(), "jwt_secret": jwt,
        "login_table": [{"account": "308535385114", "role": "Builder", "tenant": "build", "sessions_are_people": false}]
    })
}

fn given(text: &str) -> Answer {
    let body = json!({"ARN": ID, "Name": "slipway", "VersionId": "v1", "SecretString": text});
    Answer::ok(body.to_string())
}

/// Both secrets.
fn both(service: &str) -> [Answer; 2] {
    [given(service), given("from the edge")]
}

/// What signs sessions.
fn jwt(secrets: &ReadSecrets) -> &str {
    secrets.service.jwt_secret.as_ref().map_or("none", |secret| secret.reveal())
}

#[tokio::test]
async fn it_is_read_once_and_again_after_five_minutes() {
    let replay = Replay::new(both(&secret("one").to_string()));
    let clock = TestClock::new();
    let secrets = ServiceSecrets::new(sdk_at(&replay, clock.clone()).secretsmanager(), (ID, ORIGIN), clock.clone());
    let first = secrets.current().await.unwrap();
    assert_eq!((jwt(&first), first.origin.reveal()), ("one", "from the edge"));
    assert!(
        first.service.admin_token_sha256.matches(&SecretHash::of(b"admin"))
            && first.service.login_table != LoginTable::default()
    );
    let asked = replay.asked();
    assert_eq!(asked[0].header("x-amz-target"), "secretsmanager.GetSecretValue");
    assert_eq!(
        asked.iter().map(|one| one.json()).collect::<Vec<_>>(),
        [json!({"SecretId": ID}), json!({"SecretId": ORIGIN})]
    );

    clock.pass(Duration::from_secs(299));
    assert_eq!(secrets.current().await.unwrap(), first);
    assert_eq!(replay.asked().len(), 0);

    clock.pass(Duration::from_secs(1));
    replay.then(both(&secret("two").to_string()));
    assert_eq!(jwt(&secrets.current().await.unwrap()), "two");
}

#[tokio::test]
async fn an_outage_leaves_it_as_it_was() {
    let replay = Replay::new(both(&secret("one").to_string()));
    let clock = TestClock::new();
    let secrets = ServiceSecrets::new(sdk_at(&replay, clock.clone()).secretsmanager(), (ID, ORIGIN), clock.clone());
    secrets.current().await.unwrap();
    let denied = || Answer::json_error(400, "AccessDeniedException");
    for broken in
        [vec![denied()], both("{}").into(), both("not JSON").into(), vec![given(&secret("two").to_string()), given("")]]
    {
        clock.pass(Duration::from_secs(300));
        replay.then(broken);
        assert_eq!(jwt(&secrets.current().await.unwrap()), "one");
        assert_eq!(jwt(&secrets.current().await.unwrap()), "one", "and nobody is asked again at once");
        assert_eq!(replay.left(), 0);
    }
    clock.pass(Duration::from_secs(30));
    replay.then(both(&secret("two").to_string()));
    assert_eq!(jwt(&secrets.current().await.unwrap()), "two");
}

async fn check(answers: Vec<Answer>, expected: SecretsError) {
    let (replay, clock) = (Replay::new(answers), TestClock::new());
    let secrets = ServiceSecrets::new(sdk_at(&replay, clock.clone()).secretsmanager(), (ID, ORIGIN), clock);
    assert_eq!(secrets.current().await, Err(expected));
}

#[tokio::test]
async fn without_a_first_reading_there_is_none() {
    let missing = SecretsError::Unavailable("ResourceNotFoundException: recorded".into());
    check(vec![Answer::json_error(400, "ResourceNotFoundException")], missing).await;
    let malformed = |column| SecretsError::Malformed { line: 1, column };
    check(both(r#"{"admin_token_sha256": "hunter2"}"#).into(), malformed(33)).await;
    let mut without = secret("one");
    without.as_object_mut().unwrap().remove("login_table");
    let text = without.to_string();
    check(both(&text).into(), malformed(text.len())).await;
    let misspelt = secret("one").to_string().replace("jwt_secret", "jwt_secrets");
    let at = misspelt.find("jwt_secrets\"").unwrap() + "jwt_secrets\"".len();
    check(both(&misspelt).into(), malformed(at)).await;
    check(vec![given(&secret("one").to_string()), given("")], SecretsError::Empty).await;
}
