//! What `OpenAI`'s own clients asked and were answered, as `tests/journey/65_inference.sh` wrote it down (`SLIPWAY_RECORD`), asked again: whoever
//! changes what these clients depend on learns it here, without them.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use cloud::{Question, sim::Script};
use domain::limits::{Limits, Meter};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{LLAMA, TENANT, served, shared_node_of};
use crate::{
    support::{bless, wire::Ask},
    surfaces::nodes::admin,
};

/// A request, and what came back.
#[derive(Deserialize)]
struct Exchange {
    asked: String,
    key: String,
    headers: BTreeMap<String, String>,
    body: String,
    status: u16,
    content_type: String,
    answer: String,
}

impl Exchange {
    fn all() -> Vec<Self> {
        let text = fs::read_to_string(bless::root().join("tests/surfaces/inference/openai.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// What a model server says that this answer came from: in a stream it says at last what was used, if it is asked to.
    fn served(&self, question: &Question) -> Script {
        if self.content_type != "text/event-stream" {
            return Script::json(StatusCode::OK, self.answer.clone());
        }
        let asked: Value = serde_json::from_slice(&question.body.concat()).unwrap();
        assert_eq!(asked["stream_options"]["include_usage"], true, "what is used is always asked for");
        let mut events = self.answer.split_terminator("\n\n").map(|event| &event["data: ".len()..]).collect::<Vec<_>>();
        let used = json!({"id": "x", "object": "x", "created": 1, "model": "x", "choices": [], "usage": {"prompt_tokens": 6, "completion_tokens": 8, "total_tokens": 14}}).to_string();
        if !self.body.contains("include_usage") {
            events.insert(events.len() - 1, &used);
        }
        Script::events(&events, Duration::ZERO)
    }
}

/// An answer without what is otherwise every time.
fn lasting(text: &str) -> Value {
    let Ok(mut answer) = serde_json::from_str::<Value>(text) else { return text.into() };
    for model in answer["data"].as_array_mut().into_iter().flatten() {
        if model["object"] == "model" {
            model["created"] = json!(0);
        }
    }
    if answer["object"] == "model" {
        answer["created"] = json!(0);
    }
    if let Some((words, _seconds)) = answer["error"]["message"].as_str().and_then(|words| words.split_once("again in "))
    {
        answer["error"]["message"] = words.into();
    }
    answer
}

#[test]
fn what_openais_clients_asked_is_answered_as_it_was() {
    let exchanges = Arc::new(Exchange::all());
    let next = Arc::new(Mutex::new(0));
    let (of, at) = (Arc::clone(&exchanges), Arc::clone(&next));
    let answers = move |question: &Question| of[*at.lock().unwrap()].served(question);
    let (bench, all) = served(answers.clone());
    for (name, kind) in [("BAAI/bge-m3", "embedding"), ("gpt2", "completion")] {
        let model = json!({"name": name, "family": "f", "size": "1M", "type": kind, "context_length": 512, "vram_required_gb": 1,
            "price_input_per_million": 1000, "price_output_per_million": 2000});
        assert_eq!(bench.send(admin(Ask::post("/admin/models").json(&model))).status, 201);
    }
    bench.world.serve(shared_node_of(&bench, "BAAI/bge-m3"), answers);
    let once = Limits::default().with(Meter::RequestsPerHour, 1);
    let few = [bench.a_limited_key(TENANT, once.clone()).0, bench.a_limited_key(TENANT, once).0];
    assert!(exchanges.len() > 25, "both clients asked");
    for (number, exchange) in exchanges.iter().enumerate() {
        *next.lock().unwrap() = number;
        let (method, path) = exchange.asked.split_once(' ').unwrap();
        let key = match exchange.key.as_str() {
            "all" => &all,
            "few" => &few[0],
            "few_too" => &few[1],
            other => other,
        };
        let mut ask = Ask::new(method.parse::<Method>().unwrap(), path).bearer(key);
        for (name, value) in &exchange.headers {
            ask = ask.with(name, value);
        }
        ask.body = exchange.body.clone().into();
        let answer = bench.send(ask);
        let what = format!("{number}: {} {}", exchange.asked, exchange.body);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (exchange.status, exchange.content_type.as_str()),
            "{what}"
        );
        assert_eq!(lasting(&answer.text()), lasting(&exchange.answer), "{what}");
        assert_eq!(answer.headers.contains_key("retry-after"), [429, 503].contains(&answer.status), "{what}");
    }
    for model in [LLAMA, "BAAI/bge-m3"] {
        assert!(exchanges.iter().any(|exchange| exchange.status == 200 && exchange.body.contains(model)), "{model}");
    }
}
