//! `POST /v1/auth/aws-login` (002#1, T17, K20, K27).

use serde_json::json;

use super::check;
use crate::support::{
    drive::{Bench, credentials},
    rule, secrets,
    wire::Ask,
};

fn login() -> Ask {
    Ask::post("/v1/auth/aws-login")
}

#[test]
fn t_002_01_login() {
    let bench = Bench::new();
    let answer = check(
        &bench,
        login().json(&credentials("jschmidt")),
        200,
        &json!({
            "api_key": "<text>", "key_prefix": "<text>", "user_id": 1, "username": "jschmidt",
            "aws_arn": "arn:aws:sts::000000000000:assumed-role/SSOCloudDevGpuReservation/jschmidt",
            "expires_at": "2026-01-20T20:00:00Z", "ttl_hours": 2
        }),
    );
    let body = answer.json();
    let (key, prefix) = (body["api_key"].as_str().unwrap(), body["key_prefix"].as_str().unwrap());
    assert!(key.starts_with(prefix) && prefix.len() == 8, "{prefix}");
    check(&bench, Ask::get("/v1/jobs").bearer(key), 200, &json!({"jobs": [], "total": 0, "limit": 50, "offset": 0}));
}

#[test]
fn t_k27_a_person_keeps_their_number() {
    let bench = Bench::new();
    let number = |name: &str| bench.send(login().json(&credentials(name))).json()["user_id"].as_u64().unwrap();
    assert_eq!([number("one"), number("two"), number("one")], [1, 2, 1]);
}

#[test]
fn t_002_01_bad_credentials_are_401() {
    let bench = Bench::new();
    let unknown = json!({"detail": "AWS does not know these credentials: get fresh ones"});
    for (field, value) in [
        ("aws_access_key_id", "ASIA..."),
        ("aws_access_key_id", ""),
        ("aws_secret_access_key", ""),
        ("aws_session_token", "local:no spaces"),
        ("aws_session_token", "local:"),
        ("aws_session_token", "local:a/b"),
    ] {
        let mut body = credentials("jschmidt");
        body[field] = json!(value);
        let answer = check(&bench, login().json(&body), 401, &unknown);
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    }
}

#[test]
fn t_002_01_malformed_is_400_and_echoes_no_secret() {
    let bench = Bench::new();
    for (field, value) in [("aws_secret_access_key", json!(5)), ("aws_session_token", json!(["canary"]))] {
        let mut body = credentials("canary");
        body[field] = value;
        let answer = bench.send(login().json(&body));
        assert_eq!(answer.status, 400);
        assert!(!answer.text().contains("canary") && !answer.text().contains("EXAMPLE"), "{}", answer.text());
    }
    let missing = json!({"detail": [
        {"type": "missing", "loc": ["body", "aws_session_token"], "msg": "Field required", "input": {}}
    ]});
    let mut body = credentials("canary");
    body.as_object_mut().unwrap().remove("aws_session_token");
    check(&bench, login().json(&body), 400, &missing);
}

#[test]
fn t_002_01_wrong_role_is_403() {
    let bench = Bench::with(|settings| settings.secrets = secrets(vec![rule("Robot", "robots", false)]));
    let words = json!({"detail": "This AWS role may not log in here: ask whoever runs this installation"});
    check(&bench, login().json(&credentials("jschmidt")), 403, &words);
}

#[test]
fn an_outage_is_503_and_never_a_refusal() {
    let bench = Bench::new();
    bench.world.set_outage("identity", true);
    let answer =
        check(&bench, login().json(&credentials("a1")), 503, &json!({"detail": "AWS cannot be asked: try again"}));
    assert_eq!(answer.header("retry-after"), "5");
    bench.world.set_outage("identity", false);
    bench.login("a1");
}

#[test]
fn t_t17_nobody_becomes_somebody_by_naming_a_session() {
    let robots = rule("SSOCloudDevGpuReservation", "robots", false);
    let bench = Bench::with(|settings| settings.secrets = secrets(vec![robots]));
    let name = |session: &str| bench.send(login().json(&credentials(session))).json()["username"].clone();
    assert_eq!(name("jschmidt"), "SSOCloudDevGpuReservation");
    assert_eq!(name("somebody-else"), "SSOCloudDevGpuReservation");
}
