//! A job's timeline and its log, as JSON and as a stream (000#16's form, K19, T9).

use std::{cell::RefCell, rc::Rc, time::Duration};

use cloud::sim::{Executor, World};
use domain::Timestamp;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::check;
use crate::support::{
    drive::{A10G, Agent, Bench, Stage, small},
    wire::Ask,
};

#[test]
fn t_t09_events() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.job_at(Stage::Active, &key);
    let event = |id: u64, kind: &str, progress: u8, message: &str, by: &str| json!({"id": id, "at": "<time>", "kind": kind, "phase": kind, "progress": progress, "message": message, "by": by});
    let mut first = event(1, "submitted", 0, "Submitted for 1 GPU(s) of type a10g", "jschmidt");
    first["phase"] = json!("queued");
    let mut provisioned = event(4, "provisioned", 20, "Started <text>", "slipway");
    provisioned["phase"] = json!("provisioning");
    let all = [
        first,
        event(2, "placed", 10, "Placed on node a10g-1", "slipway"),
        event(3, "provisioning", 20, "Asking for a machine (attempt 1)", "slipway"),
        provisioned,
        event(5, "instance_ready", 35, "Agent 0.1.0 is up", "agent"),
        event(6, "health_check", 90, "Checking the way in", "agent"),
        event(7, "active", 100, "Active until 2026-01-20T19:00:00Z", "slipway"),
    ];
    for after in [0, 3, 7, 99] {
        let left = all.iter().skip(after).cloned().collect::<Vec<_>>();
        let ask = Ask::get(format!("/v1/jobs/{id}/events?after={after}")).bearer(&key);
        check(&bench, ask, 200, &json!({"job_id": id, "events": left}));
    }
}

/// A job whose command has written three lines, in two batches.
fn talking(bench: &Bench) -> (String, String, Agent) {
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &small());
    bench.dispatch(A10G);
    let agent = bench.launch(&id);
    agent.log(bench, 1, &["one", "two"]);
    agent.log(bench, 2, &["three"]);
    (key, id, agent)
}

#[test]
fn logs() {
    let bench = Bench::new();
    let (key, id, agent) = talking(&bench);
    agent.log(&bench, 2, &["a repetition is not written again"]);
    let line = |text: &str| json!({"at": "<time>", "stream": "stdout", "text": text});
    for (query, lines) in [
        ("", &["one", "two", "three"][..]),
        ("?tail=2", &["two", "three"]),
        ("?tail=1&follow=false", &["three"]),
        ("?tail=0", &[]),
        ("?tail=5000", &["one", "two", "three"]),
    ] {
        let lines = lines.iter().map(|text| line(text)).collect::<Vec<_>>();
        let ask = Ask::get(format!("/v1/jobs/{id}/logs{query}")).bearer(&key);
        check(&bench, ask, 200, &json!({"job_id": id, "lines": lines}));
    }
    for (query, name) in [("tail=5001", "tail"), ("tail=-1", "tail"), ("follow=yes", "follow"), ("since=1h", "since")] {
        let answer = bench.send(Ask::get(format!("/v1/jobs/{id}/logs?{query}")).bearer(&key));
        assert_eq!((answer.status, &answer.json()["detail"][0]["loc"]), (400, &json!(["query", name])), "{query}");
    }
}

/// What somebody who follows has been sent, and when.
#[derive(Clone, Default)]
struct Heard(Rc<RefCell<Vec<(Timestamp, String)>>>);

impl Heard {
    fn take(&self) -> Vec<(Timestamp, String)> {
        std::mem::take(&mut self.0.borrow_mut())
    }

    fn texts(&self) -> Vec<String> {
        self.take().into_iter().map(|(_, text)| text).collect()
    }
}

/// Somebody begins to follow.
fn follow(executor: &mut Executor, bench: &Bench, ask: Ask) -> (cloud::sim::TaskId, Heard) {
    let (world, router, heard) = (bench.world.clone(), bench.router.clone(), Heard::default());
    let kept = heard.clone();
    let task = executor.spawn("reader", async move {
        let response = router.oneshot(ask.request()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let text = String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap();
            kept.0.borrow_mut().push((world.now(), text));
        }
    });
    (task, heard)
}

fn log_event(id: &str, at: &str, text: &str) -> String {
    let data = json!({"at": at, "stream": "stdout", "text": text});
    format!("event: log\nid: {id}\ndata: {data}\n\n")
}

#[test]
fn t_k19_a_stream() {
    let world = World::new(3);
    let bench = Bench::of(&world);
    let (key, id, agent) = talking(&bench);
    let begun = world.now();
    let at = begun.to_string();
    let mut executor = Executor::new(&world);
    let path = format!("/v1/jobs/{id}/logs?follow=true");
    let (reader, heard) = follow(&mut executor, &bench, Ask::get(format!("{path}&tail=2")).bearer(&key));
    let later = |seconds: u64| begun.plus(Duration::from_secs(seconds));
    executor.advance(later(1)).unwrap();
    assert_eq!(heard.texts(), [log_event("1-1-1", &at, "two"), log_event("1-2-0", &at, "three")]);
    executor.advance(later(46)).unwrap();
    let pings = [15, 30, 45].map(|seconds| (later(seconds), ": ping\n\n".to_owned()));
    assert_eq!(heard.take(), pings, "a quiet stream says every 15 s that it is alive");
    agent.log(&bench, 3, &["four", "five"]);
    let said = world.now().to_string();
    executor.advance(later(47)).unwrap();
    assert_eq!(heard.texts(), [log_event("1-3-0", &said, "four"), log_event("1-3-1", &said, "five")]);
    // After a break: from the middle of a batch on, nothing twice and nothing lost.
    let (_, resumed) = follow(&mut executor, &bench, Ask::get(&path).bearer(&key).with("last-event-id", "1-3-0"));
    executor.advance(later(48)).unwrap();
    assert_eq!(resumed.texts(), [log_event("1-3-1", &said, "five")]);
    bench.ok(&key, Ask::post(format!("/v1/jobs/{id}/cancel")));
    agent.log(&bench, 4, &["last words"]);
    bench.ok(&agent.session, Ask::post("/agent/v1/bye").json(&json!({"reason": "stopped"})));
    let said = world.now().to_string();
    bench.reconcile(&id);
    // An instance takes up to thirty seconds to stop.
    executor.advance(later(79)).unwrap();
    bench.reconcile(&id);
    executor.advance(later(80)).unwrap();
    for heard in [heard.texts(), resumed.texts()] {
        let spoken = heard.into_iter().filter(|text| !text.contains("ping")).collect::<Vec<_>>();
        assert_eq!(
            spoken,
            [log_event("1-4-0", &said, "last words"), "event: done\ndata: {\"status\":\"cancelled\"}\n\n".to_owned()]
        );
    }
    assert_eq!(executor.outcome(reader), Some(cloud::sim::Outcome::Finished), "after `done` there is no more");
}

#[test]
fn t_k19_a_stream_ends_before_it_would_be_cut() {
    let world = World::new(4);
    let bench = Bench::of(&world);
    let (key, id, _agent) = talking(&bench);
    let begun = world.now();
    let mut executor = Executor::new(&world);
    let ask = Ask::get(format!("/v1/jobs/{id}/logs?follow=true&tail=0")).bearer(&key);
    let (reader, heard) = follow(&mut executor, &bench, ask);
    executor.advance(begun.plus(Duration::from_secs(109))).unwrap();
    assert_eq!(executor.outcome(reader), Some(cloud::sim::Outcome::Unfinished));
    executor.advance(begun.plus(Duration::from_secs(111))).unwrap();
    assert_eq!(executor.outcome(reader), Some(cloud::sim::Outcome::Finished));
    assert_eq!(heard.texts(), vec![": ping\n\n"; 7]);
}

#[test]
fn a_stream_of_what_is_over_says_so_at_once() {
    let world = World::new(5);
    let bench = Bench::of(&world);
    let key = bench.login("jschmidt");
    let id = bench.job_at(Stage::Cancelled, &key);
    let mut executor = Executor::new(&world);
    let (_, heard) = follow(&mut executor, &bench, Ask::get(format!("/v1/jobs/{id}/logs?follow=true")).bearer(&key));
    executor.run_until_stalled().unwrap();
    assert_eq!(heard.texts(), ["event: done\ndata: {\"status\":\"cancelled\"}\n\n"]);
}

#[test]
fn long_timelines_are_paged() {
    let bench = Bench::new();
    let (key, id, agent) = talking(&bench);
    for round in 0..26_u64 {
        let notes = (1..=20).map(|n| json!({"number": round * 20 + n, "text": "x"})).collect::<Vec<_>>();
        let mut said = crate::support::drive::report("ready");
        said["notes"] = Value::from(notes);
        agent.sync(&bench, &said);
    }
    let page = |after: u64| bench.ok(&key, Ask::get(format!("/v1/jobs/{id}/events?after={after}")))["events"].clone();
    let first = page(0);
    assert_eq!(first.as_array().unwrap().len(), 500);
    let rest = page(first[499]["id"].as_u64().unwrap());
    assert_eq!(rest.as_array().unwrap().len(), 7 + 520 - 500);
    assert_eq!(rest[0]["id"], 501);
}
