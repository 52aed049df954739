//! Requests to models with limits, from many sides, and what the clock finds of them.

use domain::{
    TenantId,
    limits::{Demand, Limits, Meter},
    names::ModelName,
};
use futures::executor::block_on;
use serde_json::json;
use store::limits::{Scoped, Whose};

use crate::support::{
    ADMIN,
    drive::Bench,
    operations::{Operation, SAMPLE_MODEL, SAMPLE_TENANT, Scene, operations},
    wire::Ask,
};

pub(super) fn all() {
    for operation in operations().iter().filter(|one| one.described["tags"][0] == "inference") {
        let scene = Scene::new();
        let bench = &scene.bench;
        not_served(&scene, operation);
        let limits = Limits::default().with(Meter::RequestsPerHour, 2).with(Meter::TokensPerDay, 1_000_000);
        let (key, _) = bench.a_limited_key(SAMPLE_TENANT, limits);
        // What was known of who serves it is forgotten.
        bench.pass(2);
        let ask = || bench.send(scene.bare(operation).bearer(&key)).status;
        ask();
        bench.pass(2);
        // Somebody else writes the row in between, so that it is read again; and then the limit is met.
        block_on(bench.plane.store.settle_abandoned(&limit_of(bench))).expect("settled");
        ask();
        bench.pass(2);
        ask();
        abandon(bench);
        bench.pass(24 * 3600);
        bench.close_meters();
    }
}

/// A lease of which nobody is heard again.
fn abandon(bench: &Bench) {
    let limits = Limits::default().with(Meter::TokensPerHour, 100);
    let scoped = Scoped { whose: Whose::Tenant, id: "abandoned".to_owned(), limits };
    let demand = Demand { requests: 1, tokens: 1, micros: 0 };
    assert!(block_on(bench.plane.reserve(&[scoped], &demand)).is_ok());
}

/// Another tenant has published it.
fn published(scene: &Scene, operation: &Operation) {
    let named = operation.example.as_ref().map_or(SAMPLE_MODEL, |example| example["model"].as_str().expect("a name"));
    let (publisher, tenant) = (TenantId::new("publisher"), TenantId::new(SAMPLE_TENANT));
    let model = ModelName::parse(named).expect("a name");
    assert!(block_on(scene.bench.plane.store.offer(&publisher, &model, &tenant)).expect("written"));
    // What was known of it is forgotten.
    scene.bench.pass(2);
}

/// Asked of somebody who serves nothing yet, and of one who is being launched.
fn not_served(scene: &Scene, operation: &Operation) {
    let asked = Scene::upon(operation, &scene.own).bearer(&scene.tenant_key);
    scene.bench.send(asked.clone());
    published(scene, operation);
    scene.bench.send(asked.clone());
    let wanted = json!({
        "provider": "aws", "region": "us-west-2", "gpu": "A10G", "gpu_count": 1, "model": SAMPLE_MODEL
    });
    let made = scene.bench.send(Ask::post("/admin/nodes/launch").json(&wanted).with("x-admin-token", ADMIN)).json();
    scene.bench.send(asked);
    let end = format!("/admin/nodes/{}/terminate?purge=true", made["id"].as_str().expect("an id"));
    scene.bench.send(Ask::post(end).with("x-admin-token", ADMIN));
    let id = made["id"].as_str().and_then(|id| id.strip_prefix("node-")).expect("an id");
    scene.bench.within("platform").reconcile(id);
}

/// The row of the one limit that there is.
fn limit_of(bench: &Bench) -> String {
    let keys = block_on(bench.plane.store.tenant_keys(&domain::TenantId::new(SAMPLE_TENANT))).expect("keys");
    let limited = keys.iter().find(|key| !key.limits.is_empty()).expect("a key with limits");
    store::limits::key_scope(&limited.tenant, limited.id)
}
