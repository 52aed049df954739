//! `POST /v1/auth/aws-login` (002#1, T17, K20, K27).

use std::time::Duration;

use cloud::sim::{Executor, World};
use domain::Secret;
use serde_json::{Value, json};

use super::check;
use crate::support::{
    drive::{Bench, credentials, presigned},
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

fn signed(url: &Secret) -> Ask {
    login().json(&json!({"presigned_url": url.reveal()}))
}

const USED: &str = "The presigned request was used before: sign a fresh one";

#[test]
fn a_presigned_request_logs_in_once() {
    let bench = Bench::new();
    let url = presigned("jschmidt", bench.world.now()).url();
    let answer = bench.send(signed(&url));
    assert_eq!((answer.status, &answer.json()["username"]), (200, &json!("jschmidt")), "{}", answer.text());
    bench.ok(answer.json()["api_key"].as_str().unwrap(), Ask::get("/v1/jobs"));
    let again = check(&bench, signed(&url), 401, &json!({"detail": USED}));
    assert_eq!(again.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    // Somebody else's, and one's own next, are others.
    for name in ["somebody", "jschmidt"] {
        bench.pass(1);
        assert_eq!(bench.send(signed(&presigned(name, bench.world.now()).url())).status, 200, "{name}");
    }
}

#[test]
fn a_request_is_remembered_for_as_long_as_it_is_good() {
    // Signed by a clock that is a minute ahead, it is good for two.
    let bench = Bench::new();
    let ahead = presigned("jschmidt", bench.world.now().plus(Duration::from_secs(60))).url();
    assert_eq!(bench.send(signed(&ahead)).status, 200);
    for (seconds, words) in
        [(60, USED), (60, USED), (1, "The presigned request's date must be within 60 seconds of the server's")]
    {
        bench.pass(seconds);
        check(&bench, signed(&ahead), 401, &json!({"detail": words}));
    }
    // What time to live has not deleted yet counts no longer.
    let nonce = Secret::new("a nonce").hash();
    let used = || futures::executor::block_on(bench.plane.store.use_login(&nonce, bench.world.now())).unwrap();
    assert_eq!([used(), used()], [true, false]);
    bench.pass(5 * 60);
    assert_eq!([used(), used()], [true, false]);
}

#[test]
fn of_two_logins_at_once_one_is_let_in() {
    let mut firsts = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let world = World::new(seed);
        let bench = Bench::of(&world);
        let url = presigned("jschmidt", world.now()).url();
        let mut executor = Executor::new(&world);
        let tasks = ["first", "second"].map(|name| {
            let (router, ask) = (bench.router.clone(), signed(&url));
            executor.spawn(name, async move { crate::support::drive::answer(router, ask).await.status })
        });
        executor.advance(world.now().plus(Duration::from_secs(10))).unwrap();
        let statuses = tasks.map(|task| executor.take::<u16>(task).unwrap());
        assert!([[200, 401], [401, 200]].contains(&statuses), "seed {seed}: {statuses:?}");
        firsts.insert(statuses);
    }
    assert_eq!(firsts.len(), 2, "no seed lets the other be first");
}

#[test]
fn a_request_that_sts_did_not_vouch_for_is_not_used_up() {
    let bench = Bench::new();
    let url = presigned("jschmidt", bench.world.now()).url();
    bench.world.set_outage("identity", true);
    assert_eq!(bench.send(signed(&url)).status, 503);
    bench.world.set_outage("identity", false);
    assert_eq!(bench.send(signed(&url)).status, 200);
}

#[test]
fn exactly_one_way_of_proof() {
    let bench = Bench::new();
    let good = presigned("canary", bench.world.now());
    let refused =
        |words: &str| json!({"detail": [{"type": "value_error", "loc": ["body", "presigned_url"], "msg": words}]});
    let (both, none) = (
        "Give presigned_url or the three aws_ fields, not both",
        "give the presigned URL of GetCallerIdentity at a regional STS endpoint, with exactly the parameters of Signature Version 4",
    );
    let with = |field: &str, value: Value| {
        let mut body = json!({"presigned_url": good.url().reveal()});
        body[field] = value;
        body
    };
    let other = good.url().reveal().replace("GetCallerIdentity", "AssumeRole");
    for (body, words) in [
        (with("aws_access_key_id", json!("ASIAIOSFODNN7EXAMPLE")), both),
        (with("aws_session_token", json!("")), both),
        (with("presigned_url", json!("")), none),
        (with("presigned_url", json!("http://169.254.169.254/latest/meta-data?canary")), none),
        (with("presigned_url", json!(other)), none),
    ] {
        let answer = check(&bench, login().json(&body), 400, &refused(words));
        assert!(!answer.text().contains("canary") && !answer.text().contains("ASIA"), "{}", answer.text());
    }
    let odd = Secret::new(good.url().reveal().replace("host%3Bx-slipway-server-id", "host"));
    let words = json!({"detail": "The presigned request must have exactly host and x-slipway-server-id signed"});
    check(&bench, signed(&odd), 401, &words);
}
