//! The plane as a program, with clients of Rust: started, used over HTTP and SSH, killed, and started again.
//!
//! These tests run real processes, so they wait for things to become so rather than for time to pass. What needs OpenSSH, curl or
//! JupyterLab is in `tests/journey/run`.

mod process;

use std::sync::Arc;

use process::{Key, Slipway};
use serde_json::{Value, json};

fn h100(gpus: u32) -> Value {
    json!({"image": "pytorch/pytorch", "instance_type": "p5.48xlarge", "duration_hours": 1, "gpu_count": gpus})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_from_login_to_its_end() {
    let slipway = Slipway::start("h100x8").await;
    let user = slipway.log_in("ada").await;
    let (own, other) = (Key::new(), Key::new());
    let mut submit = h100(2);
    submit["ssh_public_keys"] = json!([own.public()]);
    submit["env_vars"] = json!({"EXPERIMENT": "journey"});
    submit["command"] = json!("echo begun; echo $EXPERIMENT >&2; exit 3");
    let job = user.submit(&submit).await;
    let active = user.until(&job, "active", |job| job["status"] == "active").await;
    let port = u16::try_from(active["node_port"].as_u64().unwrap()).unwrap();
    assert_eq!(active["ssh_command"], format!("ssh -p {port} dev@127.0.0.1"));

    // Its own key comes in, sees the job's environment, and brings exit codes back; a stranger's key does not come in.
    let (output, code) =
        own.run(port, "echo $EXPERIMENT on $SLIPWAY_GPUS; exit 7").await.expect("the job's own key comes in");
    assert_eq!((output.as_str(), code), ("journey on 2\n", Some(7)));
    assert!(other.run(port, "true").await.is_none());

    // The command's output is the log, its exit code is kept, and the job is active all the same.
    let exited = user.until(&job, "its command has ended", |job| job["exit_code"] == 3).await;
    assert_eq!(exited["status"], "active");
    let path = format!("/v1/jobs/{job}/logs?tail=10");
    let logs = user.wait("its log is there", async || {
        let logs = user.get(&path).await;
        (logs["lines"].as_array().map_or(0, Vec::len) == 2).then_some(logs)
    });
    let logs = logs.await;
    let line = |at: usize| (logs["lines"][at]["stream"].clone(), logs["lines"][at]["text"].clone());
    let mut lines = [line(0), line(1)].map(|(stream, text)| format!("{stream} {text}"));
    lines.sort();
    assert_eq!(lines, ["\"stderr\" \"journey\"", "\"stdout\" \"begun\""]);

    // It ends later when it is extended, and at once when it is cancelled; then its key does not come in any more.
    let extended = user.post(&format!("/v1/jobs/{job}/extend"), &json!({"extension_hours": 2})).await;
    assert!(extended["message"].as_str().unwrap().starts_with("Extension request submitted for 2 hours (message ID: "));
    assert_eq!(user.get(&format!("/v1/jobs/{job}")).await["duration_hours"], 3.0);
    user.post(&format!("/v1/jobs/{job}/cancel"), &json!({})).await;
    let ended = user.until(&job, "cancelled", |job| job["status"] == "cancelled").await;
    assert!(ended["gpu_seconds"].as_u64().unwrap() > 0);
    assert!(own.run(port, "true").await.is_none());
    assert_eq!(user.in_use().await, 0);
    let events = user.get(&format!("/v1/jobs/{job}/events")).await;
    let phases = events["events"].as_array().unwrap().iter().map(|event| event["progress"].as_u64().unwrap());
    assert!(phases.clone().is_sorted() && phases.max() == Some(100), "{events}");
    slipway.nothing_left_of(&job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_launches() {
    let mut slipway = Slipway::start("h100x8,h100x8,h100x8").await;
    let mut user = slipway.log_in("ada").await;
    let mut jobs = Vec::new();
    for phase in ["queued", "preparing", "active"] {
        let job = user.submit(&h100(8)).await;
        // The plane is killed as soon as the job is seen in this phase, or past it.
        user.until(&job, phase, |job| job["status"] == phase || job["status"] == "active").await;
        slipway = slipway.kill_and_start_again().await;
        user = user.at(&slipway);
        jobs.push(job);
    }
    for job in &jobs {
        let settled =
            user.until(job, "active or failed", |job| job["status"] == "active" || job["status"] == "failed").await;
        assert!(settled["status"] == "active" || settled["failure_reason"].is_string(), "{settled}");
    }
    // A job whose processes died with the plane may be seen active for a moment yet: what counts is what both sides come to.
    user.wait("no GPU is booked for what does not run", async || {
        let active = user.get("/v1/jobs?status=active").await["total"].as_u64().unwrap();
        (user.in_use().await == active * 8).then_some(())
    })
    .await;
    for job in &jobs {
        user.cancel_if_it_runs(job).await;
    }
    user.wait("every GPU is free", async || (user.in_use().await == 0).then_some(())).await;
    for job in &jobs {
        slipway.nothing_left_of(job).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_submits_at_once_for_eight_gpus() {
    let slipway = Slipway::start("h100x8").await;
    let user = Arc::new(slipway.log_in("ada").await);
    let submits = (0..200).map(|_| {
        let user = Arc::clone(&user);
        tokio::spawn(async move { user.submit(&h100(1)).await })
    });
    let mut jobs = Vec::new();
    for submit in submits.collect::<Vec<_>>() {
        jobs.push(submit.await.expect("every submit is acknowledged"));
    }
    user.wait("eight jobs run", async || {
        let total = user.get("/v1/jobs?status=active").await["total"].as_u64();
        (total == Some(8)).then_some(())
    })
    .await;
    assert_eq!(user.in_use().await, 8);
    let all = user.get("/v1/jobs?limit=500").await;
    let ids = |status: &str| {
        let listed = all["jobs"].as_array().unwrap().iter().filter(|job| job["status"] == status);
        let mut ids = listed.map(|job| job["job_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        ids.sort();
        ids
    };
    let (running, waiting) = (ids("active"), ids("queued"));
    assert_eq!((all["total"].as_u64(), jobs.len(), running.len(), waiting.len()), (Some(200), 200, 8, 192));
    // Ids sort by the time of the submit: those that run came before those that wait.
    assert!(running.last() < waiting.first());
    user.post(&format!("/v1/jobs/{}/cancel", running[0]), &json!({})).await;
    user.until(&waiting[0], "active in its turn", |job| job["status"] == "active").await;
}
