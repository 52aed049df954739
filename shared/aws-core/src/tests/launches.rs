//! What Step Functions is asked, and how it is understood.

use cloud::{Launches, PortError, TaskToken, launches::Launch};
use domain::{Secret, TenantId, Timestamp, WorkloadId};
use serde_json::json;

use super::sdk;
use crate::{
    StateMachine,
    replay::{Answer, Replay},
};

const ARN: &str = "arn:aws:states:eu-central-1:000000000000:stateMachine:slipway-launch";
const STARTED: &str = r#"{"executionArn":"arn:aws:states:eu-central-1:000000000000:execution:slipway-launch:x","startDate":1768933800.0}"#;

fn machine(replay: &Replay) -> StateMachine {
    StateMachine::new(sdk(replay).sfn(), ARN)
}

fn launch() -> Launch {
    Launch { tenant: TenantId::new("research"), workload: WorkloadId::new(Timestamp::from_seconds(1), &[1; 32]) }
}

fn token() -> TaskToken {
    TaskToken(Secret::new("AQB8AAAAKgAAAAMAAAAAAAAAAExample="))
}

/// What a call may ask.
#[derive(Clone, Copy, Debug)]
enum Call {
    Start,
    Complete,
    Fail,
}

async fn check(call: Call, answers: &[Answer], expected: Result<(), PortError>) {
    let replay = Replay::new(answers.iter().cloned());
    let machine = machine(&replay);
    let became = match call {
        Call::Start => machine.start(&launch()).await,
        Call::Complete => machine.complete(&token()).await,
        Call::Fail => machine.fail(&token(), "Workload.Ending", "it is ending").await,
    };
    assert_eq!(became, expected, "{call:?} {answers:?}");
    assert_eq!(replay.left(), 0);
}

#[tokio::test]
async fn a_launch_is_named_by_its_workload() {
    let replay = Replay::new([Answer::ok(STARTED)]);
    machine(&replay).start(&launch()).await.unwrap();
    let asked = replay.asked();
    assert_eq!(asked[0].header("x-amz-target"), "AWSStepFunctions.StartExecution");
    let expected = json!({
        "stateMachineArn": ARN, "name": launch().workload.to_string(),
        "input": serde_json::to_string(&launch()).unwrap()
    });
    assert_eq!(asked[0].json(), expected);
}

#[tokio::test]
async fn tokens_complete_and_fail() {
    let replay = Replay::new([Answer::ok("{}"), Answer::ok("{}")]);
    let machine = machine(&replay);
    machine.complete(&token()).await.unwrap();
    // Each letter is two bytes, so that the cut must fall between letters.
    machine.fail(&token(), &"é".repeat(200), &"é".repeat(20_000)).await.unwrap();
    let asked = replay.asked();
    assert_eq!(asked[0].header("x-amz-target"), "AWSStepFunctions.SendTaskSuccess");
    assert_eq!(asked[0].json(), json!({"taskToken": token().0.reveal(), "output": "{}"}));
    assert_eq!(asked[1].header("x-amz-target"), "AWSStepFunctions.SendTaskFailure");
    let expected = json!({"taskToken": token().0.reveal(), "error": "é".repeat(128), "cause": "é".repeat(16_384)});
    assert_eq!(asked[1].json(), expected);
}

#[tokio::test]
async fn what_was_done_before_is_no_error() {
    check(Call::Start, &[Answer::json_error(400, "ExecutionAlreadyExists")], Ok(())).await;
    for call in [Call::Complete, Call::Fail] {
        for code in ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"] {
            check(call, &[Answer::json_error(400, code)], Ok(())).await;
        }
        check(call, &[Answer::Timeout, Answer::json_error(400, "TaskTimedOut")], Ok(())).await;
    }
}

#[tokio::test]
async fn failures_are_told_apart() {
    for call in [Call::Start, Call::Complete, Call::Fail] {
        let denied = PortError::Unavailable("AccessDeniedException: recorded".into());
        check(call, &[Answer::json_error(400, "AccessDeniedException")], Err(denied)).await;
        let throttled = Answer::json_error(400, "ThrottlingException");
        check(call, &[throttled.clone(), throttled.clone(), throttled], Err(PortError::Throttled)).await;
        let silent = PortError::Unavailable("no answer in time".into());
        check(call, &[const { Answer::Timeout }; 3], Err(silent)).await;
    }
    check(Call::Start, &[Answer::json_error(400, "ExecutionLimitExceeded")], Err(PortError::Throttled)).await;
}
