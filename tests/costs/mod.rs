//! What each operation costs: calls, and DynamoDB's read and write units. `tests/costs.txt` is the record to beat.

mod table;

use cloud::sim::Script;
use domain::{
    NodeId, PoolId,
    api_key::{KeyKind, mint},
    limits::{Limits, Meter},
};
use futures::{FutureExt, executor::block_on};
use http::StatusCode;
use serde_json::json;

use crate::{
    support::{
        drive::{A10G, Bench, H100, report, small},
        operations::{Operation, Scene, operations},
        wire::Ask,
    },
    surfaces::inference::{TENANT, ask, chat, served},
};

use table::{Count, check};

/// Counts what `work` does.
fn count(bench: &Bench, work: impl FnOnce()) -> Count {
    let before = usize::try_from(bench.world.calls()).unwrap();
    bench.embedded.meter().start();
    work();
    let metered = bench.embedded.meter().take();
    let labels = bench.world.log().into_iter().skip(before).map(|call| call.label).collect::<Vec<_>>();
    let writes = metered.iter().map(|call| call.writes).sum();
    let reads = metered.iter().map(|call| call.reads).sum();
    Count::of(labels, writes, reads)
}

/// A plane in which `crowd` jobs of four people wait already, a quarter of them the caller's own.
fn crowded(crowd: usize) -> (Bench, String) {
    let bench = Bench::with(|settings| settings.policy.jobs_per_user = 100_000);
    let people = ["jschmidt", "two", "three", "four"].map(|name| bench.login(name));
    let behind = json!({"image": "busybox", "instance_type": "p5.4xlarge", "duration_hours": 1, "priority": 0});
    for number in 0..crowd {
        bench.submit(&people[number % 4], &behind);
    }
    let [key, ..] = people;
    (bench, key)
}

fn jobs(bench: &Bench, key: &str, counts: &mut Vec<(String, Count)>) {
    let mut add = |name: &str, work: &dyn Fn()| counts.push((name.to_owned(), count(bench, work)));
    let submit = || Ask::post("/v1/jobs/submit");
    let full = json!({
        "image": "pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime", "instance_type": "g5.xlarge", "duration_hours": 4,
        "env_vars": {"WANDB_API_KEY": "secret", "EXPERIMENT": "training-v1"}, "command": "python train.py --epochs 100",
        "github_user": "jeanschmidt", "name": "training-run"
    });
    add("sweep with nothing due", &|| assert_eq!(bench.sweep(), sweeper::Swept::default()));
    let waiting = bench.submit(key, &small());
    add("get a job", &|| drop(bench.job(key, &waiting)));
    add("submit", &|| drop(bench.ok(key, submit().json(&small()))));
    add("submit, with an idempotency key", &|| drop(bench.ok(key, submit().json(&small()).once("k"))));
    add("submit, repeated", &|| drop(bench.ok(key, submit().json(&small()).once("k"))));
    add("submit, with all there is", &|| drop(bench.ok(key, submit().json(&full).once("all"))));
    for _ in 0..60 {
        bench.submit(key, &small());
    }
    add("list of 50", &|| drop(bench.ok(key, Ask::get("/v1/jobs"))));
    add("cancel of one that waits", &|| drop(bench.ok(key, Ask::post(format!("/v1/jobs/{waiting}/cancel")))));
    add("availability", &|| drop(bench.ok(key, Ask::get("/v1/gpu/availability"))));
    let nobodys = mint(KeyKind::User, &[7; 32]);
    for (name, key) in [("refusal of an unknown key", nobodys.reveal()), ("refusal of what is no key", "swk_nobody")] {
        add(name, &|| assert_eq!(bench.send(Ask::get("/v1/jobs").bearer(key)).status, 401));
    }
}

/// One job from its placement to its end, on a plane of its own pool.
fn life(bench: &Bench, key: &str, counts: &mut Vec<(String, Count)>) {
    // Whoever waits before it is out of its way.
    let nodes = (1..=30).map(|n| NodeId::new(format!("a10g-more-{n:02}")));
    for node in nodes {
        block_on(bench.plane.store.enter_node(&PoolId::new(A10G), &node, 4)).unwrap();
    }
    bench.dispatch(A10G);
    let id = bench.submit(key, &small());
    counts.push(("a pass that places one".to_owned(), count(bench, || bench.dispatch(A10G))));
    counts.push(("a pass with nobody waiting".to_owned(), count(bench, || bench.dispatch(A10G))));
    let (_, empty) = &counts[counts.len() - 1];
    let placement = counts[counts.len() - 2].1.less(empty, 1);
    counts.push(("one placement".to_owned(), placement));
    let mut add = |name: &str, work: &mut dyn FnMut()| counts.push((name.to_owned(), count(bench, work)));
    let mut token = String::new();
    add("launch: provision and await boot", &mut || token = bench.provision(&id));
    let mut agent = None;
    add("agent: enroll", &mut || agent = Some(bench.enroll(&token)));
    let agent = agent.unwrap();
    add("launch: await ready", &mut || drop(bench.step("AwaitReady", &id, &json!({"token": "ready"})).unwrap()));
    let mut told = 0;
    let mut sync = |progress: &str| {
        let mut said = report(progress);
        said["applied"] = json!(told);
        told = agent.sync(bench, &said)["version"].as_u64().unwrap();
    };
    add("agent: a report that changes the phase", &mut || sync("installing"));
    add("agent: the report that it is ready", &mut || sync("ready"));
    add("launch: activate", &mut || drop(bench.step("Activate", &id, &json!({})).unwrap()));
    sync("ready");
    add("agent: a report without news", &mut || sync("ready"));
    add("agent: a batch of the log", &mut || agent.log(bench, 1, &["a line"]));
    let extend = || Ask::post(format!("/v1/jobs/{id}/extend")).json(&json!({"extension_hours": 1}));
    add("extend", &mut || drop(bench.ok(key, extend())));
    add("cancel of one that runs", &mut || drop(bench.ok(key, Ask::post(format!("/v1/jobs/{id}/cancel")))));
    bench.pass(25);
    add("end: told to stop", &mut || bench.reconcile(&id));
    bench.pass(31);
    add("end: nothing runs any more", &mut || bench.reconcile(&id));
}

fn workers(bench: &Bench, key: &str, counts: &mut Vec<(String, Count)>) {
    for n in 1..=11 {
        block_on(bench.plane.store.enter_node(&PoolId::new(H100), &NodeId::new(format!("h100-more-{n:02}")), 8))
            .unwrap();
    }
    let one = json!({"image": "busybox", "instance_type": "p5.4xlarge", "duration_hours": 1});
    for _ in 0..100 {
        bench.submit(key, &one);
    }
    counts.push(("a pass that places 100".to_owned(), count(bench, || bench.dispatch(H100))));
    let (_, placement) = counts.iter().find(|(name, _)| *name == "one placement").unwrap();
    let itself = counts[counts.len() - 1].1.less(placement, 100);
    counts.push(("a pass of 100, less its placements".to_owned(), itself));
}

/// Requests to a model with a key that has every limit, in a process that goes on and in a function, both of which have answered before.
fn inference(counts: &mut Vec<(String, Count)>) {
    let usage = r#"{"usage":{"prompt_tokens":30,"completion_tokens":10}}"#;
    let limits = Meter::ALL.into_iter().fold(Limits::default(), |limits, meter| limits.with(meter, 1_000_000));
    for (name, is_kept, times) in
        [("100 requests to a model, kept gateway", true, 100), ("a request to a model, in a function", false, 1)]
    {
        let (bench, _) = served(move |_| Script::json(StatusCode::OK, usage));
        let key = bench.a_limited_key(TENANT, limits.clone()).0;
        let asks = |times: usize| (0..times).for_each(|_| assert_eq!(bench.send(ask(&key, &chat())).status, 200));
        if is_kept {
            assert!(bench.plane.keep_memory().now_or_never().is_none(), "it goes on");
        }
        asks(times);
        block_on(bench.plane.tend_memory());
        let work = || {
            asks(times);
            block_on(bench.plane.tend_memory());
        };
        counts.push((name.to_owned(), count(&bench, work)));
    }
}

fn all(crowd: usize) -> Vec<(String, Count)> {
    let (bench, key) = crowded(crowd);
    let mut counts = Vec::new();
    jobs(&bench, &key, &mut counts);
    life(&bench, &key, &mut counts);
    workers(&bench, &key, &mut counts);
    inference(&mut counts);
    counts
}

/// Every operation by itself, by its name in the document: its example, asked by whoever may.
fn operations_alone() -> Vec<(String, Count)> {
    let alone = |operation: Operation| {
        let scene = Scene::new();
        let ask = scene.ask(&operation);
        let answered = || assert_eq!(scene.bench.send(ask).status, operation.good(), "{}", operation.id);
        let count = count(&scene.bench, answered);
        (operation.id, count)
    };
    operations().into_iter().map(alone).collect()
}

#[test]
fn counts_are_those_of_the_record() {
    check(&[all(20), operations_alone()].concat());
}

/// What is not asked for costs nothing.
#[test]
fn counts_do_not_grow_with_the_crowd() {
    for ((name, few), (_, many)) in all(20).into_iter().zip(all(1_000)) {
        assert_eq!(few, many, "{name}: the counts with 20 jobs waiting, and with 1,000");
    }
}
