use serde_json::json;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is read is not looked at; what is refused is")]
struct Sample {
    image: String,
    #[serde(default)]
    count: u32,
    #[serde(default)]
    keys: Vec<domain::ssh::PublicKey>,
    #[serde(default)]
    token: String,
}

impl Input for Sample {
    const SECRET: &'static [&'static str] = &["token"];
}

fn check_body(body: &str, expected: &Value) {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json; charset=utf-8"));
    let refused = check::<Sample>(&headers, &Bytes::from(body.to_owned())).expect_err(body);
    let Error::Invalid(problems) = refused else { panic!("{body}: {refused:?}") };
    let problem = &problems[0];
    let found = json!({"type": problem.kind, "loc": problem.loc, "msg": problem.msg, "input": problem.input});
    assert_eq!(&found, expected, "{body}");
}

#[test]
fn refusals_say_where_and_what() {
    check_body(
        r#"{"count": 3, "token": "s3cret"}"#,
        &json!({"type": "missing", "loc": ["body", "image"], "msg": "Field required", "input": {"count": 3}}),
    );
    check_body("", &json!({"type": "missing", "loc": ["body", "image"], "msg": "Field required", "input": {}}));
    check_body(
        r#"{"image": "a", "tokne": "s3cret"}"#,
        &json!({"type": "extra_forbidden", "loc": ["body", "tokne"], "msg": "Extra inputs are not permitted", "input": null}),
    );
    check_body(
        r#"{"image": 7}"#,
        &json!({"type": "type_error", "loc": ["body", "image"], "msg": "invalid type: integer `7`, expected a string", "input": 7}),
    );
    check_body(
        r#"{"image": "a", "keys": ["nonsense"]}"#,
        &json!({"type": "value_error", "loc": ["body", "keys", 0], "msg": domain::ssh::NotAKey.to_string(), "input": "nonsense"}),
    );
    check_body(
        r#"{"image": "a", "token": 5}"#,
        &json!({"type": "type_error", "loc": ["body", "token"], "msg": "expected a string", "input": null}),
    );
    for (body, column) in [("{", 1), ("{\"image\": \"a\"} x", 16), ("nonsense", 2)] {
        check_body(
            body,
            &json!({"type": "json_invalid", "loc": ["body", column], "msg": "JSON decode error", "input": null}),
        );
    }
}

#[test]
fn depth_counts_outside_of_strings() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(!too_deep(nested(DEEPEST).as_bytes()));
    assert!(too_deep(nested(DEEPEST + 1).as_bytes()));
    assert!(!too_deep(format!("\"{}\"", "[".repeat(100)).as_bytes()));
    assert!(!too_deep(format!("\"\\\"{}\"", "[".repeat(100)).as_bytes()));
}
