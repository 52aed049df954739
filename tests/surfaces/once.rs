//! The same request twice: design.md, section 2, "Idempotency".

use cloud::sim::{Executor, World};
use serde_json::{Value, json};

use super::check;
use crate::support::{
    drive::{Bench, Stage, answer, small},
    wire::{Answer, Ask},
};

/// The same answer again, byte for byte, and nothing done.
#[track_caller]
fn check_repeated(bench: &Bench, ask: &Ask) {
    let first = bench.send(ask.clone());
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, ""), "{}", first.text());
    bench.pass(60);
    bench.embedded.meter().start();
    let before = bench.world.calls();
    let again = bench.send(ask.clone());
    assert_eq!((again.status, &again.body), (200, &first.body), "{} {}", ask.method, ask.path);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("content-type"), "application/json");
    assert_eq!(bench.effects(before), Vec::<String>::new(), "{} {}", ask.method, ask.path);
}

#[test]
fn every_post_can_be_repeated() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.job_at(Stage::Active, &key);
    let at = |path: &str| Ask::post(format!("/v1/jobs/{id}/{path}"));
    for ask in [
        Ask::post("/v1/jobs/submit").json(&small()),
        at("extend").json(&json!({"extension_hours": 2})),
        at("users").json(&json!({"github_username": "jeanschmidt"})),
        at("jupyter/enable"),
        at("jupyter/disable").json(&json!({})),
        Ask::delete(format!("/v1/jobs/{id}/users/jeanschmidt")),
        // By then the state refuses what was done before, and still the answer is the first one.
        at("cancel"),
    ] {
        check_repeated(&bench, &ask.bearer(&key).once("a key of mine"));
    }
    assert_eq!(bench.ok(&key, Ask::get("/v1/jobs"))["total"], 2);
    assert_eq!(bench.job(&key, &id)["duration_hours"], json!(3.0));
}

#[test]
fn another_request_under_the_same_key_is_409() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let (one, two) = (bench.job_at(Stage::Active, &key), bench.job_at(Stage::Active, &key));
    let used = json!({"detail": "This Idempotency-Key was used for another request"});
    let submit = |body: &Value| Ask::post("/v1/jobs/submit").bearer(&key).once("k").json(body);
    bench.ok(&key, submit(&small()));
    let mut other = small();
    other["duration_hours"] = json!(2);
    check(&bench, submit(&other), 409, &used);
    check(&bench, Ask::post("/v1/jobs/submit").bearer(&key).once("k").json(&json!({"nonsense": 1})), 409, &used);
    // The same body about another job is another request; another operation is another key.
    let extend = |id: &str| {
        Ask::post(format!("/v1/jobs/{id}/extend")).bearer(&key).once("k").json(&json!({"extension_hours": 1}))
    };
    bench.ok(&key, extend(&one));
    check(&bench, extend(&two), 409, &used);
    assert_eq!(bench.ok(&key, Ask::get("/v1/jobs"))["total"], 3);
    assert_eq!(bench.job(&key, &two)["duration_hours"], json!(1.0));
}

#[test]
fn keys_are_each_callers_own_and_for_a_day() {
    let bench = Bench::new();
    let submit = |key: &str| bench.ok(key, Ask::post("/v1/jobs/submit").once("k").json(&small()))["job_id"].clone();
    let (mine, theirs) = (bench.login("jschmidt"), bench.login("another"));
    let first = submit(&mine);
    assert_ne!(submit(&theirs), first, "another person");
    assert_ne!(submit(&bench.key_in("another", "jschmidt")), first, "the same name in another tenant");
    assert_eq!(submit(&bench.login("jschmidt")), first, "another key of the same person");
    bench.pass(24 * 3600 - 1);
    assert_eq!(submit(&bench.login("jschmidt")), first);
    bench.pass(1);
    assert_ne!(submit(&bench.login("jschmidt")), first);
}

#[test]
fn a_refusal_uses_no_key_up() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let submit = |body: &Value| bench.send(Ask::post("/v1/jobs/submit").bearer(&key).once("k").json(body));
    assert_eq!(submit(&json!({"image": "a"})).status, 400);
    assert_eq!(submit(&json!({"image": "a", "instance_type": "none"})).status, 400);
    assert_eq!(submit(&small()).status, 200);
}

#[test]
fn what_is_no_key_is_400() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let words = json!({"detail": "An Idempotency-Key has 1 to 255 printable characters"});
    for no_key in ["", "ü", &"k".repeat(256)] {
        check(&bench, Ask::post("/v1/jobs/submit").bearer(&key).once(no_key).json(&small()), 400, &words);
    }
    assert_eq!(bench.send(Ask::post("/v1/jobs/submit").bearer(&key).once(&"k".repeat(255)).json(&small())).status, 200);
}

/// Several at once, in an order that the seed chooses: the answers.
fn at_once(seed: u64, bodies: &[Value]) -> (Vec<Answer>, Value) {
    let world = World::new(seed);
    let bench = Bench::of(&world);
    let key = bench.login("jschmidt");
    let mut executor = Executor::new(&world);
    let ask = |body: &Value| Ask::post("/v1/jobs/submit").bearer(&key).once("k").json(body);
    let spawn = |body| executor.spawn("submit", answer(bench.router.clone(), ask(body)));
    let tasks = bodies.iter().map(spawn).collect::<Vec<_>>();
    executor.run_until_stalled().unwrap();
    let answers = tasks.into_iter().map(|task| executor.take::<Answer>(task).unwrap().sound("at once")).collect();
    (answers, bench.ok(&key, Ask::get("/v1/jobs"))["total"].clone())
}

#[test]
fn of_many_at_once_one_is_done() {
    let mut other = small();
    other["priority"] = json!(1);
    for seed in 0..20 {
        let (answers, total) = at_once(seed, &[small(), small(), small(), small(), small()]);
        assert_eq!(total, 1, "seed {seed}");
        assert!(answers.iter().all(|one| one.status == 200 && one.body == answers[0].body), "seed {seed}: {answers:?}");
        let (answers, total) = at_once(seed, &[small(), other.clone()]);
        assert_eq!(total, 1, "seed {seed}");
        let mut statuses = answers.iter().map(|one| one.status).collect::<Vec<_>>();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "seed {seed}: {answers:?}");
    }
}
