//! What there is, and who waits (002#12, 002#13).

use serde_json::{Value, json};

use super::check;
use crate::support::{
    drive::{A10G, Bench, H100, Stage, small},
    wire::Ask,
};

fn gpus(gpu: &str, total: u32, available: u32, in_use: u32, queued: u32, most: u32) -> Value {
    json!({
        "gpu_type": gpu, "total": total, "available": available, "in_use": in_use, "queued": queued, "max_per_node": most
    })
}

#[test]
fn t_002_12_availability() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let shown = |a10g: Value, h100: Value| json!({"availability": {"a10g": a10g, "h100": h100}, "timestamp": "<time>"});
    let ask = || Ask::get("/v1/gpu/availability").bearer(&key);
    check(&bench, ask(), 200, &shown(gpus("a10g", 4, 4, 0, 0, 4), gpus("h100", 16, 16, 0, 0, 8)));
    let waiting = bench.submit(&key, &json!({"image": "a", "instance_type": "p5.48xlarge", "gpu_count": 3}));
    check(&bench, ask(), 200, &shown(gpus("a10g", 4, 4, 0, 0, 4), gpus("h100", 16, 16, 0, 3, 8)));
    bench.dispatch(H100);
    check(&bench, ask(), 200, &shown(gpus("a10g", 4, 4, 0, 0, 4), gpus("h100", 16, 13, 3, 0, 8)));
    // What is ending still holds its GPUs: they are free when the fleet says that nothing runs any more.
    bench.launch(&waiting);
    bench.ok(&key, Ask::post(format!("/v1/jobs/{waiting}/cancel")));
    check(&bench, ask(), 200, &shown(gpus("a10g", 4, 4, 0, 0, 4), gpus("h100", 16, 13, 3, 0, 8)));
    bench.end(&waiting);
    check(&bench, ask(), 200, &shown(gpus("a10g", 4, 4, 0, 0, 4), gpus("h100", 16, 16, 0, 0, 8)));
}

#[test]
fn a_cordoned_node_is_there_and_cannot_be_had() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    bench.submit(&key, &json!({"image": "a", "instance_type": "p5.48xlarge", "gpu_count": 1}));
    bench.dispatch(H100);
    let (pool, node) = (domain::PoolId::new(H100), domain::NodeId::new("h100-1"));
    futures::executor::block_on(bench.plane.store.retire_node(&pool, &node)).unwrap();
    let found = bench.ok(&key, Ask::get("/v1/gpu/availability"))["availability"]["h100"].clone();
    assert_eq!(found, gpus("h100", 16, 8, 1, 0, 8));
}

#[test]
fn t_002_13_cluster_status() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    for stage in [Stage::Active, Stage::Booting, Stage::Draining, Stage::Placed, Stage::Cancelled] {
        bench.job_at(stage, &key);
    }
    bench.submit(&key, &small());
    bench.dispatch(A10G);
    bench.submit(&key, &small());
    check(
        &bench,
        Ask::get("/v1/cluster/status").bearer(&key),
        200,
        &json!({
            "total_gpus": 20, "available_gpus": 16, "in_use_gpus": 4, "queued_gpus": 2, "active_reservations": 2,
            "preparing_reservations": 2, "queued_reservations": 2, "pending_reservations": 1,
            "by_gpu_type": {"a10g": gpus("a10g", 4, 0, 4, 2, 4), "h100": gpus("h100", 16, 16, 0, 0, 8)},
            "timestamp": "<time>"
        }),
    );
}
