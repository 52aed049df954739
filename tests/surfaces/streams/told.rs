//! What a launch tells, event by event.

use domain::Timestamp;
use serde_json::json;

use super::{history, launch, path, told, workload};
use crate::support::{
    drive::{Bench, Stage, small},
    wire::Ask,
};

#[test]
fn t_000_16_events() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &small());
    let mut sequence = 0;
    launch(&bench, &id, |agent| {
        sequence += 1;
        if let Some(agent) = agent {
            agent.log(&bench, sequence - 1, &[&format!("line {sequence}")]);
        }
    });
    let now = bench.world.now().to_string();
    let status = |phase: &str, progress: u8, message: &str| {
        ("status", json!({"phase": phase, "progress": progress, "message": message}))
    };
    let log = |phase: &str, progress: u8, message: &str| {
        let data = json!({"timestamp": now, "level": "info", "message": message, "phase": phase, "progress": progress});
        ("log", data)
    };
    let workload = workload(&bench, &id);
    let address = workload.address.clone().unwrap();
    let endpoint = format!("ssh://{}:{}", address.host, address.ssh_port);
    let started = format!("Started {}", workload.instance.clone().unwrap());
    let until = format!("Active until {}", workload.expires_at.unwrap());
    let all = [
        status("queued", 0, "Submitted for 1 GPU(s) of type a10g"),
        status("provisioning", 10, "Placed on node a10g-1"),
        status("provisioning", 20, "Asking for a machine (attempt 1)"),
        status("provisioning", 30, &started),
        status("instance_ready", 35, "Agent 0.1.0 is up"),
        log("instance_ready", 35, "line 2"),
        log("instance_ready", 35, "a note on installing"),
        status("installing", 40, "Making the sandbox"),
        log("installing", 40, "line 3"),
        log("installing", 40, "a note on model_loading"),
        status("model_loading", 65, "Loading the model"),
        log("model_loading", 65, "line 4"),
        log("model_loading", 65, "a note on health_check"),
        status("health_check", 90, "Checking the way in"),
        log("health_check", 90, "line 5"),
        status("active", 100, &until),
        ("done", json!({"status": "active", "endpoint": endpoint, "message": "Job ready"})),
    ];
    let check = |query: &str, skipped: usize| {
        let found = told(&bench, &key, &id, query);
        let found = found.iter().map(|(name, _, data)| {
            // Instants differ by what the steps took.
            let mut data = data.clone();
            if let Some(at) = data.get_mut("timestamp") {
                *at = json!(now);
            }
            (name.as_str(), data)
        });
        assert_eq!(found.collect::<Vec<_>>(), all[skipped..], "{query}");
    };
    for query in ["", "?follow=false", "?follow=true", "?tail=16", "?tail=1000&since=2020-01-01T00:00:00Z"] {
        check(query, 0);
    }
    check("?tail=3", 13);
    check("?tail=12&follow=true", 4);
    check("?since=2030-01-01T00:00:00%2B00:00", 16);
    let ids = told(&bench, &key, &id, "").into_iter().map(|(_, id, _)| id).collect::<Vec<_>>();
    for (number, event) in ids.iter().enumerate().take(16) {
        check(&format!("?since={event}"), number + 1);
        let answer = bench.send(Ask::get(path(&id, "?follow=true")).bearer(&key).with("last-event-id", event));
        assert_eq!(answer.text().matches("event: ").count(), 16 - number, "after {event}");
    }
    assert_eq!(ids[16], ids[15], "`done` tells nothing that would have to be told again");
}

/// What a stream tells is what the history says, and the history can be paged without a gap.
#[test]
fn t_000_17_history() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &small());
    let mut sequence = 0;
    let agent = launch(&bench, &id, |agent| {
        bench.pass(10);
        if let Some(agent) = agent {
            sequence += 1;
            agent.log(&bench, sequence, &["one", "two", "three"]);
        }
    });
    let whole = history(&bench, &id, &json!({"tail": 1000}));
    let whole = serde_json::to_value(&whole.logs).unwrap().as_array().unwrap().clone();
    assert_eq!(whole.len(), 9 + 3 + 12);
    let events = told(&bench, &key, &id, "?tail=1000");
    for (event, logged) in events.iter().zip(&whole) {
        for (name, value) in event.2.as_object().unwrap() {
            assert_eq!(value, &logged[name], "{event:?}");
        }
    }
    for tail in [1, 2, 5, 23, 24] {
        let newest = history(&bench, &id, &json!({"tail": tail}));
        assert_eq!(serde_json::to_value(&newest.logs).unwrap(), json!(whole[whole.len() - tail..]), "{tail}");
        assert_eq!(newest.last_event_id, events[23].1);
        let (mut since, mut paged) = ("0u".to_owned(), Vec::new());
        while paged.len() < whole.len() {
            let page = history(&bench, &id, &json!({"tail": tail, "since": since}));
            assert!((1..=tail).contains(&page.logs.len()), "pages of {tail}: {}", page.logs.len());
            paged.extend(page.logs.iter().map(|logged| serde_json::to_value(logged).unwrap()));
            since = page.last_event_id;
        }
        assert_eq!(paged, whole, "pages of {tail}");
    }
    let middle = whole[12]["timestamp"].as_str().unwrap();
    let later = history(&bench, &id, &json!({"since": middle}));
    let expected = whole
        .iter()
        .filter(|logged| Timestamp::parse(logged["timestamp"].as_str().unwrap()) >= Timestamp::parse(middle));
    assert_eq!(serde_json::to_value(&later.logs).unwrap(), json!(expected.collect::<Vec<_>>()));
    // Large lines: an answer of theirs stays smaller than a function's may be.
    for sequence in 5..=150 {
        agent.log(&bench, sequence, &["x".repeat(8_000).as_str(); 8]);
    }
    for query in [json!({"tail": 1000}), json!({"tail": 1000, "since": events[23].1})] {
        let logs = history(&bench, &id, &query).logs;
        assert_eq!(logs.len(), 4 * 1024 * 1024 / 8_000, "{query}");
    }
}

#[test]
fn launches_that_fail_and_what_has_ended() {
    let check = |stage: Stage, phases: &[&str], (status, message): (&str, &str)| {
        let bench = Bench::new();
        let id = bench.job_at(stage, &bench.login("jschmidt"));
        bench.end(&id);
        let key = bench.login("jschmidt");
        let told = told(&bench, &key, &id, "?follow=true");
        let (done, before) = told.split_last().unwrap();
        assert_eq!(done.2, json!({"status": status, "endpoint": null, "message": message}), "{stage:?}");
        let of = |name: &str| before.iter().filter(|told| told.0 == name).collect::<Vec<_>>();
        let found = of("status").iter().map(|(_, _, data)| data["phase"].as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(found, phases, "{stage:?}");
        for (_, _, data) in before.iter().filter(|told| told.2["phase"] == "failed") {
            assert_eq!(data.get("progress"), None, "a launch that failed has no progress");
        }
    };
    check(Stage::Cancelled, &["queued", "failed"], ("failed", "Job was cancelled"));
    check(Stage::Failed, &["queued", "provisioning", "failed"], ("failed", "the launch failed: no such image"));
    let whole = ["queued", "provisioning", "provisioning", "provisioning", "instance_ready", "health_check", "active"];
    check(Stage::Draining, &whole, ("terminated", "Job was cancelled"));
    check(Stage::Expired, &whole, ("terminated", "Job came to the end of its time"));
}

#[test]
fn bad_queries() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &small());
    for (query, name) in [
        ("tail=0", "tail"),
        ("tail=1001", "tail"),
        ("tail=-1", "tail"),
        ("follow=yes", "follow"),
        ("since=yesterday", "since"),
        ("since=7p101", "since"),
        ("after=3", "after"),
    ] {
        let answer = bench.send(Ask::get(path(&id, &format!("?{query}"))).bearer(&key));
        assert_eq!((answer.status, &answer.json()["detail"][0]["loc"]), (400, &json!(["query", name])), "{query}");
    }
    for id_of_none in ["x", "7", "1-2-3", "\u{e9}"] {
        let answer = bench.send(Ask::get(path(&id, "")).bearer(&key).with("last-event-id", id_of_none));
        assert_eq!(answer.json(), json!({"detail": "Last-Event-ID is none of this stream's"}), "{id_of_none}");
    }
    assert_eq!(bench.send(Ask::get(path(&id, "")).bearer(&key).with("last-event-id", "")).status, 200);
}

/// What is left is said from the third launch on that was completed in the pool.
#[test]
fn estimates() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let left = |id: &str| {
        let told = told(&bench, &key, id, "");
        told.iter().filter_map(|(_, _, data)| data["estimated_seconds_left"].as_u64()).collect::<Vec<_>>()
    };
    for _ in 0..3 {
        let id = bench.submit(&key, &small());
        let mut said = Vec::new();
        launch(&bench, &id, |_| {
            bench.pass(20);
            said.extend(left(&id));
        });
        assert!(said.is_empty(), "two launches say nothing: {said:?}");
        bench.ok(&key, Ask::post(format!("/v1/jobs/{id}/cancel")));
        bench.end(&id);
    }
    let id = bench.submit(&key, &small());
    assert!(left(&id).is_empty(), "how long it waits for GPUs is another question");
    let mut said = Vec::new();
    launch(&bench, &id, |_| {
        said.extend(left(&id));
        bench.pass(20);
    });
    let steps = said.windows(2).map(|pair| pair[0] - pair[1]).collect::<Vec<_>>();
    assert_eq!((said.len(), said[4]), (5, 20), "{said:?}");
    assert!(steps.iter().all(|step| (20..=25).contains(step)), "each step takes 20 seconds: {said:?}");
}
