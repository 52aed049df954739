//! Limits, exact whatever happens at the same time (T12; I21, I22).

use domain::limits::{Limits, Meter};
use serde_json::{Value, json};

use super::{TENANT, ask, chat, json_answer, served, used};
use crate::{
    support::{drive::Bench, wire::Ask},
    surfaces::nodes::admin,
};

fn limited(limits: Limits) -> (Bench, String) {
    let (bench, _) = served(json_answer);
    let key = bench.a_limited_key(TENANT, limits).0;
    (bench, key)
}

/// So many of the same requests, and how many of them passed; the first refusal.
fn send(bench: &Bench, key: &str, body: &Value, count: usize) -> (usize, Option<(u16, Value, String)>) {
    let answers = (0..count).map(|_| bench.send(ask(key, body))).collect::<Vec<_>>();
    let refused = answers.iter().find(|answer| answer.status != 200);
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    let told = |answer: &crate::support::wire::Answer| {
        (answer.status, answer.json()["error"].clone(), answer.header("retry-after").to_owned())
    };
    (passed, refused.map(told))
}

#[test]
fn each_limit_is_met_and_says_so() {
    // What a chat takes at most: 100 tokens of answer, and its prompt's bytes by three with the template's.
    let (prompt, answer) = (32_u64 + 15, 100_u64);
    let most = prompt + answer;
    for (meter, limit, passed, kind, code) in [
        (Meter::RequestsPerMinute, 3, 3, "requests", "rate_limit_exceeded"),
        (Meter::RequestsPerHour, 2, 2, "requests", "rate_limit_exceeded"),
        (Meter::RequestsPerSecond, 1, 1, "requests", "rate_limit_exceeded"),
        // Each is settled with its 11 tokens before the next is reserved.
        (Meter::TokensPerMinute, most, 1, "tokens", "rate_limit_exceeded"),
        (Meter::TokensPerHour, most + 11, 2, "tokens", "rate_limit_exceeded"),
        (Meter::TokensPerDay, most + 10, 1, "tokens", "rate_limit_exceeded"),
        (Meter::TokensPerDay, most - 1, 0, "tokens", "rate_limit_exceeded"),
        (Meter::BudgetPerMonth, 68 + 4, 2, "insufficient_quota", "insufficient_quota"),
        (Meter::ConcurrentRequests, 0, 0, "requests", "concurrency_limit_exceeded"),
    ] {
        let (bench, key) = limited(Limits::default().with(meter, limit));
        let (found, refused) = send(&bench, &key, &chat(), 5);
        let (status, error, retry) = refused.unwrap_or_else(|| panic!("{meter:?} was not met"));
        assert_eq!((found, status), (passed, 429), "{meter:?} {error}");
        assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some(kind), Some(code)), "{meter:?}");
        let words = error["message"].as_str().unwrap();
        assert!(words.contains(meter.words()) && words.contains("this key"), "{words}");
        assert!(retry.parse::<u64>().unwrap() >= 1, "{retry}");
        assert_eq!(used(&bench, &key)["requests"], passed, "who is refused uses nothing: {meter:?}");
        let asked = bench.world.asked().len();
        assert_eq!(asked, passed, "and nobody is asked: {meter:?}");
    }
}

#[test]
fn whose_limit_it_is_is_said_and_a_window_ends() {
    let (bench, key) = served(json_answer);
    let changes = json!({"limits": {"requests_per_minute": 2}});
    let put = |path: String| {
        let asked = Ask::new(http::Method::PUT, path).json(&changes);
        assert_eq!(bench.send(admin(asked)).status, 200);
        bench.pass(2);
    };
    put(format!("/admin/tenants/{TENANT}"));
    let (passed, refused) = send(&bench, &key, &chat(), 3);
    assert!(passed == 2 && refused.unwrap().1["message"].as_str().unwrap().contains("this tenant"));
    bench.pass(60);
    put(format!("/admin/models/{}", super::LLAMA));
    let other = bench.a_tenant("550e8400-e29b-41d4-a716-446655440002", domain::tenant::Tier::Free).0;
    assert_eq!(send(&bench, &key, &chat(), 1).0, 1);
    let (passed, refused) = send(&bench, &other, &chat(), 2);
    let (_, error, _) = refused.unwrap();
    assert!(passed == 1 && error["message"].as_str().unwrap().contains("this model"), "{error}");
}

#[test]
fn what_is_left_is_said_with_each_answer() {
    let limits = Limits::default().with(Meter::RequestsPerMinute, 10).with(Meter::RequestsPerHour, 1_000);
    let (bench, key) = limited(limits.with(Meter::TokensPerDay, 100_000));
    let headers = |bench: &Bench| {
        let answer = bench.send(ask(&key, &chat()));
        let names = ["limit", "remaining", "limit-tokens", "remaining-tokens"];
        assert!((1..=60).contains(&answer.header("x-ratelimit-reset").parse::<u64>().unwrap()));
        assert!(answer.header("x-ratelimit-reset-tokens").parse::<u64>().unwrap() <= 86_400);
        names.map(|name| answer.header(&format!("x-ratelimit-{name}")).parse::<u64>().unwrap())
    };
    assert_eq!(headers(&bench), [10, 9, 100_000, 100_000 - 147]);
    assert_eq!(headers(&bench), [10, 8, 100_000, 100_000 - 147 - 11]);
    let (bench, key) = served(json_answer);
    assert_eq!(bench.send(ask(&key, &chat())).header("x-ratelimit-limit"), "", "no limit, no header");
}

/// Where tokens are limited an answer has an end: one that was not asked for is put before the caller's own bytes.
#[test]
fn an_answer_has_an_end_where_tokens_are_limited() {
    let (bench, key) = limited(Limits::default().with(Meter::TokensPerDay, 100_000));
    assert_eq!(bench.send(ask(&key, &json!({"model": super::LLAMA, "messages": []}))).status, 200);
    let sent = bench.world.asked().pop().unwrap().1.body.concat();
    let sent = String::from_utf8(sent).unwrap();
    assert!(sent.starts_with(r#"{"max_tokens":4096,"model""#), "{sent}");
}
