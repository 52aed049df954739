//! A launch as history and as a live stream (000#16 to 000#18, K19, T9), under virtual time.

mod told;

use std::{cell::RefCell, rc::Rc, time::Duration};

use cloud::sim::{Executor, Outcome, TaskId, World};
use domain::{TenantId, Timestamp, Workload};
use futures::executor::block_on;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use web::launch_log::{History, HistoryQuery};

use crate::support::{
    ADMIN,
    drive::{A10G, Agent, Bench, Stage, TENANT, report, small},
    wire::Ask,
};

/// Something that was heard of a stream: an event's name, id and data; or a line that is no event.
#[derive(Clone, Debug, PartialEq)]
struct Heard {
    at: Timestamp,
    name: String,
    id: String,
    data: Value,
}

impl Heard {
    fn of(at: Timestamp, text: &str) -> Self {
        let lines = text.strip_suffix("\n\n").expect("an empty line ends an event").lines().collect::<Vec<_>>();
        let [name, id, data] = &lines[..] else {
            return Self { at, name: text.trim_end().to_owned(), id: String::new(), data: Value::Null };
        };
        let after = |line: &str, field: &str| line.strip_prefix(field).expect(text).to_owned();
        let data = serde_json::from_str(&after(data, "data: ")).expect("JSON");
        Self { at, name: after(name, "event: "), id: after(id, "id: "), data }
    }

    /// What it says, whenever it was said.
    fn says(&self) -> (String, String, Value) {
        (self.name.clone(), self.id.clone(), self.data.clone())
    }

    fn is_event(&self) -> bool {
        !self.id.is_empty()
    }
}

/// A reader, who leaves after `most` events.
struct Reader {
    task: TaskId,
    heard: Rc<RefCell<Vec<Heard>>>,
}

impl Reader {
    fn new(executor: &mut Executor, bench: &Bench, ask: Ask, most: usize) -> Self {
        let (world, router, heard) = (bench.world.clone(), bench.router.clone(), Rc::new(RefCell::default()));
        let kept: Rc<RefCell<Vec<Heard>>> = Rc::clone(&heard);
        let task = executor.spawn("reader", async move {
            let response = router.oneshot(ask.request()).await.unwrap();
            assert_eq!(response.status(), 200);
            for (name, value) in
                [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
            {
                assert_eq!(response.headers()[name], value);
            }
            let mut body = response.into_body();
            while kept.borrow().iter().filter(|heard| heard.is_event()).count() < most
                && let Some(frame) = body.frame().await
            {
                let text = String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap();
                kept.borrow_mut().push(Heard::of(world.now(), &text));
            }
        });
        Self { task, heard }
    }

    fn take(&self) -> Vec<Heard> {
        self.heard.take()
    }

    fn events(&self) -> Vec<(String, String, Value)> {
        self.take().iter().filter(|heard| heard.is_event()).map(Heard::says).collect()
    }
}

fn path(id: &str, query: &str) -> String {
    format!("/v1/jobs/{id}/logs/stream{query}")
}

/// What a stream that does not stay tells.
fn told(bench: &Bench, key: &str, id: &str, query: &str) -> Vec<(String, String, Value)> {
    let answer = bench.send(Ask::get(path(id, query)).bearer(key));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let frames = answer.text().split_inclusive("\n\n").map(str::to_owned).collect::<Vec<_>>();
    let heard = frames.iter().map(|frame| Heard::of(bench.world.now(), frame)).collect::<Vec<_>>();
    assert_eq!(heard[0].name, "retry: 1000");
    heard.iter().skip(1).map(Heard::says).collect()
}

fn history(bench: &Bench, id: &str, query: &Value) -> History {
    let query: HistoryQuery = serde_json::from_value(query.clone()).unwrap();
    block_on(web::launch_log::history(&bench.plane, &workload(bench, id), &query)).unwrap()
}

fn workload(bench: &Bench, id: &str) -> Workload {
    block_on(bench.plane.store.workload(&TenantId::new(TENANT), id.parse().unwrap())).unwrap().unwrap()
}

/// The steps of a launch, each of which changes something; between them the agent's log is written.
fn launch(bench: &Bench, id: &str, mut between: impl FnMut(Option<&Agent>)) -> Agent {
    bench.dispatch(A10G);
    between(None);
    let agent = bench.enroll(&bench.provision(id));
    between(Some(&agent));
    bench.step("AwaitReady", id, &json!({"token": format!("ready of {id}")})).expect("a token kept");
    for (phase, number) in ["installing", "model_loading", "health_check"].into_iter().zip(1..) {
        let mut said = report(phase);
        said["notes"] = json!([{"number": number, "text": format!("a note on {phase}")}]);
        agent.sync(bench, &said);
        between(Some(&agent));
    }
    agent.sync(bench, &report("ready"));
    bench.step("Activate", id, &json!({})).expect("active");
    agent
}

#[test]
fn t_k19_a_stream_cut_ten_times_is_the_history() {
    cut_ten_times(|bench, key| {
        let id = bench.submit(key, &small());
        (id.clone(), format!("/v1/jobs/{id}/logs/stream"), "Job ready")
    });
}

#[test]
fn t_000_16_24_an_instances_stream_cut_ten_times_is_the_history() {
    cut_ten_times(|bench, key| {
        let model = bench.send(Ask::post("/admin/models").json(&super::nodes::llama()).with("x-admin-token", ADMIN));
        assert_eq!(model.status, 201, "{}", model.text());
        let made = bench.send(Ask::post("/v1/instances").json(&super::nodes::wanted()).bearer(key)).json();
        let id = made["id"].as_str().unwrap();
        let path = format!("/v1/instances/{id}/logs/stream");
        (id.strip_prefix("node-").unwrap().to_owned(), path, "Instance ready")
    });
}

/// What is made, launched and read as `made` says, is read at once by one reader, and by another that is cut off again and again.
fn cut_ten_times(made: impl Fn(&Bench, &str) -> (String, String, &'static str)) {
    let world = World::new(11);
    let mut bench = Bench::of(&world);
    // The places of readers that are cut off are free when their leases end.
    let mut settings = (*bench.plane.settings).clone();
    settings.policy.streams_per_tenant = 100;
    bench.plane.settings = settings.into();
    bench.router = crate::support::router(&bench.plane);
    let bench = bench;
    let key = bench.login("jschmidt");
    let (id, path, ready) = made(&bench, &key);
    let mut executor = Executor::new(&world);
    let begun = world.now();
    let ask = || Ask::get(format!("{path}?follow=true")).bearer(&key);
    let whole = Reader::new(&mut executor, &bench, ask(), usize::MAX);
    let mut cut = Reader::new(&mut executor, &bench, ask(), 2);
    let (mut pieces, mut cuts, mut last, mut over) = (Vec::new(), 0, String::new(), false);
    let mut go_on = |executor: &mut Executor, until: Timestamp, most: usize| {
        executor.advance(until).unwrap();
        // Cut in the middle of what there is, and away for a while before it comes back.
        while !over && executor.outcome(cut.task) == Some(Outcome::Finished) {
            let events = cut.events();
            over = events.iter().any(|(name, ..)| name == "done");
            last = events.last().map_or(std::mem::take(&mut last), |(_, id, _)| id.clone());
            pieces.extend(events);
            if over {
                break;
            }
            cuts += 1;
            cut = Reader::new(executor, &bench, ask().with("last-event-id", &last), most);
            executor.run_until_stalled().unwrap();
        }
        (pieces.clone(), cuts)
    };
    let (mut sequence, mut step) = (0, 0);
    launch(&bench, &id, |agent| {
        if let Some(agent) = agent {
            for lines in [&["a", "b", "c"][..], &["d"]] {
                sequence += 1;
                agent.log(&bench, sequence, lines);
            }
        }
        step += 1;
        go_on(&mut executor, world.now().plus(Duration::from_secs(4)), 1 + step % 3);
    });
    for _ in 0..3 {
        go_on(&mut executor, world.now().plus(Duration::from_secs(60)), 3);
    }
    let (pieces, cuts) = go_on(&mut executor, world.now(), 3);
    assert!(cuts >= 10, "{cuts} cuts since {begun}");
    let known = |(name, id, mut data): (String, String, Value)| {
        data.as_object_mut().unwrap().remove("estimated_seconds_left");
        (name, id, data)
    };
    let whole = whole.events().into_iter().map(known).collect::<Vec<_>>();
    assert_eq!(pieces.into_iter().map(known).collect::<Vec<_>>(), whole);
    let messages = whole.iter().map(|(_, _, data)| data["message"].clone()).collect::<Vec<_>>();
    let history = serde_json::to_value(history(&bench, &id, &json!({"tail": 1000})).logs).unwrap();
    if let Some(path) = path.strip_suffix("/stream").filter(|path| !path.contains("/jobs/")) {
        let answer = bench.send(Ask::get(format!("{path}?tail=1000")).bearer(&key));
        assert_eq!(answer.json()["logs"], history, "as JSON");
    }
    let said = history.as_array().unwrap().iter().map(|logged| logged["message"].clone()).collect::<Vec<_>>();
    assert_eq!(messages, [said, vec![json!(ready)]].concat());
    let percents = whole.iter().filter_map(|(_, _, data)| data["progress"].as_u64()).collect::<Vec<_>>();
    assert!(percents.is_sorted(), "{percents:?}");
}

#[test]
fn t_k19_a_quiet_stream_lives_and_ends_by_itself() {
    let world = World::new(12);
    let bench = Bench::of(&world);
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &small());
    let begun = world.now();
    let later = |seconds: u64| begun.plus(Duration::from_secs(seconds));
    let mut executor = Executor::new(&world);
    let reader = Reader::new(&mut executor, &bench, Ask::get(path(&id, "?follow=true")).bearer(&key), usize::MAX);
    executor.advance(later(1)).unwrap();
    let first = reader.take();
    let names = first.iter().map(|heard| heard.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["retry: 1000", "status"]);
    executor.advance(later(59)).unwrap();
    let pings = reader.take().into_iter().map(|heard| (heard.at, heard.name)).collect::<Vec<_>>();
    assert_eq!(pings, [15, 30, 45].map(|seconds| (later(seconds), ": ping".to_owned())));
    // News are told within three seconds, however long it was quiet.
    bench.dispatch(A10G);
    executor.advance(later(62)).unwrap();
    assert_eq!(reader.events().len(), 1);
    executor.advance(later(119)).unwrap();
    assert_eq!(executor.outcome(reader.task), Some(Outcome::Unfinished));
    executor.advance(later(121)).unwrap();
    assert_eq!(executor.outcome(reader.task), Some(Outcome::Finished), "nothing on the way has to cut it");
    assert_eq!(reader.events(), [], "it ends without `done`, so that its reader comes back");
    // A quiet stream asks every three seconds.
    let _quiet = Reader::new(&mut executor, &bench, Ask::get(path(&id, "?follow=true")).bearer(&key), usize::MAX);
    executor.advance(later(121 + 20)).unwrap();
    let asked = bench.world.calls();
    executor.advance(later(121 + 80)).unwrap();
    let each_minute = bench.world.calls() - asked;
    assert!((40..=46).contains(&each_minute), "two queries in three seconds, and a lease: {each_minute}");
}

#[test]
fn streams_are_counted_for_each_tenant() {
    let world = World::new(13);
    let bench = Bench::of(&world);
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &small());
    let mut executor = Executor::new(&world);
    let ask = || Ask::get(path(&id, "?follow=true")).bearer(&key);
    let mut readers = (0..10).map(|_| Reader::new(&mut executor, &bench, ask(), usize::MAX)).collect::<Vec<_>>();
    let wait = |executor: &mut Executor, seconds: u64| {
        executor.advance(world.now().plus(Duration::from_secs(seconds))).unwrap();
    };
    wait(&mut executor, 50);
    let refused = || {
        let answer = bench.send(ask());
        assert_eq!((answer.status, &answer.headers["x-error-code"]), (429, &"rate_limited".parse().unwrap()));
        assert_eq!(answer.headers["retry-after"], "10");
        assert!(answer.json()["detail"].as_str().unwrap().contains("one tenant"), "{}", answer.text());
    };
    refused();
    assert_eq!(bench.send(Ask::get(path(&id, "")).bearer(&key)).status, 200, "whoever does not stay needs no place");
    let (elsewhere, other) = (bench.key_in("elsewhere", "ann"), bench.submit(&bench.key_in("robots", "r2"), &small()));
    assert_eq!(bench.send(Ask::get(path(&other, "?follow=true")).bearer(&elsewhere)).status, 404);
    // A process that was killed gives its places back by doing nothing, as soon as their leases end.
    executor.kill(readers.remove(3).task);
    refused();
    wait(&mut executor, 46);
    readers.push(Reader::new(&mut executor, &bench, ask(), usize::MAX));
    wait(&mut executor, 1);
    refused();
    assert!(readers.iter().all(|reader| executor.outcome(reader.task) == Some(Outcome::Unfinished)));
    // Those that are over give theirs back at once.
    bench.ok(&key, Ask::post(format!("/v1/jobs/{id}/cancel")));
    wait(&mut executor, 4);
    assert!(readers.iter().all(|reader| executor.outcome(reader.task) == Some(Outcome::Finished)));
    assert_eq!(bench.send(ask()).status, 200);
}

/// Ten ask for the last places at once, and none gets one twice.
#[test]
fn places_are_never_given_twice() {
    let world = World::new(14);
    let bench = Bench::of(&world);
    let (tenant, store) = (TenantId::new("t"), bench.plane.store.clone());
    let mut executor = Executor::new(&world);
    let tasks = (0..10).map(|_| {
        let (store, tenant, now) = (store.clone(), tenant.clone(), world.now());
        executor.spawn("open", async move { store.open_stream(&tenant, 4, now).await.unwrap() })
    });
    let tasks = tasks.collect::<Vec<_>>();
    executor.run_until_stalled().unwrap();
    let held =
        tasks.into_iter().filter_map(|task| executor.take(task).flatten()).collect::<Vec<store::streams::Lease>>();
    assert_eq!(held.len(), 4);
    assert!(held.iter().all(|lease| held.iter().filter(|other| *other == lease).count() == 1));
    // A stream that was held up for longer than its lease finds that another has its place.
    let later = world.now().plus(Duration::from_secs(46));
    let taken = block_on(store.open_stream(&tenant, 1, later)).unwrap().expect("a place");
    let kept = held.iter().filter(|lease| block_on(store.renew_stream(lease, later)).unwrap()).count();
    assert_eq!(kept, 3);
    for lease in &held {
        block_on(store.close_stream(lease)).unwrap();
    }
    assert!(block_on(store.renew_stream(&taken, later)).unwrap(), "whoever lost a place cannot give it away");
}

/// Whoever follows a launch that fails hears of it at once, and the end when nothing of it runs any more.
#[test]
fn a_launch_that_fails_while_it_is_followed() {
    let world = World::new(15);
    let bench = Bench::of(&world);
    let key = bench.login("jschmidt");
    let id = bench.job_at(Stage::Booting, &key);
    let mut executor = Executor::new(&world);
    let reader = Reader::new(&mut executor, &bench, Ask::get(path(&id, "?follow=true")).bearer(&key), usize::MAX);
    executor.run_until_stalled().unwrap();
    assert_eq!(reader.events().len(), 5);
    let why = json!({"error": {"Error": "Fleet.Refused", "Cause": "no such image"}});
    bench.step("Undo", &id, &why).expect("undone");
    executor.advance(world.now().plus(Duration::from_secs(5))).unwrap();
    let heard = reader.events();
    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].0.as_str(), &heard[0].2["phase"]), ("status", &json!("failed")));
    let resumed = Reader::new(
        &mut executor,
        &bench,
        Ask::get(path(&id, "?follow=true")).bearer(&key).with("last-event-id", &heard[0].1),
        usize::MAX,
    );
    bench.end(&id);
    executor.advance(world.now().plus(Duration::from_secs(5))).unwrap();
    // The first one's time was over before the machine had stopped.
    assert_eq!((reader.events(), executor.outcome(reader.task)), (Vec::new(), Some(Outcome::Finished)));
    let heard = resumed.events();
    let names = heard.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["log", "done"]);
    assert_eq!(heard[1].2["status"], "failed");
}

#[test]
fn a_stream_whose_tables_are_away_says_so() {
    let world = World::new(16);
    let bench = Bench::of(&world);
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &small());
    let mut executor = Executor::new(&world);
    let reader = Reader::new(&mut executor, &bench, Ask::get(path(&id, "?follow=true")).bearer(&key), usize::MAX);
    executor.run_until_stalled().unwrap();
    let before = reader.events();
    world.set_outage("store.", true);
    executor.advance(world.now().plus(Duration::from_secs(120))).unwrap();
    world.set_outage("store.", false);
    let heard = reader.events();
    let words = "The log cannot be read at the moment: come back with the last event's id";
    assert_eq!(heard, [("error".to_owned(), before[0].1.clone(), json!({"message": words}))]);
    assert_eq!(executor.outcome(reader.task), Some(Outcome::Finished));
}
