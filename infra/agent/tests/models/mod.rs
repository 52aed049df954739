//! A model's server under the agent, as real processes: made ready, loaded, reached from outside, idle, killed, and started again.
//!
//! The server is `tests/models/server.py`, which needs Python's standard library alone.

use domain::{
    agent::{MainProcess, ModelServer, Progress, Room, Serve},
    model::ModelKind,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::stage::{self, Stage, Told};

const NAME: &str = "meta-llama/Llama-3.1-8B-Instruct";
/// The script, where it is seen in every sandbox.
const SERVER: &str = include_str!("../../../../tests/models/server.py");

fn serve() -> Serve {
    Serve { served_name: NAME.into(), source: NAME.into(), kind: ModelKind::Chat, context_length: 4096, gpus: 1 }
}

/// The server, with what else it is told.
fn server(more: &[&str]) -> ModelServer {
    let words = ["python3", "-c", SERVER, "--port={port}", "--model", "{model}", "--context-length={context_length}"];
    ModelServer::Command { argv: words.iter().chain(more).map(|word| (*word).to_owned()).collect() }
}

/// Asks the model something at its endpoint, until it answers.
async fn asked(stage: &Stage) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"model": NAME, "messages": [{"role": "user", "content": "What is the capital of France?"}]});
    loop {
        let asked = client.post(format!("{}/v1/chat/completions", stage.endpoint())).body(body.to_string());
        match asked.send().await {
            Ok(answer) if answer.status() == 200 => {
                return serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            }
            // It is not there, or not yet.
            Ok(_) | Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Each phase that was reported, in order, with the percents of its notes.
fn phases(stage: &Stage) -> Vec<(Progress, Vec<u8>)> {
    let mut phases: Vec<(Progress, Vec<u8>)> = Vec::new();
    let mut heard = 0;
    for report in stage.told().reports() {
        if phases.last().is_none_or(|(progress, _percents)| *progress != report.progress) {
            phases.push((report.progress, Vec::new()));
        }
        for note in report.notes.iter().filter(|note| note.number > heard) {
            phases.last_mut().unwrap().1.extend(note.percent);
        }
        heard = report.notes.last().map_or(heard, |note| note.number);
    }
    phases
}

/// The process of the server that was started last, by what it says itself.
fn process(stage: &Stage) -> Option<i32> {
    let log = stage.told().log();
    log.lines().rev().find_map(|line| line.strip_prefix(&format!("serves {NAME} as process "))?.parse().ok())
}

#[tokio::test]
async fn a_model_is_loaded_and_reached_in_every_room() {
    let mut rooms = vec![(Room::Sandbox, "process-group"), (Room::Container, ""), (Room::Pod, "")];
    if stage::has_bubblewrap() {
        rooms.push((Room::Sandbox, "bubblewrap"));
    }
    for (room, sandbox) in rooms {
        let mut stage = Stage::serving(room, serve(), server(&[])).await;
        let (boot, socket) = (stage.boot(), stage.socket());
        if room == Room::Pod {
            stage.start("inner", &["inner", "--socket", &socket], &[]);
            stage.start("outer", &["outer", "--boot", &boot, "--socket", &socket], &[]);
        } else {
            stage.start("outer", &["outer", "--boot", &boot], &[("SLIPWAY_SANDBOX", sandbox)]);
        }
        stage.until("it is ready", |told| told.progress() == Some(Progress::Ready)).await;
        assert_eq!(stage.told().main(), Some(MainProcess::Running), "{room:?}");
        let phases = phases(&stage);
        let order: Vec<Progress> = phases.iter().map(|(progress, _percents)| *progress).collect();
        assert_eq!(order, [Progress::Installing, Progress::ModelLoading, Progress::HealthCheck, Progress::Ready]);
        let loaded = &phases[1].1;
        assert!(loaded.len() > 1 && loaded.is_sorted(), "{phases:?}");
        assert_eq!(asked(&stage).await["model"], NAME, "{room:?}");
        let run = stage.asked("docker").into_iter().find(|words| words[0] == "run").unwrap_or_default();
        let published = format!("127.0.0.1:{0}:{0}/tcp", stage.endpoint().rsplit(':').next().unwrap());
        assert_eq!(run.contains(&published), room == Room::Container, "{run:?}");
        stage.stop();
        assert!(stage.ended("outer").await.success(), "{room:?}");
        assert_eq!(stage.told().main(), Some(MainProcess::Exited { code: 0 }), "{room:?}: it was asked to end");
    }
}

#[tokio::test]
async fn a_model_is_idle_until_it_is_asked_and_served_again_when_its_server_dies() {
    let mut stage = Stage::serving(Room::Sandbox, serve(), server(&[])).await;
    stage.start("outer", &["outer", "--boot", &stage.boot()], &[("SLIPWAY_SANDBOX", "process-group")]);
    stage.until("it is ready", |told| told.progress() == Some(Progress::Ready)).await;

    stage.until("nothing happens", |told| told.idle_seconds() >= Some(2)).await;
    let answer = asked(&stage).await;
    assert_eq!(answer["model"], NAME);
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().starts_with("Paris"), "{answer}");
    stage.until("something happened", |told| told.idle_seconds() == Some(0)).await;
    assert!(!stage.told().log().contains("capital of France"), "what is asked is nobody's to read");

    let first = process(&stage).unwrap();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    stage.until("it is started again", |_told| process(&stage).is_some_and(|now| now != first)).await;
    let noted =
        |told: &Told, words: &str| told.reports().flat_map(|report| report.notes).any(|note| note.text.contains(words));
    stage.until("its end is told", |told| noted(told, "ended with exit code 137; it is started again in 1 s")).await;
    // The new one loads first, and its callers are turned away for so long.
    stage.until("it has loaded", |told| told.log().matches("loading weights: 100%").count() == 2).await;
    assert_eq!(asked(&stage).await["model"], NAME);
    assert_eq!(stage.told().progress(), Some(Progress::Ready), "no phase comes again");

    // One that waits to be started again is not in the way of the end.
    kill(Pid::from_raw(process(&stage).unwrap()), Signal::SIGKILL).unwrap();
    stage.until("its second end is told", |told| noted(told, "exit code 137; it is started again in 4 s")).await;
    stage.stop();
    assert!(stage.ended("outer").await.success());
    let told = stage.told();
    assert_eq!(told.main(), Some(MainProcess::Exited { code: 137 }));
    assert_eq!(told.said_bye().as_deref(), Some("It was told to stop."));
}

#[tokio::test]
async fn a_server_that_cannot_be_had_fails_the_launch_with_its_words() {
    let named = |name: &str| Serve { served_name: name.into(), ..serve() };
    let missing = ModelServer::Command { argv: vec!["no-such-server".into()] };
    let weights = ModelServer::LlamaCpp { gguf: Some("/no/such.gguf".into()) };
    for (case, serve, server, code, reason) in [
        (
            "dies while loading",
            serve(),
            server(&["--fails", "the weights are made of straw"]),
            Some(3),
            "it ended with exit code 3 while it was loading: serves",
        ),
        ("dies while loading", serve(), server(&["--fails", "of straw"]), Some(3), "of straw"),
        ("says nothing", serve(), ModelServer::Command { argv: vec!["false".into()] }, Some(1), "it said nothing"),
        ("is not there", serve(), missing, None, "no-such-server is not on the PATH"),
        ("is an option", named("--privileged"), server(&[]), None, "\"--privileged\" is no name of a model"),
        ("has no weights", serve(), weights, None, "/no/such.gguf"),
    ] {
        let mut stage = Stage::serving(Room::Sandbox, serve, server).await;
        stage.start("outer", &["outer", "--boot", &stage.boot()], &[("SLIPWAY_SANDBOX", "process-group")]);
        assert!(!stage.ended("outer").await.success(), "{case}");
        let told = stage.told();
        let said = told.said_bye().unwrap();
        assert!(said.contains(reason), "{case}: {said}");
        let exited = code.map_or(MainProcess::Absent, |code| MainProcess::Exited { code });
        assert_eq!(told.main(), Some(exited), "{case}");
        assert!(told.progress() < Some(Progress::HealthCheck), "{case}");
    }
}
