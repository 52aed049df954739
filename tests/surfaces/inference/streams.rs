//! Streams: event by event, nothing lost, settled however they end.

use std::time::Duration;

use cloud::{Question, sim::Script};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use super::{ask, chat, served, used};

const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":200,"total_tokens":209}}"#;

fn event(number: usize) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"t{number}"}}}}]}}"#)
}

/// 200 events with a part of the answer each, what was used where that is asked for, and the end.
fn stream(question: &Question) -> Script {
    let asked = String::from_utf8(question.body.concat()).unwrap();
    let mut events = (0..200).map(event).collect::<Vec<_>>();
    if asked.contains(r#""include_usage":true"#) {
        events.push(USAGE.to_owned());
    }
    events.push("[DONE]".to_owned());
    Script::events(&events.iter().map(String::as_str).collect::<Vec<_>>(), Duration::ZERO)
}

fn frames(events: &[String]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

#[test]
fn every_event_arrives_and_what_was_used_is_known_whoever_asked_for_it() {
    for (options, has_usage, output) in [
        (json!(null), false, 200),
        (json!({"include_usage": true}), true, 200),
        (json!({"include_usage": false}), false, 100),
    ] {
        let (bench, key) = served(stream);
        let mut body = chat();
        body["stream"] = json!(true);
        if !options.is_null() {
            body["stream_options"] = options.clone();
        }
        let answer = bench.send(ask(&key, &body));
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
        assert_eq!(answer.header("x-accel-buffering"), "no");
        let usage = has_usage.then(|| USAGE.to_owned());
        let expected = (0..200).map(event).chain(usage).chain(["[DONE]".to_owned()]).collect::<Vec<_>>();
        assert_eq!(answer.text(), frames(&expected), "{options}");
        // Where the server does not say, each event counts as a token, up to what was reserved.
        assert_eq!(used(&bench, &key)["output_tokens"], output, "{options}");
    }
}

#[test]
fn a_caller_that_goes_away_pays_for_what_it_got() {
    // What is there at the same moment goes on in one piece.
    let (bench, key) = served(|question| Script { pause: Duration::from_millis(1), ..stream(question) });
    let mut body = chat();
    body["stream"] = json!(true);
    let (router, request) = (bench.router.clone(), ask(&key, &body).request());
    futures::executor::block_on(async {
        let mut body = router.oneshot(request).await.unwrap().into_body();
        for _ in 0..7 {
            body.frame().await.unwrap().unwrap();
        }
    });
    // Nobody was there to write it down; whoever asks next does.
    futures::executor::block_on(bench.plane.write_records());
    let total = used(&bench, &key);
    assert_eq!((&total["requests"], &total["output_tokens"]), (&json!(1), &json!(7)));
    let records = futures::executor::block_on(
        bench.plane.store.records(&domain::TenantId::new(super::TENANT), domain::metering::Hour::of(bench.world.now())),
    );
    assert_eq!(records.unwrap().iter().map(|record| record.status).collect::<Vec<_>>(), [499]);
}

#[test]
fn a_stream_that_breaks_says_so_and_is_settled() {
    let (bench, key) = served(|_| Script { breaks: true, ..Script::events(&[&event(0), &event(1)], Duration::ZERO) });
    let mut body = chat();
    body["stream"] = json!(true);
    let answer = bench.send(ask(&key, &body));
    assert!(answer.text().starts_with(&frames(&[event(0), event(1)])), "{}", answer.text());
    assert!(answer.text().contains(r#""code":"model_server_failed""#) && !answer.text().contains("[DONE]"));
    assert_eq!(used(&bench, &key)["output_tokens"], 2);
}
