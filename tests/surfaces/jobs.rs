//! Reading jobs (002#5, 002#6, T3, K8).

use serde_json::{Value, json};

use super::check;
use crate::support::{
    drive::{A10G, Bench, H100, Stage, report, small},
    wire::Ask,
};

/// A job as the reference shows it, in the first moment of its life; what is ours beyond the reference is at the end.
fn queued(id: &str) -> Value {
    json!({
        "job_id": id, "reservation_id": id, "user_id": "jschmidt", "status": "queued", "gpu_type": "a10g", "gpu_count": 1,
        "instance_type": "g5.xlarge", "duration_hours": 1.0, "created_at": "2026-01-20T18:00:00Z", "expires_at": null, "name": null,
        "pod_name": null, "node_ip": null, "node_port": null, "ssh_command": null, "jupyter_enabled": false, "jupyter_url": null,
        "jupyter_token": null, "github_user": null,
        "jupyter_error": null, "exit_code": null, "failure_reason": null, "gpu_seconds": 0
    })
}

fn get(id: &str, key: &str) -> Ask {
    Ask::get(format!("/v1/jobs/{id}")).bearer(key)
}

#[test]
fn t_t03_get_right_after_submit() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    for _ in 0..20 {
        let id = bench.submit(&key, &small());
        check(&bench, get(&id, &key), 200, &queued(&id));
    }
}

#[test]
fn t_002_05_get() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let body = json!({
        "image": "pytorch/pytorch", "instance_type": "p5.48xlarge", "gpu_count": 4, "duration_hours": 2, "name": "training-run",
        "github_user": "jeanschmidt", "jupyter_enabled": true
    });
    let id = bench.submit(&key, &body);
    bench.dispatch(H100);
    let agent = bench.launch(&id);
    let mut ready = report("ready");
    ready["jupyter"] = json!({"state": "ready"});
    agent.sync(&bench, &ready);
    let mut active = queued(&id);
    for (name, value) in [
        ("status", json!("active")),
        ("gpu_type", json!("h100")),
        ("gpu_count", json!(4)),
        ("instance_type", json!("p5.48xlarge")),
        ("duration_hours", json!(2.0)),
        ("expires_at", json!("2026-01-20T20:00:00Z")),
        ("name", json!("training-run")),
        ("pod_name", json!(format!("gpu-dev-{}", id.rsplit('-').next().unwrap()))),
        ("node_ip", json!("10.0.0.0")),
        ("node_port", json!(22)),
        ("ssh_command", json!("ssh -p 22 dev@10.0.0.0")),
        ("jupyter_enabled", json!(true)),
        ("jupyter_url", json!("http://127.0.0.1:8888/lab")),
        ("jupyter_token", json!("<text>")),
        ("github_user", json!("jeanschmidt")),
    ] {
        active[name] = value;
    }
    check(&bench, get(&id, &key), 200, &active);
}

#[test]
fn t_k08_each_state_has_its_status() {
    for (stage, status) in [
        (Stage::Queued, "queued"),
        (Stage::Placed, "preparing"),
        (Stage::Booting, "preparing"),
        (Stage::Active, "active"),
        (Stage::Draining, "active"),
        (Stage::Expired, "expired"),
        (Stage::Cancelled, "cancelled"),
        (Stage::Failed, "failed"),
    ] {
        let bench = Bench::new();
        let id = bench.job_at(stage, &bench.login("jschmidt"));
        let job = bench.job(&bench.login("jschmidt"), &id);
        assert_eq!(job["status"], status, "{stage:?}");
        // The way in is shown while there is one; its token opens nothing afterwards.
        assert_eq!(job["node_ip"].is_string(), status == "active", "{stage:?}: {job}");
        assert_eq!(job["failure_reason"].is_string(), stage == Stage::Failed, "{stage:?}: {job}");
    }
}

#[test]
fn t_002_05_a_failed_launch_says_why() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.job_at(Stage::Failed, &key);
    assert_eq!(bench.job(&key, &id)["failure_reason"], "the launch failed: no such image");
}

#[test]
fn t_t20_jupyter_is_ready_when_it_answers() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &json!({"image": "a", "instance_type": "g5.xlarge", "jupyter_enabled": true}));
    bench.dispatch(A10G);
    let agent = bench.launch(&id);
    let url = |state: Value| {
        let mut said = report("ready");
        said["jupyter"] = state;
        agent.sync(&bench, &said);
        let job = bench.job(&key, &id);
        (job["jupyter_url"].clone(), job["jupyter_error"].clone())
    };
    assert_eq!(url(json!({"state": "starting"})), (json!(null), json!(null)));
    assert_eq!(url(json!({"state": "ready"})), (json!("http://127.0.0.1:8888/lab"), json!(null)));
    assert_eq!(url(json!({"state": "failed", "error": "no pip"})), (json!(null), json!("no pip")));
}

#[test]
fn t_002_05_foreign_unknown_and_malformed_ids_are_one_404() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &small());
    let not_found = json!({"detail": "Job not found"});
    let stranger = bench.login("stranger");
    let colleague_elsewhere = bench.key_in("another", "jschmidt");
    let mut answers = vec![
        check(&bench, get(&id, &stranger), 404, &not_found),
        check(&bench, get(&id, &colleague_elsewhere), 404, &not_found),
    ];
    let nil = "00000000-0000-0000-0000-000000000000";
    for other in [
        nil,
        "x",
        &id.to_uppercase(),
        &id.replace('-', ""),
        &format!("{{{id}}}"),
        "%00",
        "%F0%9F%92%A9",
        &format!("{id}%20"),
        "..%2f",
    ] {
        let other = other.replace('{', "%7B").replace('}', "%7D");
        answers.push(check(&bench, get(&other, &key), 404, &not_found));
    }
    let bodies =
        answers.iter().map(|answer| (&answer.body, answer.headers.len())).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(bodies.len(), 1, "byte for byte, header for header: {bodies:?}");
}

fn ids(list: &Value) -> Vec<String> {
    list["jobs"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn t_002_06_list() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let list = |query: &str| bench.ok(&key, Ask::get(format!("/v1/jobs{query}")));
    let mut made = Vec::new();
    for second in 0..7 {
        bench.pass(second % 3);
        made.push(bench.submit(&key, &small()));
    }
    bench.submit(&bench.login("stranger"), &small());
    made.sort();
    made.reverse();
    let shown = list("");
    assert_eq!(
        (ids(&shown), &shown["total"], &shown["limit"], &shown["offset"]),
        (made.clone(), &json!(7), &json!(50), &json!(0))
    );
    assert_eq!(
        shown["jobs"][0].as_object().unwrap().len(),
        queued("x").as_object().unwrap().len(),
        "each is a whole job"
    );
    for (limit, offset) in [(1, 0), (2, 2), (3, 6), (500, 0), (5, 7), (1, 100_000)] {
        let page = list(&format!("?limit={limit}&offset={offset}"));
        let expected = made.iter().skip(offset).take(limit).cloned().collect::<Vec<_>>();
        assert_eq!((ids(&page), &page["total"]), (expected, &json!(7)), "limit {limit}, offset {offset}");
        assert_eq!((&page["limit"], &page["offset"]), (&json!(limit), &json!(offset)));
    }
}

#[test]
fn t_002_06_filters() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let stages = [
        Stage::Active,
        Stage::Placed,
        Stage::Cancelled,
        Stage::Failed,
        Stage::Draining,
        Stage::Queued,
        Stage::Cancelled,
    ];
    let made = stages.map(|stage| {
        bench.pass(1);
        bench.job_at(stage, &key)
    });
    for (status, expected) in [
        ("active", &[4, 0][..]),
        ("preparing", &[1]),
        ("queued", &[5]),
        ("pending", &[5]),
        ("cancelled", &[6, 2]),
        ("failed", &[3]),
        ("expired", &[]),
        ("active,preparing", &[4, 1, 0]),
        ("active,preparing,queued", &[5, 4, 1, 0]),
        ("cancelled,failed", &[6, 3, 2]),
        ("queued,failed", &[5, 3]),
        ("active,%20queued", &[5, 4, 0]),
        ("", &[6, 5, 4, 3, 2, 1, 0]),
    ] {
        let whole = bench.ok(&key, Ask::get(format!("/v1/jobs?status={status}")));
        let expected = expected.iter().map(|at| made[*at].clone()).collect::<Vec<_>>();
        assert_eq!((ids(&whole), &whole["total"]), (expected.clone(), &json!(expected.len())), "{status}");
        for offset in 0..=expected.len() {
            let page = bench.ok(&key, Ask::get(format!("/v1/jobs?status={status}&limit=1&offset={offset}")));
            let one = expected.iter().skip(offset).take(1).cloned().collect::<Vec<_>>();
            assert_eq!((ids(&page), &page["total"]), (one, &json!(expected.len())), "{status}, offset {offset}");
        }
    }
}

#[test]
fn t_002_06_bad_queries_are_400_by_name() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e2", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=", "limit"),
        ("offset=-1", "offset"),
        ("offset=100001", "offset"),
        ("status=running", "status"),
        ("status=active,ACTIVE", "status"),
        ("status=%00", "status"),
        ("page=2", "page"),
        ("limit=1&limit=2", "limit"),
    ] {
        let answer = bench.send(Ask::get(format!("/v1/jobs?{query}")).bearer(&key));
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["query", name]), "{query}: {}", answer.text());
    }
}
