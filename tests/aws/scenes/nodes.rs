//! Instances that live without an end: heard now and then, repeated, purged, idled away.

use serde_json::json;

use crate::support::{
    ADMIN,
    drive::{A10G, Bench, report},
    operations::{SAMPLE_MODEL, SAMPLE_TENANT, Scene, operations},
    wire::Ask,
};

pub(super) fn all() {
    lives();
    in_its_own_account();
    again();
    unknown_models();
}

/// One of a tenant's that has a credential of its own: launched, heard of, and ended while its machine was told to.
fn in_its_own_account() {
    let scene = Scene::new();
    let bench = &scene.bench;
    let wanted =
        json!({"provider": "aws", "region": "us-west-2", "gpu": "A10G", "gpu_count": 1, "model": SAMPLE_MODEL});
    let made = bench.send(Ask::post("/v1/instances").json(&wanted).bearer(&scene.tenant_key)).json();
    let id = made["id"].as_str().and_then(|id| id.strip_prefix("node-")).expect("an id").to_owned();
    bench.dispatch(A10G);
    let within = bench.within(SAMPLE_TENANT);
    within.launch(&id);
    bench.pass(600);
    within.reconcile(&id);
    bench.send(Ask::delete(format!("/v1/instances/node-{id}")).bearer(&scene.tenant_key));
    within.end(&id);
    let waits = bench.send(Ask::post("/v1/instances").json(&wanted).bearer(&scene.tenant_key)).json();
    let path = format!("/v1/instances/{}", waits["id"].as_str().expect("an id"));
    assert_eq!(bench.send(Ask::delete(path).bearer(&scene.tenant_key)).status, 200);
}

/// A launch with a model that nobody registered is told which there are.
fn unknown_models() {
    for operation in operations().iter().filter(|one| ["launch_node", "launch_instance"].contains(&one.id.as_str())) {
        let scene = Scene::new();
        let mut body = operation.example.clone().expect("a body");
        body["model"] = json!("nobodys/model");
        assert_eq!(scene.bench.send(scene.ask(operation).json(&body)).status, 400);
    }
}

/// One that is heard long after it became active, and then idles away.
fn lives() {
    let bench = Bench::new();
    let model = json!({
        "name": "gpt2", "family": "gpt2", "size": "124M", "type": "completion", "context_length": 1024, "vram_required_gb": 1,
        "price_input_per_million": 0, "price_output_per_million": 0
    });
    assert_eq!(bench.send(Ask::post("/admin/models").json(&model).with("x-admin-token", ADMIN)).status, 201);
    let key = bench.login("ann");
    let wanted = json!({
        "provider": "aws", "region": "us-west-2", "gpu": "A10G", "gpu_count": 1, "model": "gpt2", "idle_minutes_to_autostop": 30
    });
    let made = bench.send(Ask::post("/v1/instances").json(&wanted).bearer(&key)).json();
    let id = made["id"].as_str().and_then(|id| id.strip_prefix("node-")).expect("an id").to_owned();
    bench.dispatch(A10G);
    let agent = bench.launch(&id);
    bench.pass(31 * 60);
    let key = bench.login("ann");
    assert_eq!(bench.send(Ask::get("/v1/usage").bearer(&key)).status, 200);
    let of_all = Ask::get("/admin/tenants/default/usage").with("x-admin-token", ADMIN);
    assert_eq!(bench.send(of_all).status, 200);
    agent.sync(&bench, &report("ready"));
    let mut idle = report("ready");
    idle["idle_seconds"] = json!(30 * 60);
    agent.sync(&bench, &idle);
    let key = bench.login("ann");
    assert_eq!(bench.send(Ask::delete(format!("/v1/instances/node-{id}?purge=true")).bearer(&key)).status, 200);
    bench.end(&id);
    let admin = |ask: Ask| bench.send(ask.with("x-admin-token", ADMIN));
    let node = admin(Ask::post("/admin/nodes/launch").json(&wanted)).json();
    let id = node["id"].as_str().and_then(|id| id.strip_prefix("node-")).expect("an id").to_owned();
    bench.dispatch(A10G);
    let platform = bench.within("platform");
    platform.launch(&id);
    assert_eq!(admin(Ask::post(format!("/admin/nodes/node-{id}/terminate?purge=true"))).status, 200);
    platform.end(&id);
}

/// Each operation of theirs that takes an idempotency key, twice with one.
fn again() {
    for operation in operations()
        .iter()
        .filter(|one| ["launch_node", "launch_instance", "terminate_node", "create_model"].contains(&one.id.as_str()))
    {
        let scene = Scene::new();
        for _ in 0..2 {
            scene.bench.send(scene.ask(operation).once("again"));
        }
    }
}
