//! `POST /v1/jobs/submit` (002#4, T15, K5, K21).

use serde_json::{Value, json};

use super::check;
use crate::support::{
    drive::{Bench, H100, small},
    wire::Ask,
};

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJFojX6izLI4MOEsHmtgpHww5Lt23xAraDqkVObhpifHipfjtklEtsGcrFEq0P7Q47JZbmB4cHtcbnupOOj8q7k=";
const SK: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAICFo/k5LU8863u66YC9eUO2170QduohPURkQnbLa/dczAAAABHNzaDo=";

fn submit(key: &str, body: &Value) -> Ask {
    Ask::post("/v1/jobs/submit").bearer(key).json(body)
}

fn submitted() -> Value {
    json!({
        "job_id": "<uuid>", "status": "queued", "message": "Job submitted successfully to queue (message ID: <uuid>)",
        "estimated_start_time": null
    })
}

/// The smallest job with some fields replaced.
fn but(fields: &Value) -> Value {
    let mut body = small();
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn t_002_04_submit() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let reference = json!({
        "image": "pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime", "instance_type": "p5.48xlarge", "duration_hours": 4,
        "env_vars": {"WANDB_API_KEY": "secret", "EXPERIMENT": "training-v1"}, "command": "python train.py --epochs 100"
    });
    let answer = check(&bench, submit(&key, &reference), 200, &submitted());
    let id = answer.json()["job_id"].as_str().unwrap().to_owned();
    let job = bench.job(&key, &id);
    let found = ["status", "gpu_type", "gpu_count", "instance_type", "duration_hours"].map(|name| job[name].clone());
    assert_eq!(found, [json!("queued"), json!("h100"), json!(8), json!("p5.48xlarge"), json!(4.0)]);
}

#[test]
fn t_002_04_defaults() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &json!({"image": "busybox", "instance_type": "p5.4xlarge"}));
    let job = bench.job(&key, &id);
    let fields =
        ["gpu_count", "duration_hours", "name", "github_user", "jupyter_enabled"].map(|name| job[name].clone());
    assert_eq!(fields, [json!(1), json!(8.0), json!(null), json!(null), json!(false)]);
}

#[test]
fn t_002_04_every_field_arrives_where_it_belongs() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let keys = [ED25519, ECDSA, SK];
    let body = json!({
        "image": "r.io:5000/a/b@sha256:00", "instance_type": "p5.48xlarge", "gpu_count": 3, "duration_hours": 1.5, "name": "training-run",
        "command": "echo \"a b\"; exit $CODE", "env_vars": {"CODE": "3", "EMPTY": "", "UMLAUT": "ü"},
        "ssh_public_keys": keys.map(|key| format!("{key} me@host")), "github_user": "jeanschmidt", "jupyter_enabled": true,
        "priority": 7, "end_on_exit": true
    });
    let id = bench.submit(&key, &body);
    let job = bench.job(&key, &id);
    for (name, expected) in [
        ("gpu_count", json!(3)),
        ("duration_hours", json!(1.5)),
        ("name", json!("training-run")),
        ("github_user", json!("jeanschmidt")),
        ("jupyter_enabled", json!(true)),
    ] {
        assert_eq!(job[name], expected, "{name}");
    }
    bench.dispatch(H100);
    let token = bench.provision(&id);
    let session = json!({"session": "0".repeat(64), "version": "0.1.0"});
    let told = bench.ok(&token, Ask::post("/agent/v1/enroll").json(&session));
    assert_eq!((&told["command"], &told["env"]), (&body["command"], &body["env_vars"]), "as data, word for word");
    // T15: nothing of the lines but the keys survives.
    let users = &told["synced"]["desired"]["users"];
    assert_eq!(users, &json!([{"name": "jschmidt", "keys": keys}]));
    assert_eq!(bench.world.instances()[0].order.image, "r.io:5000/a/b@sha256:00");
}

/// Refused with 400, naming `field` and saying `words`; and nothing has come of it.
#[track_caller]
fn check_refused(bench: &Bench, key: &str, body: &Value, field: &str, words: &str) {
    bench.embedded.meter().start();
    let before = bench.world.calls();
    let answer = bench.send(submit(key, body));
    let text = answer.text();
    assert_eq!(answer.status, 400, "{body}: {text}");
    let problem = &answer.json()["detail"][0];
    assert_eq!((&problem["loc"][0], &problem["loc"][1]), (&json!("body"), &json!(field)), "{body}: {text}");
    assert!(problem["msg"].as_str().unwrap().contains(words), "{body}: {text}");
    assert_eq!(bench.effects(before), Vec::<String>::new(), "{body}");
}

#[test]
fn t_002_04_the_offer() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let offered = "offered are: g5.xlarge, g5.2xlarge";
    for (fields, field, words) in [
        (json!({"instance_type": "p5.47xlarge"}), "instance_type", "Instance type is unknown; offered are: g5.xlarge"),
        (json!({"instance_type": ""}), "instance_type", offered),
        (json!({"instance_type": "H100"}), "instance_type", "p5.48xlarge"),
        (
            json!({"instance_type": "p4d.24xlarge"}),
            "instance_type",
            "Instance type is not offered here; offered are: g5.xlarge",
        ),
        (json!({"gpu_count": 2}), "gpu_count", "g5.xlarge has 1 GPU(s): ask for 1 to 1"),
        (json!({"gpu_count": 0}), "gpu_count", "ask for 1 to 1"),
        (json!({"instance_type": "p5.48xlarge", "gpu_count": 9}), "gpu_count", "ask for 1 to 8"),
        // A machine of that type has eight, and no node here has more than four.
        (
            json!({"instance_type": "g5.48xlarge"}),
            "gpu_count",
            "No node here has more than 4 GPU(s) of type a10g: ask for at most 4",
        ),
        (json!({"disk_name": "data"}), "disk_name", "There is no such disk: give disk_size_gb to have it made"),
        (json!({"disk_name": "d", "disk_size_gb": 9}), "disk_size_gb", "A disk has from 10 to 10000 GB"),
        (json!({"disk_name": "d", "disk_size_gb": 10_001}), "disk_size_gb", "A disk has from 10 to 10000 GB"),
        (json!({"disk_size_gb": 100}), "disk_size_gb", "name it with disk_name"),
        (json!({"disk_name": "no.dots", "disk_size_gb": 100}), "disk_name", "1 to 63 letters, digits, hyphens"),
    ] {
        check_refused(&bench, &key, &but(&fields), field, words);
    }
    assert_eq!(bench.ok(&key, Ask::get("/v1/jobs"))["total"], 0);
}

#[test]
fn t_k21_durations_and_priorities() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    for hours in [json!(0), json!(-1), json!(0.99), json!(48.001), json!(49), json!(1e300), json!(1e-300)] {
        check_refused(
            &bench,
            &key,
            &but(&json!({"duration_hours": hours})),
            "duration_hours",
            "A job lasts from 1 to 48 hours",
        );
    }
    check_refused(&bench, &key, &but(&json!({"priority": 51})), "priority", "priority is from 0 to 50");
    for body in
        [json!({"duration_hours": 1}), json!({"duration_hours": 48}), json!({"priority": 50}), json!({"priority": 0})]
    {
        check(&bench, submit(&key, &but(&body)), 200, &submitted());
    }
}

#[test]
fn t_t15_texts_are_what_they_claim_to_be() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let options = format!("command=\"id\" {ED25519}");
    let many = vec![ED25519; 51];
    let long = "x".repeat(64 * 1024 + 1);
    for (fields, field, words) in [
        (json!({"image": "$(id)"}), "image", "an image is"),
        (json!({"image": "../../etc"}), "image", "an image is"),
        (json!({"image": ""}), "image", "an image is"),
        (json!({"image": "a\u{0}b"}), "image", "an image is"),
        (json!({"name": "a b"}), "name", "a name has 1 to 63"),
        (json!({"name": "-rf"}), "name", "a name has"),
        (json!({"github_user": "../x"}), "github_user", "a GitHub user name"),
        (json!({"github_user": "a--b"}), "github_user", "a GitHub user name"),
        (json!({"env_vars": {"1A": "x"}}), "env_vars", "an environment variable's name"),
        (json!({"env_vars": {"LD_PRELOAD": "x"}}), "env_vars", "reserved"),
        (json!({"env_vars": {"SLIPWAY_X": "x"}}), "env_vars", "reserved"),
        (json!({"env_vars": {"A": "x\u{0}"}}), "env_vars", "no NUL"),
        (json!({"env_vars": {"A": "x".repeat(32 * 1024)}}), "env_vars", "at most 32768 bytes"),
        (json!({"command": "a\u{0}"}), "command", "no NUL"),
        (json!({"command": long}), "command", "at most 65536 bytes"),
        (json!({"ssh_public_keys": [ED25519, "nonsense"]}), "ssh_public_keys", "not an SSH public key"),
        (json!({"ssh_public_keys": [options]}), "ssh_public_keys", "not an SSH public key"),
        (json!({"ssh_public_keys": [format!("{ED25519}\n{ED25519}")]}), "ssh_public_keys", "not an SSH public key"),
        (json!({"ssh_public_keys": many}), "ssh_public_keys", "At most 50 keys"),
    ] {
        check_refused(&bench, &key, &but(&fields), field, words);
    }
}

#[test]
fn t_002_21_refusals_in_the_references_words() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let ask = || Ask::post("/v1/jobs/submit").bearer(&key);
    let one = |kind: &str, loc: Value, msg: &str| json!({"type": kind, "loc": loc, "msg": msg});
    let with_input = |mut problem: Value, input: Value| {
        problem["input"] = input;
        json!({"detail": [problem]})
    };
    let missing = one("missing", json!(["body", "image"]), "Field required");
    // What may be a secret is not shown again: the command and the environment are left out of the input.
    let body = json!({"instance_type": "g5.xlarge", "command": "canary", "env_vars": {"A": "canary"}});
    check(&bench, ask().json(&body), 400, &with_input(missing, json!({"instance_type": "g5.xlarge"})));
    let extra = one("extra_forbidden", json!(["body", "tier"]), "Extra inputs are not permitted");
    check(&bench, ask().json(&but(&json!({"tier": "canary"}))), 400, &json!({"detail": [extra]}));
    let wrong = one("type_error", json!(["body", "gpu_count"]), "invalid type: string \"8\", expected u32");
    check(&bench, ask().json(&but(&json!({"gpu_count": "8"}))), 400, &with_input(wrong, json!("8")));
    let broken = one("json_invalid", json!(["body", 9]), "JSON decode error");
    check(&bench, ask().raw("application/json", "{\"image\":"), 400, &json!({"detail": [broken]}));
    for body in [json!({"command": 7}), json!({"env_vars": {"A": 12345}}), json!({"env_vars": "canary"})] {
        let text = bench.send(ask().json(&but(&body))).text();
        assert!(!text.contains("\"input\""), "{text}");
    }
}

#[test]
fn the_limit_of_live_jobs_is_409() {
    let bench = Bench::with(|settings| settings.policy.jobs_per_user = 2);
    let key = bench.login("jschmidt");
    let first = bench.submit(&key, &small());
    bench.submit(&key, &small());
    let words = json!({"detail": "Too many jobs wait and run at once: cancel one, or wait for one to end"});
    check(&bench, submit(&key, &small()), 409, &words);
    bench.submit(&bench.login("another"), &small());
    bench.ok(&key, Ask::post(format!("/v1/jobs/{first}/cancel")));
    bench.submit(&key, &small());
}
