//! Keys that ask one model, and models that another tenant has published (000#21, 003#12).

use std::time::Duration;

use cloud::sim::{Script, World};
use domain::{
    TenantId,
    api_key::{KeyKind, mint},
    limits::{Limits, Meter},
    names::ModelName,
    tenant::Tier,
};
use futures::executor::block_on;
use http::StatusCode;
use serde_json::{Value, json};
use store::identities::ModelKey;

use super::{LLAMA, TENANT, ask, chat, served, shared_node};
use crate::{
    support::{drive::Bench, wire::Ask},
    surfaces::nodes::{admin, llama, wanted},
};

const PUBLISHER: &str = "550e8400-e29b-41d4-a716-446655440001";

fn name() -> ModelName {
    ModelName::parse(LLAMA).unwrap()
}

/// A key that asks the model in the tenant's name, for a day.
fn a_model_key(bench: &Bench, limits: Limits) -> String {
    let (now, ids) = (bench.world.now(), &bench.plane.ports.ids);
    let key = mint(KeyKind::Model, &ids.random());
    let holder = ModelKey { tenant: TenantId::new(TENANT), model: name(), id: ids.key(now) };
    let until = now.plus(Duration::from_secs(24 * 3600));
    block_on(bench.plane.store.add_model_key(&key.hash(), holder, limits, until)).unwrap();
    key.reveal().to_owned()
}

#[test]
fn a_models_key_asks_its_model_and_does_nothing_else() {
    let (bench, all) =
        served(|_| Script::json(StatusCode::OK, r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#));
    let mut other = llama();
    other["name"] = json!("gpt2");
    assert_eq!(bench.send(admin(Ask::post("/admin/models").json(&other))).status, 201);
    let key = a_model_key(&bench, Limits::default().with(Meter::RequestsPerHour, 2));
    assert!(key.starts_with("pk_live_"));
    assert_eq!(bench.send(ask(&key, &chat())).status, 200);
    let refused = bench.send(ask(&key, &json!({"model": "gpt2"})));
    let nobodys = bench.send(ask(&key, &json!({"model": "gpt3"})));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(refused.text().replace("gpt2", "gpt3"), nobodys.text(), "it learns of no other model");
    let listed = bench.ok(&key, Ask::get("/v1/models"));
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed["data"][0]["id"], LLAMA);
    assert_eq!(bench.ok(&all, Ask::get("/v1/models"))["data"].as_array().unwrap().len(), 2);
    assert_eq!(bench.ok(&key, Ask::get(format!("/v1/models/{LLAMA}")))["id"], LLAMA);
    assert_eq!(bench.send(Ask::get("/v1/models/gpt2").bearer(&key)).status, 404);
    for (path, status) in [("/v1/usage", 403), ("/v1/api-keys", 403), ("/v1/credentials", 403), ("/v1/jobs", 403)] {
        assert_eq!(bench.send(Ask::get(path).bearer(&key)).status, status, "{path}");
    }
    assert_eq!(bench.send(ask(&key, &chat())).status, 200);
    assert_eq!(bench.send(ask(&key, &chat())).status, 429, "its own limit");
    assert_eq!(bench.send(ask(&all, &chat())).status, 200, "which is nobody else's");
    bench.pass(24 * 3600);
    assert_eq!(bench.send(ask(&key, &chat())).status, 401, "it has ended");
}

#[test]
fn a_model_that_another_tenant_has_published_is_asked_last() {
    let bench = Bench::of(&World::new(1));
    assert_eq!(bench.send(admin(Ask::post("/admin/models").json(&llama()))).status, 201);
    let (key, publisher) = (bench.a_tenant(TENANT, Tier::Free).0, bench.a_tenant(PUBLISHER, Tier::Pro).0);
    crate::support::operations::a_credential(&bench, &publisher);
    let made = bench.send(Ask::post("/v1/instances").json(&wanted()).bearer(&publisher)).json();
    let published = bench.within(PUBLISHER).serve(&made);
    bench.world.serve(published, |_| Script::json(StatusCode::OK, r#"{"by":"publisher"}"#));
    bench.pass(2);
    let by = || bench.send(ask(&key, &chat())).json();
    assert_eq!(by()["error"]["code"], "model_not_ready", "it is nobody's business yet");
    let ready = || bench.ok(&key, Ask::get("/v1/models"))["data"][0]["ready"].clone();
    assert_eq!(ready(), json!(false));

    let offer =
        |by: &str| block_on(bench.plane.store.offer(&TenantId::new(by), &name(), &TenantId::new(TENANT))).unwrap();
    assert!(offer(PUBLISHER) && offer(PUBLISHER), "to publish it again changes nothing");
    assert!(!offer("550e8400-e29b-41d4-a716-446655440002"), "of two with the same name the first counts");
    bench.pass(2);
    assert_eq!((ready(), &by()["by"]), (json!(true), &json!("publisher")));
    let total = |key: &str| bench.ok(key, Ask::get("/v1/usage"))["total"]["requests"].clone();
    assert_eq!((total(&key), total(&publisher)), (json!(1), Value::from(0)), "whoever asks has used it");

    let shared = shared_node(&bench);
    bench.world.serve(shared.clone(), |_| Script::json(StatusCode::OK, r#"{"by":"shared"}"#));
    bench.pass(2);
    assert_eq!(by()["by"], "shared");
    bench.world.close(&shared);
    assert_eq!(by()["by"], "publisher", "where nobody else is reached");
}
