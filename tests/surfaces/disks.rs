//! Disks, as their owners use them.

use cloud::sim::Executor;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{
    drive::{A10G, Agent, Bench, report, small},
    operations::a_disk,
    wire::{Answer, Ask},
};

fn create(name: &str, size_gb: u32) -> Ask {
    Ask::post("/v1/disks").json(&json!({"disk_name": name, "size_gb": size_gb}))
}

/// A job with this disk.
fn with(disk: &str) -> Value {
    let mut body = small();
    (body["disk_name"], body["disk_size_gb"]) = (json!(disk), json!(10));
    body
}

/// A bench whose snapshots take five minutes, and somebody who has logged in.
fn bench() -> (Bench, String) {
    let bench = Bench::new();
    let minutes = |minutes: u64| std::time::Duration::from_secs(60 * minutes);
    bench.world.set(|settings| settings.snapshot = minutes(5)..=minutes(5));
    let key = bench.login("jschmidt");
    (bench, key)
}

fn disk(bench: &Bench, key: &str, name: &str) -> Value {
    bench.ok(key, Ask::get(format!("/v1/disks/{name}")))
}

#[track_caller]
fn check(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().contains(words), "{words}: {}", answer.text());
}

/// Lets time pass until the disk can be had again.
#[track_caller]
fn rest(bench: &Bench, key: &str, name: &str) {
    for _ in 0..40 {
        bench.sweep_disks();
        let now = disk(bench, key, name);
        if now["in_use"] == false && now["is_backing_up"] == false {
            return;
        }
        bench.pass(30);
    }
    panic!("{}", disk(bench, key, name));
}

/// Runs a job on a disk, which writes to it, and ends the job.
#[track_caller]
fn use_once(bench: &Bench, key: &str, name: &str) -> String {
    let id = bench.submit(key, &with(name));
    bench.dispatch(A10G);
    bench.launch(&id);
    bench.world.write(id.parse().expect("an id"));
    finish(bench, key, &id);
    id
}

#[track_caller]
fn finish(bench: &Bench, key: &str, id: &str) {
    bench.ok(key, Ask::post(format!("/v1/jobs/{id}/cancel")));
    bench.end(id);
}

#[test]
fn t_002_14_a_disk_is_created_and_its_operation_completes() {
    let (bench, key) = bench();
    let asked = bench.ok(&key, create("my-training-data", 500));
    let id = asked["operation_id"].as_str().unwrap();
    let expected = json!({
        "operation_id": id, "disk_name": "my-training-data", "action": "create",
        "message": "Disk creation request queued successfully", "requested_at": bench.world.now().to_string()
    });
    assert_eq!(asked, expected);
    let operation = || bench.ok(&key, Ask::get(format!("/v1/disks/my-training-data/operations/{id}")));
    let queued = operation();
    assert_eq!((&queued["status"], &queued["completed"]), (&json!("queued"), &json!(false)));
    bench.tend_disks();
    let now = bench.world.now().to_string();
    let done = json!({
        "operation_id": id, "disk_name": "my-training-data", "status": "completed", "error": null, "is_deleted": false,
        "delete_date": null, "created_at": now, "last_updated": now, "completed": true
    });
    assert_eq!(operation(), done, "trap T4");
    let shown = json!({
        "disk_name": "my-training-data", "user_id": "jschmidt", "size_gb": 500, "created_at": now, "last_used": null,
        "in_use": false, "reservation_id": null, "is_backing_up": false, "is_deleted": false, "snapshot_count": 0
    });
    assert_eq!(disk(&bench, &key, "my-training-data"), shown);
    assert_eq!(bench.ok(&key, Ask::get("/v1/disks")), json!({"disks": [shown], "total": 1}));
}

#[test]
fn t_002_14_what_is_no_disk_is_refused() {
    let (bench, key) = bench();
    for (name, size) in [("a.b", 100), ("", 100), ("a b", 100), ("ok", 9), ("ok", 10_001)] {
        check(&bench.send(create(name, size).bearer(&key)), 400, "");
    }
    check(&bench.send(create(&"x".repeat(64), 100).bearer(&key)), 400, "disk_name");
    bench.ok(&key, create("ok", 10));
    check(&bench.send(create("ok", 10).bearer(&key)), 409, "A disk of this name is there already");
    bench.ok(&bench.login("somebody-else"), create("ok", 10));
    for path in ["nothing", "a.b", "%2e%2e"] {
        check(&bench.send(Ask::get(format!("/v1/disks/{path}")).bearer(&key)), 404, "Disk not found");
    }
}

#[test]
fn t_002_15_what_a_disk_says_is_true_at_every_moment() {
    let (bench, key) = bench();
    let id = bench.submit(&key, &with("data"));
    let told = |expected: Value| {
        let now = disk(&bench, &key, "data");
        let seen = json!([now["in_use"], now["reservation_id"], now["is_backing_up"], now["snapshot_count"]]);
        assert_eq!(seen, expected, "{now}");
    };
    told(json!([false, null, false, 0]));
    bench.dispatch(A10G);
    told(json!([true, id, false, 0]));
    bench.launch(&id);
    told(json!([true, id, false, 0]));
    finish(&bench, &key, &id);
    told(json!([true, id, true, 0]));
    bench.pass(200);
    bench.tend_disks();
    told(json!([false, null, true, 0]));
    rest(&bench, &key, "data");
    told(json!([false, null, false, 1]));
    assert_eq!(bench.world.volumes().iter().filter(|volume| volume.deleted_at.is_none()).count(), 0);
}

#[test]
fn t_002_17_deleted_for_thirty_days_and_then_for_good() {
    let (bench, key) = bench();
    use_once(&bench, &key, "data");
    rest(&bench, &key, "data");
    let key = bench.login("jschmidt");
    let day = bench.world.now().plus(std::time::Duration::from_secs(30 * 24 * 3600)).to_string();
    let gone = bench.ok(&key, Ask::new(http::Method::DELETE, "/v1/disks/data"));
    let words = format!("Disk deletion request queued successfully. Will be deleted on {}", &day[..10]);
    assert_eq!((&gone["action"], &gone["message"]), (&json!("delete"), &json!(words)));
    bench.tend_disks();
    let id = gone["operation_id"].as_str().unwrap();
    let operation = bench.ok(&key, Ask::get(format!("/v1/disks/data/operations/{id}")));
    assert_eq!(json!([operation["status"], operation["is_deleted"]]), json!(["completed", true]));
    assert_eq!(operation["delete_date"], day[..10]);
    for ask in [
        Ask::new(http::Method::DELETE, "/v1/disks/data"),
        Ask::post("/v1/disks/data/rename").json(&json!({"new_name": "other"})),
        Ask::post("/v1/jobs/submit").json(&with("data")),
        Ask::post("/v1/disks/data/snapshots"),
        Ask::post("/v1/disks/data/branches").json(&json!({"name": "b"})),
    ] {
        check(&bench.send(ask.bearer(&key)), 410, "marked for deletion");
    }
    check(&bench.send(create("data", 10).bearer(&key)), 409, "there already");
    bench.ok(&key, Ask::post("/v1/disks/data/undelete"));
    bench.ok(&key, Ask::post("/v1/disks/data/undelete"));
    assert_eq!(disk(&bench, &key, "data")["is_deleted"], false);
    bench.ok(&key, Ask::new(http::Method::DELETE, "/v1/disks/data"));
    bench.tend_disks();
    bench.pass(30 * 24 * 3600 - 60);
    bench.sweep_disks();
    let key = bench.login("jschmidt");
    assert_eq!(disk(&bench, &key, "data")["is_deleted"], true);
    bench.pass(60);
    bench.sweep_disks();
    check(&bench.send(Ask::get("/v1/disks/data").bearer(&key)), 404, "Disk not found");
    assert!(bench.world.snapshots().iter().all(|snapshot| snapshot.deleted_at.is_some()), "nothing is left");
    bench.ok(&key, create("data", 10));
}

#[test]
fn t_002_19_a_disk_is_renamed_in_the_references_words() {
    let (bench, key) = bench();
    bench.ok(&key, create("old", 10));
    bench.ok(&key, create("taken", 10));
    bench.tend_disks();
    let rename = |from: &str, to: &str| Ask::post(format!("/v1/disks/{from}/rename")).json(&json!({"new_name": to}));
    let words = "Disk renamed from 'old' to 'new' (no snapshots found)";
    let renamed = json!({"message": words, "old_name": "old", "new_name": "new", "snapshots_updated": 0});
    assert_eq!(bench.ok(&key, rename("old", "new")), renamed);
    check(&bench.send(rename("old", "newer").bearer(&key)), 404, "Disk not found");
    check(&bench.send(rename("new", "taken").bearer(&key)), 409, "there already");
    check(&bench.send(rename("new", "a.b").bearer(&key)), 400, "new_name");
    let id = bench.submit(&key, &with("new"));
    bench.dispatch(A10G);
    check(&bench.send(rename("new", "other").bearer(&key)), 409, "in use");
    check(&bench.send(Ask::new(http::Method::DELETE, "/v1/disks/new").bearer(&key)), 409, "in use");
    drop(id);
}

/// Renames a disk while its worker works: the answer waits for the tags.
fn renamed(bench: &Bench, key: &str, from: &str, to: &str) -> Value {
    let mut executor = Executor::new(&bench.world);
    let ask = Ask::post(format!("/v1/disks/{from}/rename")).json(&json!({"new_name": to})).bearer(key).request();
    let router = bench.router.clone();
    let task = executor.spawn("rename", async move {
        let body = router.oneshot(ask).await.unwrap().into_body().collect().await.unwrap();
        serde_json::from_slice::<Value>(&body.to_bytes()).unwrap()
    });
    executor.run_until_stalled().unwrap();
    bench.tend_disks();
    let soon = bench.world.now().plus(std::time::Duration::from_secs(10));
    executor.advance(soon).unwrap();
    executor.take(task).expect("an answer")
}

#[test]
fn t_002_19_snapshots_follow_a_rename_and_those_that_cannot_follow_later() {
    let (bench, key) = bench();
    for _ in 0..3 {
        use_once(&bench, &key, "a0");
        rest(&bench, &key, "a0");
    }
    let named = |name: &str| bench.world.snapshots().iter().filter(|one| one.name.as_str() == name).count();
    let answer = renamed(&bench, &key, "a0", "a1");
    let words = "Disk renamed from 'a0' to 'a1' (3 snapshots updated)";
    assert_eq!(answer, json!({"message": words, "old_name": "a0", "new_name": "a1", "snapshots_updated": 3}));
    assert_eq!(named("a1"), 3);
    bench.world.set(|settings| settings.failing_tags = 400);
    let mut seen = std::collections::BTreeSet::new();
    for number in 1..9 {
        let (from, to) = (format!("a{number}"), format!("a{}", number + 1));
        let answer = renamed(&bench, &key, &from, &to);
        let updated = answer["snapshots_updated"].as_u64().unwrap();
        let how =
            if updated == 3 { "3 snapshots updated".to_owned() } else { format!("{updated}/3 snapshots updated") };
        assert_eq!(answer["message"], format!("Disk renamed from '{from}' to '{to}' ({how})"));
        let errors = answer["errors"].as_array().cloned().unwrap_or_default();
        assert_eq!(errors.len() as u64 + updated, 3, "{answer}");
        let words = |error: &Value| {
            error.as_str().is_some_and(|text| text.starts_with("snap-") && text.ends_with(": Access denied"))
        };
        assert!(errors.iter().all(words), "{answer}");
        seen.insert(updated);
    }
    assert!(seen.contains(&1) || seen.contains(&2), "some of them, and not all: {seen:?}");
    bench.world.set(|settings| settings.failing_tags = 0);
    for _ in 0..10 {
        bench.pass(60);
        bench.sweep_disks();
    }
    assert_eq!(named("a9"), 3, "what failed is repaired by itself");
}

#[test]
fn a_job_waits_for_its_disk_and_says_so() {
    let (bench, key) = bench();
    let first = bench.submit(&key, &with("data"));
    let second = bench.submit(&key, &with("data"));
    let other = bench.submit(&key, &small());
    bench.dispatch(A10G);
    let status = |id: &str| bench.job(&key, id)["status"].as_str().unwrap().to_owned();
    assert_eq!(
        (status(&first), status(&second), status(&other)),
        ("preparing".into(), "queued".into(), "preparing".into())
    );
    let told = |id: &str| {
        let events = bench.ok(&key, Ask::get(format!("/v1/jobs/{id}/events")))["events"].clone();
        let waiting = events.as_array().unwrap().iter().filter(|event| event["kind"] == "waiting");
        waiting.map(|event| event["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    bench.dispatch(A10G);
    assert_eq!(told(&second), ["Waits for disk data, which is in use by another job"], "it is said once");
    bench.launch(&first);
    finish(&bench, &key, &first);
    bench.pass(200);
    bench.tend_disks();
    bench.dispatch(A10G);
    assert_eq!(told(&second).last().unwrap(), "Waits for disk data, which is being backed up");
    rest(&bench, &key, "data");
    bench.dispatch(A10G);
    assert_eq!(status(&second), "preparing");
}

#[test]
fn what_one_job_writes_the_next_one_reads_and_a_branch_is_its_own() {
    let (bench, key) = bench();
    use_once(&bench, &key, "data");
    rest(&bench, &key, "data");
    let key = bench.login("jschmidt");
    let branched = bench.ok(&key, Ask::post("/v1/disks/data/branches").json(&json!({"name": "try"})));
    assert_eq!((&branched["action"], &branched["disk_name"]), (&json!("branch"), &json!("try")));
    let first = bench.world.volumes()[0].contents.clone();
    assert!(!first.is_empty());
    use_once(&bench, &key, "try");
    rest(&bench, &key, "try");
    use_once(&bench, &bench.login("jschmidt"), "data");
    let volumes = bench.world.volumes();
    assert_eq!(volumes[1].began_with, first, "the branch begins as the disk was");
    assert_eq!(volumes[2].began_with, first, "and the disk goes on as it was");
    let key = bench.login("jschmidt");
    rest(&bench, &key, "data");
    let all = bench.ok(&key, Ask::get("/v1/disks/data/snapshots"))["snapshots"].clone();
    let heads = all.as_array().unwrap().iter().map(|one| one["is_head"] == true).collect::<Vec<_>>();
    assert_eq!(heads, [true, false], "newest first");
    let restored = json!({"snapshot_id": all[1]["snapshot_id"]});
    bench.ok(&key, Ask::post("/v1/disks/data/restore").json(&restored));
    assert_eq!(bench.ok(&key, Ask::get("/v1/disks/data/snapshots"))["snapshots"][1]["is_head"], true);
    use_once(&bench, &key, "data");
    assert_eq!(bench.world.volumes()[3].began_with, first);
    check(
        &bench.send(Ask::post("/v1/disks/try/restore").json(&json!({"snapshot_id": "snap-foreign"})).bearer(&key)),
        404,
        "Snapshot not found",
    );
    let small = json!({"name": "small", "size_gb": 9});
    check(&bench.send(Ask::post("/v1/disks/try/branches").json(&small).bearer(&key)), 400, "size_gb");
}

#[test]
fn a_disk_that_cannot_be_restored_is_a_failed_launch() {
    let (bench, key) = bench();
    // Its snapshot is not there any more.
    a_disk(&bench, "data");
    let id = bench.submit(&key, &with("data"));
    bench.dispatch(A10G);
    bench.step("Provision", &id, &json!({})).expect("a machine");
    // The machine is not there at once, and says nothing about its zone before.
    let step = || {
        bench.pass(5);
        bench.step("AttachDisk", &id, &json!({}))
    };
    let failed = (0..100).find_map(|_| step().err()).expect("there is no such snapshot");
    assert_eq!(failed.error, "Volume.Refused");
    assert!(bench.world.volumes().is_empty(), "never is it an empty one");
    let why = json!({"error": {"Error": failed.error, "Cause": failed.cause}});
    bench.step("Undo", &id, &why).expect("undone");
    bench.end(&id);
    assert!(bench.job(&key, &id)["failure_reason"].as_str().unwrap().contains("its disk cannot be had"));
    rest(&bench, &key, "data");
    assert_eq!(disk(&bench, &key, "data")["snapshot_count"], 1, "what is known of it stays known");
}

#[test]
fn a_snapshot_now_holds_the_file_system_still() {
    let (bench, key) = bench();
    let id = bench.submit(&key, &with("data"));
    bench.dispatch(A10G);
    let agent: Agent = bench.launch(&id);
    let asked = bench.ok(&key, Ask::post("/v1/disks/data/snapshots"));
    assert_eq!(asked["action"], "snapshot");
    check(&bench.send(Ask::post("/v1/disks/data/snapshots").bearer(&key)), 409, "being backed up");
    bench.tend_disks();
    assert!(bench.world.snapshots().is_empty(), "it waits for the agent");
    let desired = agent.sync(&bench, &report("ready"))["desired"]["disk"].clone();
    assert_eq!((&desired["freeze"], &desired["next"]), (&json!(1), &json!(1)));
    agent.hold_still(&bench, 1);
    bench.tend_disks();
    assert_eq!(bench.world.snapshots().len(), 1);
    let thawed = agent.sync(&bench, &report("ready"))["desired"]["disk"].clone();
    assert_eq!((&thawed["freeze"], &thawed["next"]), (&Value::Null, &json!(2)));
    let list = json!({"snapshot": 1, "part": 0, "parts": 1, "data": ""});
    let old = bench.send(Ask::post("/agent/v1/contents").json(&list).bearer(&agent.session));
    check(&old, 409, "the snapshot that comes next");
    bench.pass(300);
    bench.sweep_disks();
    assert_eq!(disk(&bench, &key, "data")["snapshot_count"], 1);
    assert_eq!(disk(&bench, &key, "data")["in_use"], true, "its job goes on");
}

#[test]
fn what_a_disk_holds_is_listed() {
    let (bench, key) = bench();
    a_disk(&bench, "data");
    let listed = bench.ok(&key, Ask::get("/v1/disks/data/contents"));
    let notes = json!({"path": "notes", "kind": "file", "size": 5, "modified": "2026-01-20T18:30:00Z"});
    let page = json!({
        "disk_name": "data", "snapshot_id": "snap-1234567890abcdef", "path": "", "entries": [notes], "next": null
    });
    assert_eq!(listed, page);
    assert_eq!(bench.ok(&key, Ask::get("/v1/disks/data/contents?path=/nowhere"))["entries"], json!([]));
    check(&bench.send(Ask::get("/v1/disks/data/contents?limit=0").bearer(&key)), 400, "limit");
    bench.ok(&key, Ask::post("/v1/disks/data/branches").json(&json!({"name": "branch"})));
    assert_eq!(bench.ok(&key, Ask::get("/v1/disks/branch/contents"))["entries"][0]["path"], "notes");
    bench.ok(&key, create("empty", 10));
    check(&bench.send(Ask::get("/v1/disks/empty/contents").bearer(&key)), 409, "nothing has been written");
}
