//! `POST /v1/keys/rotate` (002#20), and what keys open (K3, K20).

use cloud::sim::Executor;
use serde_json::json;

use super::check;
use crate::support::{
    drive::{Bench, answer},
    wire::Ask,
};

fn rotate(key: &str) -> Ask {
    Ask::post("/v1/keys/rotate").bearer(key)
}

#[test]
fn t_002_20_rotate() {
    let bench = Bench::new();
    let old = bench.login("jschmidt");
    bench.pass(3600);
    let rotated = check(
        &bench,
        rotate(&old),
        200,
        &json!({
            "api_key": "<text>", "key_prefix": "<text>", "user_id": 1, "username": "jschmidt", "expires_at": "2026-01-20T21:00:00Z"
        }),
    );
    let new = rotated.json()["api_key"].as_str().unwrap().to_owned();
    assert_ne!(old, new);
    let dead = json!({"detail": "Invalid API key"});
    check(&bench, Ask::get("/v1/jobs").bearer(&old), 401, &dead);
    check(&bench, rotate(&old), 401, &dead);
    bench.ok(&new, Ask::get("/v1/jobs"));
}

#[test]
fn t_002_20_a_repetition_of_a_secret_is_409() {
    let bench = Bench::new();
    let old = bench.login("jschmidt");
    let new = bench.ok(&old, Ask::post("/v1/keys/rotate").once("again"))["api_key"].as_str().unwrap().to_owned();
    // Whoever lost the answer has lost the old key as well, so only the new one can repeat: and it is told that it did.
    let told = json!({"detail": format!("This Idempotency-Key was used for the key {}...", &new[..8])});
    check(&bench, rotate(&new).once("again"), 409, &told);
    check(&bench, rotate(&old).once("again"), 401, &json!({"detail": "Invalid API key"}));
}

#[test]
fn of_two_rotations_at_once_one_wins() {
    for seed in 0..20 {
        let world = cloud::sim::World::new(seed);
        let bench = Bench::of(&world);
        let old = bench.login("jschmidt");
        let mut executor = Executor::new(&world);
        let tasks = [1, 2].map(|n| executor.spawn(format!("rotation {n}"), answer(bench.router.clone(), rotate(&old))));
        executor.run_until_stalled().unwrap();
        let mut statuses = tasks.map(|task| executor.take::<crate::support::wire::Answer>(task).unwrap().status);
        statuses.sort_unstable();
        assert!([[200, 401], [200, 409]].contains(&statuses), "seed {seed}: {statuses:?}");
    }
}

#[test]
fn t_k20_expired_key_is_401() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let get = || Ask::get("/v1/jobs").bearer(&key);
    let end = bench.world.now().plus(std::time::Duration::from_secs(7200));
    bench.world.move_to(end.minus(std::time::Duration::from_millis(1)));
    assert_eq!(bench.send(get()).status, 200, "a millisecond before its end it is good");
    for after in [0, 1, 3_600_000] {
        bench.world.move_to(end.plus(std::time::Duration::from_millis(after)));
        let answer = check(&bench, get(), 401, &json!({"detail": "API key has expired"}));
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    }
    check(&bench, rotate(&key), 401, &json!({"detail": "API key has expired"}));
}

#[test]
fn t_k03_what_is_offered_in_place_of_a_key() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let jobs = || Ask::get("/v1/jobs");
    let answer = check(&bench, jobs(), 401, &json!({"detail": "Missing API key: send Authorization: Bearer KEY"}));
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    let changed = format!("{}0", &key[..key.len() - 1]);
    for offered in ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", &key, &format!("Bearer {changed}"), "Bearer a.b.c"] {
        check(&bench, jobs().with("authorization", offered), 401, &json!({"detail": "Invalid API key"}));
    }
    for scheme in ["bearer", "BEARER"] {
        assert_eq!(bench.send(jobs().with("authorization", &format!("{scheme} {key}"))).status, 200, "{scheme}");
    }
}

#[test]
fn what_is_no_key_costs_no_look_up() {
    let bench = Bench::new();
    bench.embedded.meter().start();
    for offered in ["garbage", "swk_garbage", "swk_0000000000000000000000000000000000000000000000000"] {
        assert_eq!(bench.send(Ask::get("/v1/jobs").bearer(offered)).status, 401);
    }
    assert_eq!(bench.embedded.meter().take(), []);
}
