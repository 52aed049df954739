//! What SQS is asked, and how it is understood.

use std::{collections::BTreeMap, sync::Arc};

use cloud::{PortError, Queue};
use domain::{
    PoolId, TenantId, Timestamp, WorkloadId,
    message::{Message, QueueName},
};
use serde_json::json;

use super::{TestIds, sdk};
use crate::{
    SqsQueue,
    replay::{Answer, Replay},
};

const DOORBELLS: &str = "https://sqs.eu-central-1.amazonaws.com/000000000000/doorbells.fifo";
const RECONCILES: &str = "https://sqs.eu-central-1.amazonaws.com/000000000000/reconciles";
/// The MD5 of the doorbell's JSON does not matter: the SDK checks the one that SQS sends, where it sends one.
const SENT: &str = r#"{"MessageId":"0198c7a2-5b1e-7c3a-9d2f-000000000003"}"#;

fn queue(replay: &Replay) -> SqsQueue {
    let urls = [(QueueName::Doorbells, DOORBELLS), (QueueName::Reconciles, RECONCILES)];
    let urls = urls.map(|(name, url)| (name, url.to_owned()));
    SqsQueue::new(sdk(replay).sqs(), BTreeMap::from(urls), Arc::new(TestIds::default()))
}

fn doorbell() -> Message {
    Message::Doorbell { pool: PoolId::new("aws/h100") }
}

#[tokio::test]
async fn a_doorbell_has_a_group_and_an_id_of_its_own() {
    let replay = Replay::new([Answer::ok(SENT), Answer::ok(SENT)]);
    let queue = queue(&replay);
    queue.send(&doorbell()).await.unwrap();
    queue.send(&doorbell()).await.unwrap();
    let asked = replay.asked();
    assert_eq!(asked.len(), 2);
    for (asked, id) in asked.iter().zip(["00", "01"]) {
        assert_eq!(asked.header("x-amz-target"), "AmazonSQS.SendMessage");
        let expected = json!({
            "QueueUrl": DOORBELLS, "MessageBody": r#"{"kind":"doorbell","pool":"aws/h100"}"#,
            "MessageGroupId": "aws/h100", "MessageDeduplicationId": id.repeat(32)
        });
        assert_eq!(asked.json(), expected);
    }
}

#[tokio::test]
async fn a_reconcile_is_fair_and_not_deduplicated() {
    let replay = Replay::new([Answer::ok(SENT)]);
    let workload = WorkloadId::new(Timestamp::from_seconds(1), &[1; 32]);
    let message = Message::Reconcile { tenant: TenantId::new("research"), workload };
    queue(&replay).send(&message).await.unwrap();
    let expected = json!({
        "QueueUrl": RECONCILES, "MessageBody": serde_json::to_string(&message).unwrap(), "MessageGroupId": "research"
    });
    assert_eq!(replay.asked()[0].json(), expected);
}

#[tokio::test]
async fn a_retry_of_the_sdk_keeps_the_id() {
    let replay = Replay::new([Answer::Timeout, Answer::json_error(503, "ServiceUnavailable"), Answer::ok(SENT)]);
    queue(&replay).send(&doorbell()).await.unwrap();
    let ids = replay.asked().iter().map(|asked| asked.json()["MessageDeduplicationId"].clone()).collect::<Vec<_>>();
    assert_eq!(ids, vec![json!("00".repeat(32)); 3]);
}

async fn check(answers: &[Answer], expected: PortError) {
    let replay = Replay::new(answers.iter().cloned());
    assert_eq!(queue(&replay).send(&doorbell()).await, Err(expected), "{answers:?}");
    assert_eq!(replay.left(), 0);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let unavailable = |why: &str| PortError::Unavailable(why.into());
    let throttled = Answer::json_error(400, "com.amazonaws.sqs#RequestThrottled");
    check(&[throttled.clone(), throttled.clone(), throttled], PortError::Throttled).await;
    check(&[const { Answer::Timeout }; 3], unavailable("no answer in time")).await;
    check(&[const { Answer::Unreachable }; 3], unavailable("no connection")).await;
    check(
        &[Answer::json_error(400, "com.amazonaws.sqs#QueueDoesNotExist")],
        unavailable("QueueDoesNotExist: recorded"),
    )
    .await;
    check(&[Answer::json_error(400, "AccessDeniedException")], unavailable("AccessDeniedException: recorded")).await;
}

#[tokio::test]
async fn a_queue_without_a_url_is_said_so() {
    let queue = SqsQueue::new(sdk(&Replay::default()).sqs(), BTreeMap::new(), Arc::new(TestIds::default()));
    let expected = PortError::Unavailable("no URL is configured for the queue of doorbells".into());
    assert_eq!(queue.send(&doorbell()).await, Err(expected));
    assert!(!queue.healthy().await, "nothing can be handed over");
}

#[tokio::test]
async fn health_is_each_queue_answering_once() {
    let attributes = || Answer::ok(r#"{"Attributes":{"QueueArn":"arn:aws:sqs:eu-central-1:000000000000:x"}}"#);
    for (answers, expected) in [
        ([attributes(), attributes()], true),
        ([attributes(), Answer::Timeout], false),
        ([Answer::json_error(503, "ServiceUnavailable"), attributes()], false),
    ] {
        let replay = Replay::new(answers);
        assert_eq!(queue(&replay).healthy().await, expected);
        let asked = replay.asked();
        assert_eq!(asked.len(), 2, "a health check is not retried");
        assert_eq!(asked[0].header("x-amz-target"), "AmazonSQS.GetQueueAttributes");
        assert_eq!(asked[0].json(), json!({"QueueUrl": DOORBELLS, "AttributeNames": ["QueueArn"]}));
    }
}
