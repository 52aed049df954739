//! Bad input, generated from each operation's example: no 5xx ever, and no refusal changes anything.

use http::Method;
use serde_json::{Map, Value, json};

use crate::support::{
    operations::{Operation, Scene, Things, operations},
    wire::Ask,
};

/// What a mutated request is to be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// This status.
    Is(u16),
    /// Any but a 5xx: the mutation may still be good.
    Sound,
}

use Expected::{Is, Sound};

type Case = (String, Ask, Expected);

fn nested(depth: usize) -> String {
    format!("{{\"image\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
}

/// What is wrong whatever the body is to be. One that is passed on may have fields that we do not know, and may be larger.
fn about_the_body(ask: &Ask, passes: bool) -> Vec<Case> {
    let (unknown, largest) = if passes { (Is(200), 6 * 1024 * 1024) } else { (Is(400), 1024 * 1024) };
    let text = String::from_utf8(ask.body.to_vec()).unwrap();
    let text = if text.is_empty() { "{}".to_owned() } else { text };
    let named =
        |name: &str, body: Vec<u8>, expected| (name.to_owned(), ask.clone().raw("application/json", body), expected);
    let kind = |kind: &str| (kind.to_owned(), ask.clone().raw(kind, text.clone()), Is(415));
    let huge = format!("{}{}", " ".repeat(largest), text);
    let mut cases = vec![
        named("not JSON", b"nonsense".to_vec(), Is(400)),
        named("cut off", text.as_bytes()[..text.len() - 1].to_vec(), Is(400)),
        named("two values", format!("{text} {text}").into_bytes(), Is(400)),
        named("a list", format!("[{text}]").into_bytes(), Is(400)),
        named("a text", b"\"x\"".to_vec(), Is(400)),
        named("null", b"null".to_vec(), Is(400)),
        named("not UTF-8", vec![b'{', b'"', 0xff, 0xfe, b'"', b':', b'1', b'}'], Is(400)),
        named("a NUL", b"\0".to_vec(), Is(400)),
        named("one more field", with_field(&text, "is_admin", "true"), unknown),
        named("a field's name with a NUL", with_field(&text, "a\\u0000b", "1"), unknown),
        named("an emoji's name", with_field(&text, "💥", "1"), unknown),
        named("64 deep", nested(63).into_bytes(), Is(400)),
        named("65 deep", nested(64).into_bytes(), Is(400)),
        named("100,000 deep", nested(100_000).into_bytes(), Is(400)),
        named("larger than the largest", huge.into_bytes(), Is(413)),
        kind("text/plain"),
        kind("application/x-www-form-urlencoded"),
        kind("multipart/form-data; boundary=x"),
        kind("application/jsonx"),
        kind(""),
    ];
    let plain = ask.clone().raw("application/json", text.clone());
    cases.push(("gzip".to_owned(), plain.clone().with("content-encoding", "gzip"), Is(415)));
    cases.push((
        "announced as huge".to_owned(),
        plain.clone().with("content-length", &(largest + 1).to_string()),
        Is(413),
    ));
    cases.push(("another charset".to_owned(), plain.with("content-type", "application/json; charset=utf-7"), Sound));
    cases
}

fn with_field(text: &str, name: &str, value: &str) -> Vec<u8> {
    let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
    let comma = if inner.trim().is_empty() { "" } else { "," };
    format!("{{{inner}{comma}\"{name}\":{value}}}").into_bytes()
}

fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!(" "),
        json!("a\u{0}b"),
        json!("💥 ünïcödé \u{202e}"),
        json!("'; DROP TABLE workloads; --"),
        json!("$(reboot)`reboot`"),
        json!("../../../etc/passwd"),
        json!("x".repeat(300)),
        json!("x".repeat(200_000)),
        json!([]),
        json!([[], {}]),
        json!(["x", 1, null]),
        json!({}),
        json!({"a": {"b": {"c": []}}}),
        json!({"": ""}),
        json!({"a=b": "\u{0}"}),
    ]
}

/// Each field left out, doubled, and of every other kind; also one level down.
fn about_the_fields(ask: &Ask, example: &Map<String, Value>) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, body: &Map<String, Value>| cases.push((name, ask.clone().json(&json!(body)), Sound));
    for field in example.keys() {
        let mut without = example.clone();
        without.shift_remove(field);
        add(format!("without {field}"), &without);
        for value in values() {
            let mut body = example.clone();
            body.insert(field.clone(), value.clone());
            add(format!("{field} = {:.40}", value.to_string()), &body);
            if let Value::Object(inner) = &example[field] {
                for name in inner.keys() {
                    let mut inner = inner.clone();
                    inner.insert(name.clone(), value.clone());
                    body.insert(field.clone(), Value::Object(inner));
                    add(format!("{field}.{name} = {:.40}", value.to_string()), &body);
                }
            }
        }
    }
    let text = Value::Object(example.clone()).to_string();
    for (field, value) in example {
        let doubled = with_field(&text, field, &value.to_string());
        cases.push((format!("{field} twice"), ask.clone().raw("application/json", doubled), Is(400)));
    }
    cases
}

/// Ids, names and queries of all kinds.
fn about_the_address(operation: &Operation, ask: &Ask, own: &Things) -> Vec<Case> {
    let at = |path: String, expected| (path.clone(), Ask { path, ..ask.clone() }, expected);
    let odd = ["x", "%00", "%ff%fe", "%F0%9F%92%A5", "..%2f..%2fetc", "%20", "'%20OR%201=1", "%25", "null", "-1", "0"];
    let mut cases = Vec::new();
    let parameters = operation.parameters();
    if let Some((thing, others)) = parameters.split_first() {
        let own_id = &own[*thing];
        let (longest, upper) = ("a".repeat(4_000), own_id.to_uppercase());
        let ids = odd.into_iter().chain([longest.as_str(), upper.as_str(), "00000000-0000-0000-0000-000000000000"]);
        cases.extend(ids.map(|id| at(ask.path.replacen(own_id, id, 1), Is(404))));
        for other in others {
            cases.extend(odd[..8].iter().map(|name| at(ask.path.replace(&own[*other], name), Sound)));
        }
    }
    let strange =
        ["", "-1", "1.5", "99999999999999999999999", "x", "%00", "%ff", "%F0%9F%92%A5", "1%0d%0aX:1", "[]", "true"];
    let path = ask.path.split('?').next().unwrap_or_default();
    for name in operation.query() {
        cases.extend(strange.iter().map(|value| at(format!("{path}?{name}={value}"), Sound)));
        cases.push(at(format!("{path}?{name}=1&{name}=1"), Is(400)));
    }
    if !operation.query().is_empty() {
        cases.push(at(format!("{path}?is_admin=true"), Is(400)));
    }
    cases.push(at(format!("{path}?{}", "a=b&".repeat(2_000)), Sound));
    cases
}

fn about_the_headers(ask: &Ask) -> Vec<Case> {
    let with = |name: &str, value: &str| (format!("{name}: {value:.20}"), ask.clone().with(name, value), Sound);
    vec![
        with("idempotency-key", ""),
        with("idempotency-key", "ü"),
        with("idempotency-key", &"k".repeat(5_000)),
        with("last-event-id", "1-2-3-4"),
        with("last-event-id", "ü"),
        with("last-event-id", "4294967295-18446744073709551615-18446744073709551615"),
        with("accept", "nonsense/;;;"),
        with("x-admin-token", "ü"),
        with("content-length", "-1"),
        with("expect", "100-continue"),
        with("range", "bytes=0-1"),
    ]
}

fn cases(scene: &Scene, operation: &Operation) -> Vec<Case> {
    let ask = scene.ask(operation);
    let mut cases = about_the_address(operation, &ask, &scene.own);
    cases.extend(about_the_headers(&ask));
    if operation.method != Method::GET {
        cases.extend(about_the_body(&ask, operation.described["tags"][0] == "inference"));
    }
    if let Some(example) = &operation.example {
        cases.extend(about_the_fields(&ask, example.as_object().unwrap()));
    }
    cases
}

#[test]
fn no_input_is_a_fault_of_ours_and_no_refusal_changes_anything() {
    let mut asked = 0;
    for operation in operations() {
        let mut scene = Scene::new();
        for at in 0..cases(&scene, &operation).len() {
            // Ids differ from scene to scene, so the case is made anew for the scene at hand.
            let (name, ask, expected) = cases(&scene, &operation).swap_remove(at);
            let what = format!("{}, {name}", operation.id);
            scene.bench.embedded.meter().start();
            let before = scene.bench.world.calls();
            let follows = ask.path.contains("follow=true");
            if follows {
                continue;
            }
            let counted = ask.headers.contains_key("x-admin-token");
            let answer = scene.bench.send(ask);
            asked += 1;
            assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text());
            if let Is(status) = expected {
                assert_eq!(answer.status, status, "{what}: {}", answer.text());
            }
            let effects = scene.bench.effects(before);
            if answer.status == 401 && counted {
                // A wrong try is counted, and nothing else; after a few of them nobody gets in.
                assert_eq!(effects, ["[(\"UpdateItem\", \"identity\")]"], "{what}: refused with 401, and yet");
                scene = Scene::new();
            } else if answer.status >= 400 {
                assert_eq!(effects, Vec::<String>::new(), "{what}: refused with {}, and yet", answer.status);
            } else if !effects.is_empty() {
                scene = Scene::new();
            }
        }
    }
    assert!(asked > 1_300, "only {asked} requests: has something been left out?");
}

/// Nothing that may be a secret comes back in a refusal, wherever it was put.
#[test]
fn refusals_echo_no_secret() {
    const CANARY: &str = "canary-7f3a";
    let secret = [
        "presigned_url",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "credentials",
        "env_vars",
        "command",
        "session",
        "next_session",
        "lines",
    ];
    let scene = Scene::new();
    for operation in operations() {
        let Some(Value::Object(example)) = &operation.example else { continue };
        for field in secret.into_iter().filter(|field| example.contains_key(*field)) {
            for value in [
                json!(CANARY),
                json!([CANARY]),
                json!({"A-B": CANARY}),
                json!({"A": [CANARY]}),
                json!([{"text": CANARY}]),
            ] {
                // Another field is wrong as well, so that the whole object might be shown.
                for spoilt in [None, Some("nonsense")] {
                    let mut body = example.clone();
                    body.insert(field.to_owned(), value.clone());
                    match spoilt {
                        Some(name) => drop(body.insert(name.to_owned(), json!(CANARY))),
                        None => drop(body.shift_remove(example.keys().find(|name| *name != field).unwrap())),
                    }
                    let answer = scene.bench.send(scene.ask(&operation).json(&json!(body)));
                    let text = answer.text();
                    assert!(
                        answer.status >= 400 && !text.contains(CANARY),
                        "{}, {field}: {} {text}",
                        operation.id,
                        answer.status
                    );
                }
            }
        }
    }
}

#[test]
fn the_largest_body_that_is_taken() {
    let scene = Scene::new();
    let submit = |length: usize| {
        let mut body = br#"{"image":"busybox","instance_type":"g5.xlarge"}"#.to_vec();
        body.resize(length, b' ');
        scene.bench.send(Ask::post("/v1/jobs/submit").bearer(&scene.key).raw("application/json", body)).status
    };
    assert_eq!((submit(1024 * 1024), submit(1024 * 1024 + 1)), (200, 413));
}
