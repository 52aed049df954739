//! Scenes in which each function does everything that it can do, so that its role can be written down.

mod credentials;
mod inference;
mod nodes;
mod tenants;
mod volumes;

use cloud::Order;
use domain::{
    Secret, TenantId, UserName,
    gpu::Gpu,
    names::{DiskName, GithubName},
    ssh::PublicKey,
};
use futures::executor::block_on;
use serde_json::json;

use crate::support::{
    drive::{A10G, Bench, Stage, presigned, report, small},
    operations::{Scene, operations},
    wire::Ask,
};

/// Every scene.
pub(crate) fn all() {
    examples();
    drop(Bench::new().send(Ask::get("/docs/index.html")));
    a_life();
    endings();
    launches();
    clock();
    crowds();
    disks();
    volumes::all();
    tenants::all();
    credentials::all();
    nodes::all();
    inference::all();
}

/// A disk's life: used, backed up, used by another, renamed, let go; with what the clock finds of it.
fn disks() {
    let bench = Bench::new();
    bench.world.set(|settings| settings.strangers = 1_000);
    let key = bench.login("ann");
    let mut body = small();
    (body["disk_name"], body["disk_size_gb"]) = (json!("data"), json!(10));
    let first = bench.submit(&key, &body);
    let second = bench.submit(&key, &body);
    bench.dispatch(A10G);
    let agent = bench.launch(&first);
    bench.ok(&key, Ask::post("/v1/disks/data/snapshots").once("now"));
    bench.tend_disks();
    agent.hold_still(&bench, 1);
    bench.tend_disks();
    bench.ok(&key, Ask::post(format!("/v1/jobs/{first}/cancel")));
    bench.end(&first);
    idle(&bench);
    bench.dispatch(A10G);
    let key = bench.login("ann");
    bench.ok(&key, Ask::post(format!("/v1/jobs/{second}/cancel")));
    bench.reconcile(&second);
    idle(&bench);
    for days in [1, 7] {
        bench.pass(days * 24 * 3600);
        bench.sweep_disks();
    }
    let key = bench.login("ann");
    bench.world.set_outage("volumes.tag", true);
    let owner = (TenantId::new("default"), UserName::new("ann"));
    let disk = || block_on(bench.plane.store.disks(&owner.0, &owner.1)).expect("disks").remove(0);
    let renamed = disk().rename(DiskName::parse("other").expect("a name"), bench.world.now()).expect("it may");
    block_on(bench.plane.store.write_disk(&renamed, None, None)).expect("written");
    for _ in 0..2 {
        bench.sweep_disks();
        bench.pass(700);
    }
    bench.world.set_outage("volumes.tag", false);
    bench.sweep_disks();
    bench.end_disk_orphans();
    bench.ok(&key, Ask::new(http::Method::DELETE, "/v1/disks/other"));
    for days in [0, 30, 1] {
        bench.pass(days * 24 * 3600 + 60);
        bench.sweep_disks();
    }
    bench.end_disk_orphans();
}

/// Lets time pass until the disk's snapshot is complete.
fn idle(bench: &Bench) {
    for _ in 0..12 {
        bench.pass(1_800);
        bench.sweep_disks();
        bench.end_disk_orphans();
    }
}

/// Each operation's example: plain, with an idempotency key, and repeated.
fn examples() {
    for operation in operations() {
        let scene = Scene::new();
        scene.bench.send(scene.ask(&operation));
        let scene = Scene::new();
        let again = || scene.ask(&operation).once("a key");
        scene.bench.send(again());
        scene.bench.send(again());
    }
}

/// A job with all there is, from its submit to its end.
fn a_life() {
    let bench = Bench::new();
    let key = bench.login("ann");
    bench.login("ann");
    let url = presigned("ann", bench.world.now()).url();
    bench.send(Ask::post("/v1/auth/aws-login").json(&json!({"presigned_url": url.reveal()})));
    let public = PublicKey::parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS");
    bench.world.publish(GithubName::parse("ann-gh").expect("a name"), vec![public.expect("a key")]);
    let full = json!({
        "image": "busybox", "instance_type": "g5.xlarge", "duration_hours": 1, "env_vars": {"A": "b"}, "command": "true",
        "github_user": "ann-gh", "jupyter_enabled": true
    });
    let id = bench.ok(&key, Ask::post("/v1/jobs/submit").json(&full).once("life"))["job_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    bench.reconcile(&id);
    bench.dispatch(A10G);
    let token = bench.provision(&id);
    let agent = bench.enroll(&token);
    bench.send(Ask::get(format!("/v1/jobs/{id}/logs/stream")).bearer(&key));
    bench.step("AwaitReady", &id, &json!({"token": "ready"})).expect("a token kept");
    agent.sync(&bench, &report("ready"));
    bench.step("Activate", &id, &json!({})).expect("active");
    bench.job(&key, &id);
    bench.send(Ask::get(format!("/v1/jobs/{id}/logs/stream?follow=true")).bearer(&key));
    let next = "a".repeat(64);
    let mut rotating = report("ready");
    rotating["next_session"] = json!(next);
    agent.sync(&bench, &rotating);
    let rotated = session(&bench, &agent, &rotating);
    rotated.sync(&bench, &report("ready"));
    for sequence in [1, 2, 514] {
        rotated.log(&bench, sequence, &["a line"]);
    }
    bench.ok(&key, Ask::get(format!("/v1/jobs/{id}/logs")));
    bench.pass(600);
    bench.sweep();
    bench.reconcile(&id);
    bench.ok(&key, Ask::post(format!("/v1/jobs/{id}/cancel")));
    bench.ok(&rotated.session, Ask::post("/agent/v1/bye").json(&json!({"reason": "stopped"})));
    bench.end(&id);
}

/// Announces a session that is really known, and gives it.
fn session(
    bench: &Bench,
    agent: &crate::support::drive::Agent,
    like: &serde_json::Value,
) -> crate::support::drive::Agent {
    use domain::api_key::{KeyKind, mint};
    let secret = mint(KeyKind::Session, &bench.plane.ports.ids.random());
    let mut announcing = like.clone();
    announcing["next_session"] = json!(secret.hash().as_str());
    agent.sync(bench, &announcing);
    crate::support::drive::Agent { session: secret.reveal().to_owned() }
}

/// Jobs that end early, or are not there any more.
fn endings() {
    for stage in Stage::ALL {
        let bench = Bench::new();
        let key = bench.login("ann");
        let id = bench.job_at(stage, &key);
        let key = bench.login("ann");
        bench.send(Ask::post(format!("/v1/jobs/{id}/cancel")).bearer(&key));
        bench.reconcile(&id);
        bench.end(&id);
        bench.sweep();
    }
    // What it runs on goes away while it is launched: its launch is let go.
    let bench = Bench::new();
    let id = bench.job_at(Stage::Booting, &bench.login("ann"));
    for one in bench.world.instances() {
        bench.world.stop_instance(&one.id);
    }
    bench.reconcile(&id);
    // Nobody can work on its message: it is given up.
    let bench = Bench::new();
    let id = bench.job_at(Stage::Booting, &bench.login("ann"));
    bench.world.set_outage("fleet", true);
    bench.give_up(&id);
}

/// Each step of a launch, where it has something to do and where it comes too late.
fn launches() {
    for stage in Stage::ALL {
        for step in launcher::HANDLERS {
            let bench = Bench::new();
            let id = bench.job_at(stage, &bench.login("ann"));
            let input = if step.starts_with("Await") { json!({"token": "a token"}) } else { json!({}) };
            drop(bench.step(step, &id, &input));
        }
    }
}

/// A pass that places all whom it looks at rings for another; whoever waits for two days is let go.
fn crowds() {
    let bench = Bench::new();
    let key = bench.login("ann");
    for number in 0..25 {
        let node = domain::NodeId::new(format!("more-{number:02}"));
        block_on(bench.plane.store.enter_node(&domain::PoolId::new(A10G), &node, 4)).expect("a node");
    }
    for _ in 0..101 {
        bench.submit(&key, &small());
    }
    bench.dispatch(A10G);
    let bench = Bench::new();
    for stage in [Stage::Placed, Stage::Booting, Stage::Active, Stage::Queued] {
        bench.job_at(stage, &bench.login("ann"));
    }
    bench.pass(49 * 3600);
    bench.sweep();
    bench.pass(300);
    bench.sweep();
}

/// What the clock finds: what is due, what was not sent, who waits, and what nobody knows.
fn clock() {
    let bench = Bench::new();
    let key = bench.login("ann");
    bench.world.set_outage("queue", true);
    let unsent = bench.submit(&key, &small());
    bench.world.set_outage("queue", false);
    bench.pass(60);
    bench.sweep();
    bench.dispatch(A10G);
    bench.pass(60);
    bench.sweep();
    for _ in 0..6 {
        bench.submit(&key, &small());
    }
    bench.dispatch(A10G);
    bench.sweep();
    bench.pass(60 * 60);
    bench.sweep();
    drop(unsent);
    let order = Order {
        tenant: TenantId::new("default"),
        workload: bench.plane.ports.ids.workload(bench.world.now()),
        attempt: 1,
        pool: domain::PoolId::new(A10G),
        node: domain::NodeId::new("a10g-1"),
        gpus: 1,
        gpu: Gpu::A10g,
        instance_type: "g5.xlarge".to_owned(),
        life: Some(std::time::Duration::from_secs(3600)),
        serves: false,
        use_spot: false,
        image: "busybox".to_owned(),
        disk: None,
        enroll_token: Secret::new("nobody's"),
    };
    drop(block_on(bench.plane.ports.fleet.provision(&order)));
    bench.pass(150);
    bench.end_orphans();
    for nodes in [2, 0] {
        bench.keep_nodes(nodes);
    }
}
