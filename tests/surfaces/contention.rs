//! Many at once for few GPUs.

use std::{collections::BTreeMap, time::Duration};

use cloud::sim::{Executor, Fault, FaultPlan, World};
use domain::{NodeId, PoolId};
use futures::executor::block_on;
use serde_json::json;

use crate::support::{
    drive::{Bench, H100, answer},
    wire::{Answer, Ask},
};

const MANY: usize = 200;

/// Two hundred submits of one person at once, while every ninth call of the world meets a conflict or an error: every one is acknowledged.
fn submit_all(bench: &Bench, executor: &mut Executor, key: &str) {
    let body = json!({"image": "busybox", "instance_type": "p5.48xlarge", "gpu_count": 1});
    let now = bench.world.calls();
    let faults = (1..4_000).map(|n| (now + n * 9, Fault::ErrorBefore));
    bench.world.follow(FaultPlan::At(faults.collect::<BTreeMap<_, _>>()));
    let ask = || Ask::post("/v1/jobs/submit").bearer(key).json(&body);
    let tasks = (0..MANY)
        .map(|n| executor.spawn(format!("submit {n}"), answer(bench.router.clone(), ask())))
        .collect::<Vec<_>>();
    executor.advance(bench.world.now().plus(Duration::from_secs(120))).unwrap();
    bench.world.follow(FaultPlan::None);
    for task in tasks {
        let answer = executor.take::<Answer>(task).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn t_load_200_submits_at_once_for_8_gpus() {
    for seed in 0..3 {
        let world = World::new(seed);
        let bench = Bench::of(&world);
        block_on(bench.plane.store.retire_node(&PoolId::new(H100), &NodeId::new("h100-2"))).unwrap();
        let key = bench.login("jschmidt");
        let mut executor = Executor::new(&world);
        submit_all(&bench, &mut executor, &key);
        // The queue lets one dispatcher at a time look at a pool; the conditions of its transactions hold where that rule is broken.
        for n in 0..3 {
            let plane = bench.plane.clone();
            executor.spawn(format!("dispatcher {n}"), async move {
                dispatcher::ring(&plane, &PoolId::new(H100)).await.unwrap();
            });
        }
        executor.advance(world.now().plus(Duration::from_secs(60))).unwrap();
        assert_eq!(executor.unfinished(), [], "seed {seed}");
        bench.dispatch(H100);
        let key = bench.login("jschmidt");
        let gpus = &bench.ok(&key, Ask::get("/v1/gpu/availability"))["availability"]["h100"];
        let counts = ["total", "in_use", "available", "queued"].map(|name| gpus[name].as_u64().unwrap());
        assert_eq!(counts, [8, 8, 0, 192], "seed {seed}");
        let list = bench.ok(&key, Ask::get("/v1/jobs?limit=500"));
        assert_eq!(list["total"], 200, "seed {seed}");
        let mut jobs = list["jobs"].as_array().unwrap().clone();
        let name = |job: &serde_json::Value, name: &str| job[name].as_str().unwrap().to_owned();
        jobs.sort_by_key(|job| (job["created_at"].as_str().map(domain::Timestamp::parse), name(job, "job_id")));
        let statuses = jobs.iter().map(|job| name(job, "status")).collect::<Vec<_>>();
        assert_eq!(statuses[..8], ["preparing"; 8], "seed {seed}: the first that came are the first that are served");
        assert!(statuses[8..].iter().all(|status| status == "queued"), "seed {seed}");
    }
}
