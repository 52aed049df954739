//! The gateway (000#21, #22; T12): OpenAI's API in front of simulated model servers.

mod crowd;
mod keys;
mod limits;
mod recorded;
mod streams;

use cloud::{
    Question, Upstream,
    sim::{Script, World},
};
use domain::{limits::Limits, tenant::Tier};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    check,
    nodes::{admin, llama, wanted, with_model},
};
use crate::support::{drive::Bench, wire::Ask};

pub(super) const LLAMA: &str = "meta-llama/Llama-3.1-8B-Instruct";
pub(crate) const TENANT: &str = "550e8400-e29b-41d4-a716-446655440000";
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Paris"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}},"unknown":[1.50,null]}"#;

/// A plane with a tenant, its key, and a shared node on which a model server answers with `answers`.
pub(crate) fn served(answers: impl Fn(&Question) -> Script + Send + Sync + 'static) -> (Bench, String) {
    served_in(&World::new(1), answers)
}

/// As [`served`], in a world of its own.
pub(super) fn served_in(
    world: &World,
    answers: impl Fn(&Question) -> Script + Send + Sync + 'static,
) -> (Bench, String) {
    let bench = Bench::of(world);
    assert_eq!(bench.send(admin(Ask::post("/admin/models").json(&llama()))).status, 201);
    let key = bench.a_tenant(TENANT, Tier::Free).0;
    let at = shared_node(&bench);
    bench.world.serve(at, answers);
    (bench, key)
}

/// A node of the installation's own, active; and where its model answers.
fn shared_node(bench: &Bench) -> Upstream {
    shared_node_of(bench, LLAMA)
}

/// As [`shared_node`], with another model.
fn shared_node_of(bench: &Bench, model: &str) -> Upstream {
    let mut launch = wanted();
    launch["model"] = json!(model);
    let made = bench.send(admin(Ask::post("/admin/nodes/launch").json(&launch))).json();
    bench.within("platform").serve(&made)
}

pub(crate) fn chat() -> Value {
    json!({"model": LLAMA, "messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 100})
}

pub(crate) fn ask(key: &str, body: &Value) -> Ask {
    Ask::post("/v1/chat/completions").json(body).bearer(key)
}

fn json_answer(_: &Question) -> Script {
    Script::json(StatusCode::OK, ANSWER)
}

fn refused(message: &str, kind: &str, param: &Value, code: &Value) -> Value {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

/// What the guide's step 8.2 shows, and what reaches the server: the caller's own bytes, and none of its headers.
#[test]
fn t_000_21_a_chat_passes_as_it_is() {
    let (bench, key) = served(json_answer);
    let body = format!(
        r#" {{"model": "{LLAMA}", "messages": [{{"role":"user","content":"h\u00e9"}}], "unknown": {{"x": 1.50}} }}"#
    );
    let asked = Ask::post("/v1/chat/completions").raw("application/json", body.clone()).bearer(&key);
    let answer = bench.send(asked.with("openai-organization", "secret").with("cookie", "secret"));
    assert_eq!((answer.status, answer.text().as_str()), (200, ANSWER));
    assert_eq!(answer.header("content-type"), "application/json");
    let (_, question) = bench.world.asked().pop().expect("a question");
    let sent = question.body.concat();
    assert_eq!((question.path, sent.as_slice()), ("/v1/chat/completions", body.as_bytes()));
    let mut names = question.headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-type"]);
}

#[test]
fn t_000_21_every_operation_has_its_own_path_and_kind() {
    let (bench, key) = served(json_answer);
    let embedding = json!({"name": "BAAI/bge-m3", "family": "bge", "size": "0.6B", "type": "embedding", "context_length": 8192,
        "vram_required_gb": 2, "price_input_per_million": 0.01, "price_output_per_million": 0});
    assert_eq!(bench.send(admin(Ask::post("/admin/models").json(&embedding))).status, 201);
    let at = shared_node_of(&bench, "BAAI/bge-m3");
    bench
        .world
        .serve(at, |_| Script::json(StatusCode::OK, r#"{"data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}"#));
    for (path, model, status) in [
        ("/v1/chat/completions", LLAMA, 200),
        ("/v1/completions", LLAMA, 200),
        ("/v1/embeddings", LLAMA, 400),
        ("/v1/chat/completions", "BAAI/bge-m3", 400),
        ("/v1/completions", "BAAI/bge-m3", 400),
        ("/v1/embeddings", "BAAI/bge-m3", 200),
    ] {
        let answer =
            bench.send(Ask::post(path).json(&json!({"model": model, "input": "x", "prompt": "x"})).bearer(&key));
        assert_eq!(answer.status, status, "{path} {model}: {}", answer.text());
        if status == 200 {
            assert_eq!(bench.world.asked().pop().unwrap().1.path, path);
        } else {
            assert_eq!(answer.json()["error"]["param"], "model");
        }
    }
}

#[test]
fn t_000_21_models_are_listed_with_who_is_ready() {
    let (bench, key) = served(json_answer);
    let idle = json!({"name": "gpt2", "family": "gpt2", "size": "124M", "type": "completion", "context_length": 1024,
        "vram_required_gb": 1, "price_input_per_million": 0, "price_output_per_million": 0});
    assert_eq!(bench.send(admin(Ask::post("/admin/models").json(&idle))).status, 201);
    let model = |id: &str, owned_by: &str, ready: bool| json!({"id": id, "object": "model", "created": "<number>", "owned_by": owned_by, "ready": ready});
    let (gpt2, ready) = (model("gpt2", "slipway", false), model(LLAMA, "meta-llama", true));
    let get = |path: &str| Ask::get(path.to_owned()).bearer(&key);
    check(&bench, get("/v1/models"), 200, &json!({"object": "list", "data": [gpt2, ready]}));
    check(&bench, get("/v1/models/gpt2"), 200, &gpt2);
    check(&bench, get(&format!("/v1/models/{LLAMA}")), 200, &ready);
    check(&bench, get(&format!("/v1/models/{}", LLAMA.replace('/', "%2F"))), 200, &ready);
    for unknown in ["nobody/nothing", "a/b/c", "..", "%00"] {
        let answer = bench.send(get(&format!("/v1/models/{unknown}")));
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("model_not_found")), "{unknown}");
    }
}

#[test]
fn bad_input_gets_openais_errors() {
    let (bench, key) = served(json_answer);
    let invalid = "invalid_request_error";
    let long = json!({"model": LLAMA, "messages": "a".repeat(7_000_000)});
    for (asked, status, body) in [
        (
            ask(&key, &json!({"model": "nobody/nothing"})),
            404,
            refused(
                "The model `nobody/nothing` does not exist or you do not have access to it.",
                invalid,
                &json!("model"),
                &json!("model_not_found"),
            ),
        ),
        (
            ask(&key, &json!({"model": "http://169.254.169.254/latest"})),
            404,
            refused("<text>", invalid, &json!("model"), &json!("model_not_found")),
        ),
        (
            ask("clsk_live_nonsense", &chat()),
            401,
            refused("Invalid API key", invalid, &Value::Null, &json!("invalid_api_key")),
        ),
        (
            Ask::post("/v1/chat/completions").json(&chat()),
            401,
            refused("<text>", invalid, &Value::Null, &json!("invalid_api_key")),
        ),
        (ask(&key, &json!({})), 400, refused("<text>", invalid, &json!("model"), &Value::Null)),
        (
            ask(&key, &json!({"model": LLAMA, "stream": 1})),
            400,
            refused("<text>", invalid, &json!("stream"), &Value::Null),
        ),
        (
            Ask::post("/v1/chat/completions").raw("application/json", "{").bearer(&key),
            400,
            refused("<text>", invalid, &Value::Null, &Value::Null),
        ),
        (
            Ask::post("/v1/chat/completions").raw("text/plain", "{}").bearer(&key),
            415,
            refused("<text>", invalid, &Value::Null, &json!("unsupported_media_type")),
        ),
        (ask(&key, &long), 413, refused("<text>", invalid, &Value::Null, &json!("request_too_large"))),
        (
            Ask::get("/v1/embeddings").bearer(&key),
            405,
            refused("<text>", invalid, &Value::Null, &json!("method_not_allowed")),
        ),
    ] {
        check(&bench, asked, status, &body);
    }
    assert!(bench.world.asked().is_empty(), "nobody was asked");
    // Whoever is nobody learns nothing of bodies or models.
    assert_eq!(bench.send(ask("clsk_live_nonsense", &json!({"model": "nobody/nothing"}))).status, 401);
}

/// A tenant's own instance is asked before a shared node, and a shared node when its own fails.
#[test]
fn a_tenants_own_instances_come_first_and_one_that_fails_is_set_aside() {
    const PRO: &str = "550e8400-e29b-41d4-a716-446655440001";
    let (bench, free) = served(|_| Script::json(StatusCode::OK, r#"{"by":"shared"}"#));
    let pro = bench.a_tenant(PRO, Tier::Pro).0;
    crate::support::operations::a_credential(&bench, &pro);
    let made = bench.send(Ask::post("/v1/instances").json(&wanted()).bearer(&pro)).json();
    let own = bench.within(PRO).serve(&made);
    bench.world.serve(own.clone(), |_| Script::json(StatusCode::OK, r#"{"by":"own"}"#));
    bench.pass(2);
    let by = |key: &str| bench.send(ask(key, &chat())).json()["by"].clone();
    assert_eq!((by(&pro), by(&free)), (json!("own"), json!("shared")), "nobody else is let to it");
    bench.world.close(&own);
    assert_eq!(by(&pro), "shared", "it was not reached, so that another is asked");
    let asked = bench.world.asked().len();
    bench.world.serve(own.clone(), |_| Script::json(StatusCode::OK, r#"{"by":"own"}"#));
    assert_eq!(by(&pro), "shared", "it is set aside");
    assert_eq!(bench.world.asked().len(), asked + 1);
    bench.pass(2);
    assert_eq!(by(&pro), "own", "and comes back");
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(bench.send(Ask::delete(format!("/v1/instances/{id}")).bearer(&pro)).status, 200);
    bench.pass(2);
    assert_eq!(by(&pro), "shared", "one that ends is asked no more");
}

#[test]
fn what_a_server_refuses_or_fails_is_told_in_openais_words() {
    for (answer, status, code, message) in [
        (
            Script::json(
                StatusCode::BAD_REQUEST,
                r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#,
            ),
            400,
            Value::Null,
            "too long",
        ),
        (
            Script::json(
                StatusCode::BAD_REQUEST,
                r#"{"error":{"message":"too long","type":"x","code":"context_length_exceeded"}}"#,
            ),
            400,
            json!("context_length_exceeded"),
            "too long",
        ),
        (
            Script::json(StatusCode::NOT_FOUND, "nothing here"),
            404,
            Value::Null,
            "The model's server refused the request",
        ),
        (Script::json(StatusCode::TOO_MANY_REQUESTS, r#"{"error":"busy"}"#), 503, Value::Null, "busy"),
        (
            Script::json(StatusCode::INTERNAL_SERVER_ERROR, "a stack trace"),
            502,
            json!("model_server_failed"),
            "The model's server failed",
        ),
        (Script::json(StatusCode::FOUND, "elsewhere"), 502, json!("model_server_failed"), "The model's server failed"),
        (Script::json(StatusCode::SERVICE_UNAVAILABLE, "loading"), 503, json!("model_not_ready"), "<text>"),
    ] {
        let (bench, key) = served(move |_| answer.clone());
        let found = bench.send(ask(&key, &chat()));
        let error = &found.json()["error"];
        assert_eq!((found.status, &error["code"]), (status, &code), "{message}: {}", found.text());
        assert!(message == "<text>" || error["message"] == message, "{}", found.text());
        assert_eq!(used(&bench, &key)["requests"], 0, "{message}");
    }
}

/// A model that nobody serves: how long until somebody does, as far as launches say.
#[test]
fn a_model_that_is_not_ready_says_when_it_may_be() {
    let bench = with_model();
    let key = bench.a_tenant(TENANT, Tier::Free).0;
    let body = |words: &str| {
        let message = format!("The model `{LLAMA}` {words}: try again in 30 seconds");
        refused(&message, "service_unavailable", &json!("model"), &json!("model_not_ready"))
    };
    let answer = check(&bench, ask(&key, &chat()), 503, &body("is not served at the moment"));
    assert_eq!(answer.header("retry-after"), "30");
    bench.send(admin(Ask::post("/admin/nodes/launch").json(&wanted())));
    check(&bench, ask(&key, &chat()), 503, &body("is being launched"));
}

/// What the tenant's report says.
pub(super) fn used(bench: &Bench, key: &str) -> Value {
    bench.send(Ask::get("/v1/usage").bearer(key)).json()["total"].clone()
}

#[test]
fn t_000_22_what_was_asked_is_metered_once() {
    let (bench, key) = served(json_answer);
    for _ in 0..3 {
        assert_eq!(bench.send(ask(&key, &chat())).status, 200);
    }
    let expected = json!({
        "gpu_seconds": 0, "requests": 3, "input_tokens": 27, "cached_input_tokens": 12, "output_tokens": 6,
        // 9 tokens at 0.15 and 2 at 0.60 dollars for a million, each rounded up to a millionth of a dollar.
        "cost_usd": 0.000_012
    });
    assert_eq!(used(&bench, &key), expected);
    for by in ["model", "key", "day"] {
        let report = bench.send(Ask::get(format!("/v1/usage?by={by}")).bearer(&key)).json();
        assert_eq!(report["parts"].as_object().unwrap().values().collect::<Vec<_>>(), [&expected], "{by}");
    }
    assert_eq!(bench.close_meters(), 0, "the hour is not over");
    bench.pass(2 * 3600);
    assert_eq!((bench.close_meters(), bench.close_meters()), (1, 0));
    assert_eq!(used(&bench, &key), expected, "its sums are the same");
}

#[test]
fn a_key_that_has_limits_makes_no_others() {
    let (bench, _) = served(json_answer);
    let limits = Limits::default().with(domain::limits::Meter::RequestsPerMinute, 5);
    let key = bench.a_limited_key(TENANT, limits).0;
    let asked = Ask::post("/v1/api-keys").json(&json!({"name": "another"})).bearer(&key);
    assert_eq!(bench.send(asked).status, 403);
    let shown = bench.send(Ask::get("/v1/api-keys").bearer(&key)).json();
    assert!(shown.to_string().contains(r#""limits":{"requests_per_minute":5}"#), "{shown}");
}
