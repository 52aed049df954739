//! What the clock does to jobs, as their owners see it (T8).

use crate::support::{
    drive::{A10G, Bench, Stage, small},
    wire::Ask,
};

#[test]
fn t_t08_the_sweep_goes_through_everything_that_is_due() {
    const EACH: usize = 525;
    let bench = Bench::new();
    for name in ["one", "two"] {
        let key = bench.login(name);
        for _ in 0..EACH {
            bench.submit(&key, &small());
        }
    }
    bench.pass(48 * 3600);
    let swept = bench.sweep();
    assert_eq!((swept.moved, swept.failed), (1050, 0), "nobody waits longer than two days, however many they are");
    let found = bench.ok(&bench.login("two"), Ask::get("/v1/jobs?status=cancelled&limit=1"));
    assert_eq!(found["total"], EACH);
    assert_eq!(found["jobs"][0]["failure_reason"], "it waited for GPUs for 48 hours");
}

#[test]
fn t_t08_clean_up_never_delays_expiry() {
    let bench = Bench::new();
    let id = bench.job_at(Stage::Active, &bench.login("jschmidt"));
    // What ends nothing must not keep what is due from ending: the fleet cannot be asked at all.
    bench.world.set_outage("fleet", true);
    bench.pass(3600);
    assert!(futures::executor::block_on(sweeper::end_orphans(&bench.plane)).is_err(), "the fleet's list cannot be had");
    bench.sweep();
    let key = bench.login("jschmidt");
    let events = bench.ok(&key, Ask::get(format!("/v1/jobs/{id}/events"))).to_string();
    assert!(events.contains("\"kind\":\"expired\""), "{events}");
}

#[test]
fn the_ledger_follows_the_budget() {
    let bench = Bench::new();
    let nodes = || {
        let pool = futures::executor::block_on(bench.plane.store.pool(&domain::PoolId::new(A10G))).expect("a pool");
        pool.nodes.iter().map(|node| format!("{}{}", node.id, if node.cordoned { "!" } else { "" })).collect::<Vec<_>>()
    };
    bench.keep_nodes(2);
    assert_eq!(nodes(), ["local-a10g-1", "local-a10g-2"]);
    let id = bench.job_at(Stage::Active, &bench.login("jschmidt"));
    bench.keep_nodes(0);
    assert_eq!(nodes(), ["local-a10g-1!"], "what is held stays until it is idle");
    bench.send(Ask::post(format!("/v1/jobs/{id}/cancel")).bearer(&bench.login("jschmidt")));
    bench.end(&id);
    bench.keep_nodes(0);
    assert_eq!(nodes(), Vec::<String>::new());
    bench.keep_nodes(1);
    assert_eq!(nodes(), ["local-a10g-1"]);
}
