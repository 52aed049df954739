//! `events/`: one sample event for each operation, as API Gateway's REST proxy sends it, and one for each source of a worker's events.
//! They are made from the document's examples, and each is replayed.

use std::{collections::BTreeMap, fs, iter::successors};

use domain::{PoolId, TenantId, UserName, message::Message};
use serde_json::{Value, json};

use crate::support::{
    bless,
    drive::{A10G, Stage, small},
    operations::{Caller, Operation, SAMPLE_JOB, Scene, fill, operations, pages_operation, samples},
    wire::Ask,
};

/// Stands in an event where a key of a person or an agent does.
const USER_KEY: &str = "swk_PUT_YOUR_KEY_HERE";
const TENANT_KEY: &str = "clsk_live_PUT_THE_TENANTS_KEY_HERE";
const ADMIN_TOKEN: &str = "PUT_THE_ADMIN_TOKEN_HERE";
const SERVICE_TOKEN: &str = "PUT_THE_SERVICE_TOKEN_HERE";
const AGENT_KEY: &str = "sws_PUT_THE_AGENTS_SESSION_HERE";
const AGENT_TOKEN: &str = "swe_PUT_THE_AGENTS_ONE_TIME_TOKEN_HERE";
/// The moment of every event.
const AT: &str = "2026-01-20T18:00:00Z";

/// A REST API's proxy event, version 1.0 (API Gateway developer guide, "Input format of a Lambda function for proxy integration").
fn proxy(operation: &Operation) -> Value {
    let whole = fill(operation, &samples());
    let (path, query) = whole.split_once('?').unwrap_or((&whole, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('=')).collect::<BTreeMap<_, _>>();
    let queries = query.iter().map(|(name, value)| (*name, vec![*value])).collect::<BTreeMap<_, _>>();
    let mut headers =
        BTreeMap::from([("Host", "localhost:8000".to_owned()), ("Accept", "application/json".to_owned())]);
    match operation.caller {
        Caller::Public => {}
        Caller::User => drop(headers.insert("Authorization", format!("Bearer {USER_KEY}"))),
        Caller::Tenant => drop(headers.insert("Authorization", format!("Bearer {TENANT_KEY}"))),
        Caller::Admin => drop(headers.insert("X-Admin-Token", ADMIN_TOKEN.to_owned())),
        Caller::Service => drop(headers.insert("Authorization", format!("Bearer {SERVICE_TOKEN}"))),
        Caller::Agent => {
            let key = if operation.enrolls() { AGENT_TOKEN } else { AGENT_KEY };
            headers.insert("Authorization", format!("Bearer {key}"));
        }
    }
    if operation.example.is_some() {
        headers.insert("Content-Type", "application/json".to_owned());
    }
    let lists = headers.iter().map(|(name, value)| (*name, vec![value])).collect::<BTreeMap<_, _>>();
    let named = |part: &str| part.strip_prefix('{')?.strip_suffix('}').map(str::to_owned);
    let filled = operation.path.split('/').zip(path.split('/'));
    let parameters = filled.filter_map(|(part, value)| Some((named(part)?, value))).collect::<BTreeMap<_, _>>();
    json!({
        "resource": operation.path,
        "path": path,
        "httpMethod": operation.method.as_str(),
        "headers": headers,
        "multiValueHeaders": lists,
        "queryStringParameters": if query.is_empty() { Value::Null } else { json!(query) },
        "multiValueQueryStringParameters": if queries.is_empty() { Value::Null } else { json!(queries) },
        "pathParameters": if parameters.is_empty() { Value::Null } else { json!(parameters) },
        "stageVariables": null,
        "requestContext": {
            "resourcePath": operation.path, "path": path, "httpMethod": operation.method.as_str(), "operationName": operation.pascal(),
            "protocol": "HTTP/1.1", "stage": "prod", "accountId": "000000000000", "apiId": "slipway",
            "requestId": "0198c7a2-5b1e-7c3a-9d2f-000000000001", "requestTimeEpoch": 1_768_932_000_000_u64,
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl/8"}
        },
        "body": operation.example.as_ref().map(Value::to_string),
        "isBase64Encoded": false
    })
}

/// What SQS hands a function: a batch of records, each with a message as its body.
fn queued(message: &Message) -> Value {
    let fifo = message.queue().is_fifo();
    let queue = format!("slipway-{}{}", message.queue().name(), if fifo { ".fifo" } else { "" });
    let mut attributes = json!({
        "ApproximateReceiveCount": "1", "SentTimestamp": "1768932000000", "SenderId": "AIDAEXAMPLE",
        "ApproximateFirstReceiveTimestamp": "1768932000001", "MessageGroupId": message.group()
    });
    if fifo {
        attributes["MessageDeduplicationId"] = json!("0198c7a2-5b1e-7c3a-9d2f-000000000002");
        attributes["SequenceNumber"] = json!("18849496460467696128");
    }
    json!({"Records": [{
        "messageId": "0198c7a2-5b1e-7c3a-9d2f-000000000003", "receiptHandle": "handle",
        "body": serde_json::to_string(message).expect("JSON"), "attributes": attributes, "messageAttributes": {},
        "md5OfBody": "", "eventSource": "aws:sqs", "eventSourceARN": format!("arn:aws:sqs:eu-central-1:000000000000:{queue}"),
        "awsRegion": "eu-central-1"
    }]})
}

/// A sample of each kind of message, one after the other: a new kind does not compile before it has one.
fn sample_after(message: Option<&Message>) -> Option<Message> {
    let reconcile =
        || Message::Reconcile { tenant: TenantId::new("default"), workload: SAMPLE_JOB.parse().expect("an id") };
    match message {
        None => Some(Message::Doorbell { pool: PoolId::new(A10G) }),
        Some(Message::Doorbell { .. }) => Some(reconcile()),
        Some(Message::Reconcile { .. }) => Some(Message::Disk {
            tenant: TenantId::new("default"),
            owner: UserName::new("ann"),
            disk: SAMPLE_JOB.parse().expect("an id"),
        }),
        Some(Message::Disk { .. }) => None,
    }
}

/// The name of the function that takes a message.
fn taker(message: &Message) -> &'static str {
    match message {
        Message::Doorbell { .. } => "Dispatcher",
        Message::Reconcile { .. } => "Reconciler",
        Message::Disk { .. } => "DiskWorker",
    }
}

fn workers() -> BTreeMap<String, Value> {
    let messages = successors(sample_after(None), |message| sample_after(Some(message)));
    let mut events = messages.map(|message| (taker(&message).to_owned(), queued(&message))).collect::<BTreeMap<_, _>>();
    let schedule = json!({
        "version": "0", "id": "0198c7a2-5b1e-7c3a-9d2f-000000000004", "detail-type": "Scheduled Event", "source": "aws.scheduler",
        "account": "000000000000", "time": AT, "region": "eu-central-1",
        "resources": ["arn:aws:scheduler:eu-central-1:000000000000:schedule/default/slipway-sweep"], "detail": "{}"
    });
    for clock in ["DiskOrphans", "DiskSweep", "Meters", "Nodes", "Orphans", "Tenants"] {
        events.insert(clock.to_owned(), schedule.clone());
    }
    events.insert("Sweeper".to_owned(), schedule);
    for handler in launcher::HANDLERS {
        let mut input = json!({"tenant": "default", "workload": SAMPLE_JOB});
        match handler {
            "AwaitBoot" | "AwaitReady" => input["token"] = json!("AQCEAAAAKgAAAAMAAAAAAAAAAexample"),
            "Undo" => input["error"] = json!({"Error": "Fleet.Refused", "Cause": "no such image"}),
            _ => {}
        }
        events.insert(format!("Launch{handler}"), input);
    }
    events
}

/// Every event, by its file's name.
pub(crate) fn generated() -> BTreeMap<String, Value> {
    let mut events = workers();
    let asked = operations().into_iter().chain([pages_operation()]);
    events.extend(asked.map(|operation| (operation.pascal(), proxy(&operation))));
    events
}

#[test]
fn the_committed_events_are_the_codes() {
    let events = generated();
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON") + "\n";
    let wrong =
        events.iter().filter_map(|(name, event)| bless::same(&format!("events/{name}.json"), &pretty(event)).err());
    let mut wrong = wrong.collect::<Vec<_>>();
    for file in fs::read_dir(bless::root().join("events")).expect("events/") {
        let name = file.expect("a file").file_name().into_string().expect("a name");
        if !name.strip_suffix(".json").is_some_and(|name| events.contains_key(name)) {
            wrong.push(format!("events/{name} belongs to no operation and no worker: remove it"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A committed event; while they are being written by another test, the one that will be.
fn read(name: &str) -> Value {
    if bless::wanted() {
        return generated()[name].clone();
    }
    let path = bless::root().join(format!("events/{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("events/{name}.json: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("events/{name}.json: {error}"))
}

/// The request in a proxy event, with what is real in place of what stands for it.
fn unpacked(scene: &Scene, operation: &Operation, event: &Value) -> Ask {
    scene.serve_for(operation);
    let real = |text: &str| {
        samples().iter().fold(text.to_owned(), |text, (name, sample)| text.replace(sample, &scene.own[name]))
    };
    let query = event["queryStringParameters"].as_object().into_iter().flatten();
    let query = query.map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect::<Vec<_>>().join("&");
    let path = [event["path"].as_str().unwrap(), &query].join(if query.is_empty() { "" } else { "?" });
    let mut ask = Ask::new(event["httpMethod"].as_str().unwrap().parse().unwrap(), real(&path));
    for (name, value) in event["headers"].as_object().unwrap() {
        let key = scene.key_for(operation).unwrap_or_default();
        let stands = [USER_KEY, TENANT_KEY, ADMIN_TOKEN, SERVICE_TOKEN, AGENT_KEY, AGENT_TOKEN];
        let value = stands.into_iter().fold(value.as_str().unwrap().to_owned(), |value, it| value.replace(it, key));
        ask = ask.with(&name.to_lowercase(), &value);
    }
    if let Some(body) = event["body"].as_str() {
        ask.body = body.to_owned().into();
    }
    ask
}

#[test]
fn each_operations_event_is_answered() {
    for operation in operations().into_iter().chain([pages_operation()]) {
        let scene = Scene::new();
        let answer = scene.bench.send(unpacked(&scene, &operation, &read(&operation.pascal())));
        assert_eq!(answer.status, operation.good(), "events/{}.json: {}", operation.pascal(), answer.text());
    }
}

/// The message in an SQS event.
fn message_in(event: &Value) -> Message {
    serde_json::from_str(event["Records"][0]["body"].as_str().expect("a body")).expect("a message")
}

#[test]
fn the_workers_events_are_worked_on() {
    let scene = Scene::new();
    let bench = &scene.bench;
    let waiting = bench.submit(&scene.key, &small());
    let Message::Doorbell { pool } = message_in(&read("Dispatcher")) else { panic!("a doorbell") };
    bench.dispatch(pool.as_str());
    assert_eq!(bench.job(&scene.key, &waiting)["status"], "preparing");
    let draining = bench.job_at(Stage::Draining, &scene.key);
    let Message::Reconcile { tenant, .. } = message_in(&read("Reconciler")) else { panic!("a reconciliation") };
    assert_eq!(tenant.as_str(), crate::support::drive::TENANT);
    bench.end(&draining);
    assert_eq!(bench.job(&scene.key, &draining)["status"], "cancelled");
    assert_eq!(read("Sweeper")["detail-type"], "Scheduled Event");
    bench.sweep();
}

#[test]
fn the_launch_steps_events_are_taken() {
    for handler in launcher::HANDLERS {
        let scene = Scene::new();
        let bench = &scene.bench;
        let id = bench.submit(&scene.key, &small());
        bench.dispatch(A10G);
        let mut event = read(&format!("Launch{handler}"));
        event["workload"] = json!(id);
        if handler == "Activate" {
            let agent = bench.enroll(&bench.provision(&id));
            agent.sync(bench, &crate::support::drive::report("ready"));
        }
        let done = futures::executor::block_on(launcher::step(&bench.plane, handler, event));
        assert!(done.is_ok(), "events/Launch{handler}.json: {done:?}");
    }
}
