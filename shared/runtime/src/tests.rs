//! Events as AWS sends them, through the same decoding as on Lambda.

use std::sync::{Arc, Mutex};

use cloud::sim::World;
use domain::{message::Message, policy::MOST_RECEIVES};
use futures::executor::block_on;
use serde_json::{Value, json};
use store::{
    Plane,
    embedded::{Embedded, simulated},
};

use crate::worker::{Failure, batch};

fn plane() -> Plane {
    let world = World::new(1);
    simulated::plane(&world, simulated::store(&world, &Embedded::in_memory().unwrap()))
}

/// Which of a batch's messages come back, when those for pools called `bad` fail and those called `worse` panic; and what is given up, all
/// of them delivered for the `receives`th time.
fn check_at(receives: u32, queue: &str, bodies: &[&str], expected: &[usize], given_up: &[&str]) {
    let record = |(number, body): (usize, &&str)| {
        let body = match *body {
            "{" => "{".to_owned(),
            pool => json!({"kind": "doorbell", "pool": pool}).to_string(),
        };
        json!({
            "messageId": number.to_string(), "body": body, "eventSourceARN": format!("arn:aws:sqs:x:000000000000:{queue}"),
            "attributes": {"ApproximateReceiveCount": receives.to_string(), "SentTimestamp": "1768932000000"}
        })
    };
    let event = json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()});
    let work = |_: Plane, message: Message| async move {
        match &*message.group() {
            "bad" => Err(Failure::new("Test", "bad")),
            "worse" => panic!("as it was told to"),
            _ => Ok(()),
        }
    };
    let heard = Arc::new(Mutex::new(Vec::new()));
    let last = {
        let heard = Arc::clone(&heard);
        move |_: Plane, message: Message, error: Option<Failure>| {
            heard.lock().unwrap().push(format!("{} {}", message.group(), error.is_some()));
            std::future::ready(Err::<(), _>("what is given up may itself fail"))
        }
    };
    let answer = block_on(batch(Arc::new((work, last)), plane(), event)).unwrap();
    let failed = expected.iter().map(|number| json!({"itemIdentifier": number.to_string()})).collect::<Vec<_>>();
    assert_eq!(answer, json!({"batchItemFailures": failed}), "{queue} {bodies:?}");
    assert_eq!(*heard.lock().unwrap(), given_up, "{queue} {bodies:?} {receives}");
}

fn check(queue: &str, bodies: &[&str], expected: &[usize]) {
    check_at(1, queue, bodies, expected, &[]);
}

#[test]
fn of_a_batch_what_failed_comes_back() {
    check("slipway-doorbells.fifo", &["a", "b"], &[]);
    // Nothing overtakes what failed before it.
    check("slipway-doorbells.fifo", &["a", "bad", "b"], &[1, 2]);
    check("slipway-doorbells", &["bad", "a", "bad"], &[0, 2]);
    check("slipway-doorbells", &["worse", "a"], &[0]);
    check("slipway-doorbells", &["{", "a"], &[0]);
    // A message of another queue's is not worked on by whoever is not meant.
    check("slipway-reconciles", &["a"], &[0]);
}

#[test]
fn what_fails_for_the_last_time_is_given_up_and_comes_back_all_the_same() {
    for (receives, given_up) in [
        (1, [].as_slice()),
        (MOST_RECEIVES - 1, &[]),
        (MOST_RECEIVES, &["bad true", "worse false"]),
        (MOST_RECEIVES + 1, &["bad true", "worse false"]),
    ] {
        check_at(receives, "slipway-doorbells", &["bad", "a", "worse"], &[0, 2], given_up);
        // What cannot be read is about nothing that could be given up.
        check_at(receives, "slipway-doorbells", &["{"], &[0], &[]);
        check_at(receives, "slipway-reconciles", &["bad"], &[0], &[]);
    }
}

#[test]
fn what_is_no_batch_fails_as_a_whole() {
    let work = |_: Plane, _: Message| async { Ok::<(), Failure>(()) };
    let last = |_: Plane, _: Message, _: Option<Failure>| async { Ok::<(), Failure>(()) };
    let event = json!({"detail-type": "Scheduled Event"});
    let refused = block_on(batch(Arc::new((work, last)), plane(), event)).unwrap_err();
    assert_eq!(refused.error, "Queue.Event");
}

/// What a proxy event for `GET /health` is answered.
fn health(headers: &Value) -> (u16, String) {
    let event = json!({
        "resource": "/health", "path": "/health", "httpMethod": "GET", "headers": headers, "multiValueHeaders": {},
        "queryStringParameters": null, "multiValueQueryStringParameters": null, "pathParameters": null, "stageVariables": null,
        "requestContext": {
            "resourcePath": "/health", "path": "/prod/health", "httpMethod": "GET", "protocol": "HTTP/1.1", "stage": "prod",
            "accountId": "000000000000", "apiId": "slipway", "resourceId": "r", "requestId": "the gateway's", "identity": {"sourceIp": "192.0.2.1"}
        },
        "body": null, "isBase64Encoded": false
    });
    let request = lambda_http::request::from_str(&event.to_string()).unwrap();
    let surface =
        web::Surface::new("test", web::dialect::detail).page("/health", axum::routing::get(|| async { "well" }));
    let answered = block_on(crate::http::answer(plane(), Vec::new(), surface, request));
    let id = answered.headers()["x-request-id"].to_str().unwrap().to_owned();
    (answered.status().as_u16(), id)
}

#[test]
fn a_proxy_event_comes_in_by_the_front_door_only() {
    let good = json!({"Host": "x.execute-api.example", "x-slipway-origin": "the edge's own"});
    assert_eq!(health(&good), (200, "the gateway's".to_owned()));
    for headers in [json!({"Host": "x"}), json!({"Host": "x", "x-slipway-origin": "guessed"})] {
        assert_eq!(health(&headers).0, 403, "{headers}");
    }
}
