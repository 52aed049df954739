use super::*;

fn read(text: &str) -> Result<RequestBody, Refusal> {
    RequestBody::read(Bytes::from(text.to_owned()))
}

fn sent(body: &RequestBody, bounds: Option<u64>) -> String {
    body.parts(bounds).iter().map(|part| std::str::from_utf8(part).unwrap()).collect()
}

#[test]
fn what_is_read_and_what_is_sent() {
    for (text, bounds, most, streams, expected) in [
        (
            r#"{"model":"m","messages":[{"role":"user","content":"Hello, world"}],"max_tokens":7}"#,
            Some(8_192),
            (32 + 9, 7),
            false,
            r#"{"model":"m","messages":[{"role":"user","content":"Hello, world"}],"max_tokens":7}"#,
        ),
        (
            r#" { "prompt": "abc", "model": "m", "unknown": {"kept": [1, null]} }"#,
            Some(8_192),
            (33, 4_096),
            false,
            r#" {"max_tokens":4096, "prompt": "abc", "model": "m", "unknown": {"kept": [1, null]} }"#,
        ),
        (r#"{"prompt":"abc","model":"m"}"#, None, (33, 4_096), false, r#"{"prompt":"abc","model":"m"}"#),
        (
            r#"{"model":"m","prompt":[1,2,3],"stream":true,"n":3,"max_tokens":5}"#,
            None,
            (35, 15),
            true,
            r#"{"stream_options":{"include_usage":true},"model":"m","prompt":[1,2,3],"stream":true,"n":3,"max_tokens":5}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":false},"max_completion_tokens":5,"max_tokens":9}"#,
            Some(8_192),
            (32, 5),
            true,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":false},"max_completion_tokens":5,"max_tokens":9}"#,
        ),
        (
            r#"{"\u006dodel":"m","max_tokens":1000000}"#,
            Some(8_192),
            (32, 8_192),
            false,
            r#"{"\u006dodel":"m","max_tokens":1000000}"#,
        ),
        // Of a name that is there twice most servers believe the second, and so nothing is said beside a null.
        (
            r#"{"max_tokens": null ,"model":"m","stream":true,"stream_options":null,"max_completion_tokens":null}"#,
            Some(8_192),
            (32, 4_096),
            true,
            r#"{"max_tokens": 4096 ,"model":"m","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":null}"#,
        ),
        (
            r#"{"stream":true,"model":"m","stream_options":null}"#,
            Some(8_192),
            (32, 4_096),
            true,
            r#"{"max_tokens":4096,"stream":true,"model":"m","stream_options":{"include_usage":true}}"#,
        ),
        (r#"{"model":"m","max_tokens":null}"#, None, (32, 4_096), false, r#"{"model":"m","max_tokens":null}"#),
        // llama.cpp believes this one before all others.
        (
            r#"{"model":"m","max_tokens":1,"n_predict":-1}"#,
            Some(8_192),
            (32, 8_192),
            false,
            r#"{"model":"m","max_tokens":1,"n_predict":-1}"#,
        ),
        (r#"{"model":"m","n_predict":77}"#, Some(8_192), (32, 77), false, r#"{"model":"m","n_predict":77}"#),
    ] {
        let body = read(text).unwrap();
        let found = body.most(8_192, true);
        assert_eq!(((found.input, found.output), body.streams), (most, streams), "{text}");
        assert_eq!(sent(&body, bounds), expected);
        assert!(serde_json::from_str::<serde_json::Value>(&sent(&body, bounds)).is_ok());
        assert_eq!(body.most(8_192, false).output, 0);
    }
    let picture = format!("data:image/png;base64,{}", "A".repeat(1_000_000));
    let body = format!(r#"{{"model":"m","messages":[{{"content":[{{"image_url":{{"url":"{picture}"}}}}]}}]}}"#);
    assert!(read(&body).unwrap().prompt < 2_200, "a picture is not read letter by letter");
    // There is always room for a little.
    let long = format!(r#"{{"model":"m","prompt":"{}"}}"#, "a".repeat(90_000));
    assert!(sent(&read(&long).unwrap(), Some(8_192)).starts_with(r#"{"max_tokens":16,"#));
}

#[test]
fn what_cannot_be_read_is_refused_with_where_it_is() {
    let deep = format!(r#"{{"model":"m","x":{}1{}}}"#, "[".repeat(70), "]".repeat(70));
    for (text, param) in [
        ("", None),
        ("nonsense", None),
        (r#"{"model":"m""#, None),
        (r#"{"model":"m"}}"#, None),
        ("[]", None),
        (&deep, None),
        ("{}", Some("model")),
        (r#"{"model":""}"#, Some("model")),
        (r#"{"model":7}"#, Some("model")),
        (r#"{"model":"m","model":"n"}"#, Some("model")),
        (r#"{"model":"m","mod\u0065l":"n"}"#, Some("model")),
        (r#"{"model":"m","stream":"yes"}"#, Some("stream")),
        (r#"{"model":"m","max_tokens":-1}"#, Some("max_tokens")),
        (r#"{"model":"m","max_tokens":1.5}"#, Some("max_tokens")),
        (r#"{"model":"m","max_tokens":1,"max_tokens":9}"#, Some("max_tokens")),
        (r#"{"model":"m","n":"3"}"#, Some("n")),
        (r#"{"model":"m","n_predict":1.5}"#, Some("n_predict")),
        (r#"{"model":"m","stream_options":null,"stream_options":null}"#, Some("stream_options")),
    ] {
        let Err(Refusal::Bad { param: found, .. }) = read(text) else { panic!("{text} was read") };
        assert_eq!(found, param, "{text}");
    }
}
