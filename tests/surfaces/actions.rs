//! Actions upon jobs, in every state (002#7 to 002#11, T1, T2, T16, K21).

use domain::{names::GithubName, ssh::PublicKey};
use serde_json::{Value, json};

use super::check;
use crate::support::{
    drive::{Bench, Stage, report},
    wire::Ask,
};

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

/// Every action: how it is asked for, its name, its wording, and what it is called when the job does not run.
fn actions(id: &str) -> Vec<(Ask, &'static str, &'static str, &'static str)> {
    let at = |path: &str| format!("/v1/jobs/{id}/{path}");
    vec![
        (Ask::post(at("cancel")), "cancel", "Cancellation request submitted", ""),
        (
            Ask::post(at("extend")).json(&json!({"extension_hours": 2})),
            "extend",
            "Extension request submitted for 2 hours",
            "extend",
        ),
        (Ask::post(at("jupyter/enable")), "enable_jupyter", "Jupyter enable request submitted", "enabling Jupyter"),
        (Ask::post(at("jupyter/disable")), "disable_jupyter", "Jupyter disable request submitted", "disabling Jupyter"),
        (
            Ask::post(at("users")).json(&json!({"github_username": "jeanschmidt"})),
            "add_user",
            "Add user request submitted for GitHub user 'jeanschmidt'",
            "adding a user",
        ),
        (
            Ask::delete(at("users/jeanschmidt")),
            "remove_user",
            "Remove user request submitted for GitHub user 'jeanschmidt'",
            "removing a user",
        ),
    ]
}

#[test]
fn t_002_07_to_11_each_action_in_each_state() {
    for stage in Stage::ALL {
        let bench = Bench::new();
        let id = bench.job_at(stage, &bench.login("jschmidt"));
        let key = bench.login("jschmidt");
        let status = bench.job(&key, &id)["status"].as_str().unwrap().to_owned();
        let mut asked = actions(&id);
        // Someone has to be there to be removed, and cancelling ends the others: it comes last.
        asked.rotate_left(1);
        for (ask, action, words, needs) in asked {
            let accepted = json!({"job_id": id, "action": action, "status": "requested", "message": format!("{words} (message ID: <uuid>)")});
            let running = stage == Stage::Active;
            let live = running || matches!(stage, Stage::Queued | Stage::Placed | Stage::Booting);
            let before = bench.world.calls();
            bench.embedded.meter().start();
            let ask = ask.bearer(&key);
            if running || (action == "cancel" && live) {
                check(&bench, ask, 200, &accepted);
            } else {
                let over = if stage == Stage::Draining { "cancelled" } else { &status };
                let shown = if stage == Stage::Draining { "ending" } else { &status };
                let refused = format!("Job is {shown}: {needs} needs a running job");
                let refused = if action == "cancel" { format!("Job is already {over}") } else { refused };
                let answer = check(&bench, ask, 409, &json!({"detail": refused}));
                assert_eq!(answer.header("x-error-code"), "conflict");
                assert_eq!(bench.effects(before), Vec::<String>::new(), "{stage:?} {action}");
            }
        }
    }
}

#[test]
fn t_t01_t02_foreign_unknown_and_malformed_ids_are_one_404() {
    let bench = Bench::new();
    let owner = bench.login("jschmidt");
    let id = bench.job_at(Stage::Active, &owner);
    let (stranger, elsewhere) = (bench.login("stranger"), bench.key_in("another", "jschmidt"));
    let nil = "00000000-0000-0000-0000-000000000000";
    let before = bench.world.calls();
    bench.embedded.meter().start();
    let mut seen = std::collections::BTreeSet::new();
    for (target, key) in [(&*id, &stranger), (&id, &elsewhere), (nil, &owner), ("x", &owner), ("%00", &owner)] {
        for (ask, ..) in actions(target) {
            let answer = check(&bench, ask.bearer(key), 404, &json!({"detail": "Job not found"}));
            seen.insert((answer.body.clone(), answer.headers.len()));
        }
    }
    assert_eq!(seen.len(), 1, "byte for byte");
    assert_eq!(bench.effects(before), Vec::<String>::new());
}

#[test]
fn t_002_07_cancel() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let queued = bench.job_at(Stage::Queued, &key);
    bench.ok(&key, Ask::post(format!("/v1/jobs/{queued}/cancel")));
    assert_eq!(bench.job(&key, &queued)["status"], "cancelled", "what waits is over at once");
    let active = bench.job_at(Stage::Active, &key);
    bench.pass(100);
    bench.ok(&key, Ask::post(format!("/v1/jobs/{active}/cancel")).json(&json!({})));
    bench.end(&active);
    let job = bench.job(&key, &active);
    assert_eq!(job["status"], "cancelled");
    assert!(job["gpu_seconds"].as_u64().unwrap() >= 100, "{job}");
}

#[test]
fn t_k21_extensions() {
    let bench = Bench::new();
    let id = bench.job_at(Stage::Active, &bench.login("jschmidt"));
    let key = bench.login("jschmidt");
    let extend =
        |hours: Value| Ask::post(format!("/v1/jobs/{id}/extend")).bearer(&key).json(&json!({"extension_hours": hours}));
    let words = |left: u32| {
        let msg = format!(
            "A job runs for at most 48 hours in all, extensions included: at most {left} more can be asked for"
        );
        json!({"detail": [{"type": "value_error", "loc": ["body", "extension_hours"], "msg": msg}]})
    };
    check(&bench, extend(json!(47.5)), 400, &words(47));
    check(&bench, extend(json!(1000)), 400, &words(47));
    for bad in [json!(0), json!(-2), json!(1e300)] {
        let said = json!({"detail": [{
            "type": "value_error", "loc": ["body", "extension_hours"], "msg": "Give a positive number of hours",
            "input": bad.as_f64()
        }]});
        check(&bench, extend(bad), 400, &said);
    }
    let message = |number: &str| {
        let message = format!("Extension request submitted for {number} hours (message ID: <uuid>)");
        json!({"job_id": id, "action": "extend", "status": "requested", "message": message})
    };
    check(&bench, extend(json!(1.5)), 200, &message("1.5"));
    check(&bench, extend(json!(2.0)), 200, &message("2"));
    let job = bench.job(&key, &id);
    assert_eq!((&job["duration_hours"], &job["expires_at"]), (&json!(4.5), &json!("2026-01-20T22:30:00Z")));
    check(&bench, extend(json!(43.5)), 200, &message("43.5"));
    check(&bench, extend(json!(0.01)), 400, &words(0));
}

#[test]
fn t_i07_at_the_very_end_nothing_is_extended() {
    let bench = Bench::new();
    let id = bench.job_at(Stage::Active, &bench.login("jschmidt"));
    let end = bench.world.now().plus(std::time::Duration::from_secs(3600));
    bench.world.move_to(end);
    let ask = Ask::post(format!("/v1/jobs/{id}/extend"))
        .bearer(&bench.login("jschmidt"))
        .json(&json!({"extension_hours": 1}));
    check(&bench, ask, 409, &json!({"detail": "Job is ending: extend needs a running job"}));
}

#[test]
fn t_002_09_t_002_10_jupyter() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &crate::support::drive::small());
    bench.dispatch(crate::support::drive::A10G);
    let agent = bench.launch(&id);
    let ask = |what: &str| bench.ok(&key, Ask::post(format!("/v1/jobs/{id}/jupyter/{what}")));
    ask("enable");
    let told = agent.sync(&bench, &report("ready"))["desired"]["jupyter"].clone();
    let job = bench.job(&key, &id);
    assert_eq!((&job["jupyter_enabled"], &job["jupyter_token"]), (&json!(true), &told));
    assert_eq!(told.as_str().unwrap().len(), 48);
    ask("enable");
    assert_eq!(bench.job(&key, &id)["jupyter_token"], told, "asking again keeps the token that people use");
    ask("disable");
    assert_eq!(agent.sync(&bench, &report("ready"))["desired"]["jupyter"], json!(null));
    let job = bench.job(&key, &id);
    assert_eq!(
        (&job["jupyter_enabled"], &job["jupyter_url"], &job["jupyter_token"]),
        (&json!(false), &json!(null), &json!(null))
    );
}

#[test]
fn t_002_11_t_t16_users_come_and_go() {
    let bench = Bench::new();
    let key = bench.login("jschmidt");
    let name = |name: &str| GithubName::parse(name).unwrap();
    bench.world.publish(name("jeanschmidt"), vec![PublicKey::parse(ED25519).unwrap()]);
    let id = bench.submit(&key, &crate::support::drive::small());
    bench.dispatch(crate::support::drive::A10G);
    let agent = bench.launch(&id);
    let users = || agent.sync(&bench, &report("ready"))["desired"]["users"].clone();
    let add =
        |name: &str| bench.ok(&key, Ask::post(format!("/v1/jobs/{id}/users")).json(&json!({"github_username": name})));
    add("jeanschmidt");
    add("nobody-of-that-name");
    assert_eq!(users(), json!([]), "nobody comes in before their keys are there");
    bench.reconcile(&id);
    assert_eq!(users(), json!([{"name": "jeanschmidt", "keys": [ED25519]}]));
    let events = bench.ok(&key, Ask::get(format!("/v1/jobs/{id}/events"))).to_string();
    assert!(events.contains("GitHub user 'nobody-of-that-name' is unknown at GitHub"), "{events}");
    bench.ok(&key, Ask::delete(format!("/v1/jobs/{id}/users/jeanschmidt")));
    assert_eq!(users(), json!([]), "who is not named is out");
    let gone = json!({"detail": "User not found on this job"});
    for name in ["jeanschmidt", "never-there", "a--b", "%2e%2e", "%00"] {
        check(&bench, Ask::delete(format!("/v1/jobs/{id}/users/{name}")).bearer(&key), 404, &gone);
    }
}

#[test]
fn t_002_11_the_owner_stays_and_there_is_a_limit() {
    let bench = Bench::with(|settings| settings.policy.users_per_job = 2);
    let key = bench.login("jschmidt");
    let id = bench.submit(&key, &json!({"image": "a", "instance_type": "g5.xlarge", "github_user": "jeanschmidt"}));
    bench.dispatch(crate::support::drive::A10G);
    bench.launch(&id);
    let own = Ask::delete(format!("/v1/jobs/{id}/users/jeanschmidt")).bearer(&key);
    check(&bench, own, 409, &json!({"detail": "User 'jeanschmidt' owns this job and cannot be removed from it"}));
    let add =
        |name: &str| Ask::post(format!("/v1/jobs/{id}/users")).bearer(&key).json(&json!({"github_username": name}));
    assert_eq!(bench.send(add("second")).status, 200);
    check(&bench, add("third"), 409, &json!({"detail": "A job takes at most 2 users: remove one first"}));
    assert_eq!(bench.send(add("second")).status, 200, "adding somebody again fetches their keys anew");
}
