//! Documents that are refused, each with its message: the real one with one thing changed.

use serde_json::{Value, json};

use super::*;

/// Changes one place of the real document (`null` with `REMOVE` takes it away) and compares the refusal.
#[track_caller]
fn check(pointer: &str, value: Value, expected: &str) {
    let mut document: Value = serde_json::from_str(LAUNCH).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    if value == json!(REMOVE) {
        parent.as_object_mut().unwrap().shift_remove(name).unwrap();
    } else if let Some(list) = parent.as_array_mut() {
        list.insert(name.parse().unwrap(), value);
    } else {
        parent[name] = value;
    }
    let refusal = Machine::parse(&document.to_string()).map(|_machine| ()).unwrap_err();
    assert_eq!(refusal.to_string(), expected, "{pointer}");
}

/// Stands for taking a field away.
const REMOVE: &str = "(remove)";

#[test]
fn fields_outside_the_subset() {
    let teach = "remove this field, or teach infra/local/src/machine it";
    let task = "a Task may have Type, Comment, Resource, Parameters, TimeoutSeconds, HeartbeatSeconds, Retry, Catch, ResultPath, Next here";
    for (pointer, value, expected) in [
        (
            "/QueryLanguage",
            json!("JSONata"),
            format!("$.QueryLanguage: a document may have Comment, StartAt, TimeoutSeconds, States here: {teach}"),
        ),
        ("/States/Undo/End", json!(true), format!("$.States.Undo.End: {task}: {teach}")),
        ("/States/Undo/InputPath", json!("$.a"), format!("$.States.Undo.InputPath: {task}: {teach}")),
        ("/States/Undo/OutputPath", json!("$.a"), format!("$.States.Undo.OutputPath: {task}: {teach}")),
        ("/States/Undo/ResultSelector", json!({}), format!("$.States.Undo.ResultSelector: {task}: {teach}")),
        ("/States/Undo/TimeoutSecondsPath", json!("$.a"), format!("$.States.Undo.TimeoutSecondsPath: {task}: {teach}")),
    ] {
        check(pointer, value, &expected);
    }
}

#[test]
fn fields_outside_the_subset_in_other_places() {
    let teach = "remove this field, or teach infra/local/src/machine it";
    for (pointer, value, expected) in [
        (
            "/States/Launched/OutputPath",
            json!("$.a"),
            format!("$.States.Launched.OutputPath: a Succeed may have Type, Comment here: {teach}"),
        ),
        (
            "/States/LaunchFailed/CausePath",
            json!("$.a"),
            format!("$.States.LaunchFailed.CausePath: a Fail may have Type, Comment, Error, Cause here: {teach}"),
        ),
        (
            "/States/WaitForCapacity/Timestamp",
            json!("now"),
            format!("$.States.WaitForCapacity.Timestamp: a Wait may have Type, Comment, Seconds, Next here: {teach}"),
        ),
        (
            "/States/IsProvisioned/OutputPath",
            json!("$"),
            format!(
                "$.States.IsProvisioned.OutputPath: a Choice may have Type, Comment, Choices, Default here: {teach}"
            ),
        ),
        (
            "/States/IsProvisioned/Choices/0/Not",
            json!({}),
            format!(
                "$.States.IsProvisioned.Choices[0].Not: a rule may have Comment, Variable, BooleanEquals, Next here: {teach}"
            ),
        ),
        (
            "/States/Undo/Retry/0/JitterStrategy",
            json!("FULL"),
            format!(
                "$.States.Undo.Retry[0].JitterStrategy: a retrier may have Comment, ErrorEquals, IntervalSeconds, MaxAttempts, BackoffRate, MaxDelaySeconds here: {teach}"
            ),
        ),
        (
            "/States/Activate/Catch/0/Assign",
            json!({}),
            format!(
                "$.States.Activate.Catch[0].Assign: a catcher may have Comment, ErrorEquals, ResultPath, Next here: {teach}"
            ),
        ),
        (
            "/States/AwaitBoot/Parameters/Qualifier",
            json!("1"),
            format!(
                "$.States.AwaitBoot.Parameters.Qualifier: a call with a token may have FunctionName, Payload here: {teach}"
            ),
        ),
    ] {
        check(pointer, value, &expected);
    }
}

#[test]
fn values_outside_the_subset() {
    let whole = "this must be a whole number from 1 to 99999999";
    let paths =
        "is not one of $, $.a.b, $$.Task.Token, $$.Execution.Name: use those, or teach infra/local/src/machine it";
    let resource = "is neither a \"${Name}\" placeholder for a function nor \"arn:aws:states:::lambda:invoke.waitForTaskToken\": use one of those";
    for (pointer, value, expected) in [
        ("/States", json!([]), "$.States: this must be an object".to_owned()),
        ("/States/Undo/Type", json!("Map"), "$.States.Undo.Type: \"Map\" is not one of Task, Choice, Wait, Succeed, Fail: use those, or teach infra/local/src/machine it".to_owned()),
        ("/States/Undo/Type", json!(1), "$.States.Undo.Type: this must be a string".to_owned()),
        ("/States/Undo/Resource", json!("arn:aws:lambda:eu-west-1:1:function:undo"), format!("$.States.Undo.Resource: \"arn:aws:lambda:eu-west-1:1:function:undo\" {resource}")),
        ("/States/Undo/Resource", json!("${Un-do}"), format!("$.States.Undo.Resource: \"${{Un-do}}\" {resource}")),
        ("/States/Undo/TimeoutSeconds", json!(0), format!("$.States.Undo.TimeoutSeconds: {whole}")),
        ("/States/Undo/TimeoutSeconds", json!(1.5), format!("$.States.Undo.TimeoutSeconds: {whole}")),
        ("/States/WaitForCapacity/Seconds", json!(100_000_000), format!("$.States.WaitForCapacity.Seconds: {whole}")),
        ("/States/Undo/ResultPath", json!("$.a[0]"), "$.States.Undo.ResultPath: \"$.a[0]\" is not one of $, $.a.b, null: use those".to_owned()),
        ("/States/Undo/ResultPath", json!("$$.Task.Token"), "$.States.Undo.ResultPath: \"$$.Task.Token\" is not one of $, $.a.b, null: use those".to_owned()),
        ("/States/Undo/Parameters", json!({"a.$": "$..b"}), format!("$.States.Undo.Parameters.a.$: \"$..b\" {paths}")),
        ("/States/Undo/Parameters", json!({"a.$": "States.UUID()"}), format!("$.States.Undo.Parameters.a.$: \"States.UUID()\" {paths}")),
        ("/States/Undo/Parameters", json!({"a.$": "$$.State.Name"}), format!("$.States.Undo.Parameters.a.$: \"$$.State.Name\" {paths}")),
        ("/States/Undo/Parameters", json!({"a": {"b.$": 1}}), format!("$.States.Undo.Parameters.a.b.$: 1 {paths}")),
        ("/States/Undo/Parameters", json!({"a": []}), "$.States.Undo.Parameters.a: arrays are outside the subset here: use an object, or teach infra/local/src/machine it".to_owned()),
        ("/States/Undo/Parameters", json!({"a": "${Table}"}), "$.States.Undo.Parameters.a: a placeholder may stand for a function only: write the value itself".to_owned()),
        ("/States/IsProvisioned/Choices", json!([]), "$.States.IsProvisioned.Choices: this must be an array with something in it".to_owned()),
        ("/States/IsProvisioned/Choices/0/Variable", json!("$$.Task.Token"), "$.States.IsProvisioned.Choices[0].Variable: \"$$.Task.Token\" is not one of $, $.a.b: use those".to_owned()),
        ("/States/IsProvisioned/Choices/0/BooleanEquals", json!("true"), "$.States.IsProvisioned.Choices[0].BooleanEquals: this must be true or false".to_owned()),
    ] {
        check(pointer, value, &expected);
    }
}

#[test]
fn retry_and_catch_outside_the_subset() {
    let alone = "States.ALL must stand alone, in the last entry: move it there";
    let known = "is not one of States.ALL, States.TaskFailed, States.Timeout, States.HeartbeatTimeout: use those, or teach infra/local/src/machine it";
    for (pointer, value, expected) in [
        ("/States/Undo/Retry", json!([]), "$.States.Undo.Retry: this must be an array with something in it".to_owned()),
        (
            "/States/Undo/Retry/0/ErrorEquals",
            json!([]),
            "$.States.Undo.Retry[0].ErrorEquals: this must be an array with something in it".to_owned(),
        ),
        (
            "/States/Undo/Retry/0/ErrorEquals",
            json!([1]),
            "$.States.Undo.Retry[0].ErrorEquals[0]: this must be a string".to_owned(),
        ),
        (
            "/States/Undo/Retry/0/ErrorEquals",
            json!(["States.Runtime"]),
            format!("$.States.Undo.Retry[0].ErrorEquals[0]: \"States.Runtime\" {known}"),
        ),
        (
            "/States/Undo/Retry/0/ErrorEquals",
            json!(["Bug", "States.ALL"]),
            format!("$.States.Undo.Retry[0].ErrorEquals: {alone}"),
        ),
        (
            "/States/Undo/Retry/1",
            json!({"ErrorEquals": ["Bug"]}),
            format!("$.States.Undo.Retry[0].ErrorEquals: {alone}"),
        ),
        (
            "/States/Activate/Catch/1",
            json!({"ErrorEquals": ["Bug"], "Next": "Undo"}),
            format!("$.States.Activate.Catch[0].ErrorEquals: {alone}"),
        ),
        (
            "/States/Undo/Retry/0/BackoffRate",
            json!(0.5),
            "$.States.Undo.Retry[0].BackoffRate: this must be a number of at least 1".to_owned(),
        ),
        (
            "/States/Undo/Retry/0/MaxAttempts",
            json!(-1),
            "$.States.Undo.Retry[0].MaxAttempts: this must be a whole number from 0 to 99999999".to_owned(),
        ),
        (
            "/States/Undo/Retry/0/MaxDelaySeconds",
            json!(5),
            "$.States.Undo.Retry[0].MaxDelaySeconds: this must be more than IntervalSeconds, or no wait would grow"
                .to_owned(),
        ),
    ] {
        check(pointer, value, &expected);
    }
}

#[test]
fn placeholders_tokens_and_heartbeats() {
    for (pointer, value, expected) in [
        (
            "/States/AwaitBoot/Parameters/FunctionName",
            json!("boot"),
            "$.States.AwaitBoot.Parameters.FunctionName: \"boot\" is not a \"${Name}\" placeholder for a function: use one",
        ),
        (
            "/States/AwaitBoot/Parameters/Payload",
            json!({"a": 1}),
            "$.States.AwaitBoot.Parameters.Payload: nobody could complete this Task: hand its token on, as \"token.$\": \"$$.Task.Token\"",
        ),
        (
            "/States/AwaitBoot/HeartbeatSeconds",
            json!(1260),
            "$.States.AwaitBoot.HeartbeatSeconds: this must be less than TimeoutSeconds, or it means nothing",
        ),
        (
            "/States/Undo/HeartbeatSeconds",
            json!(9),
            "$.States.Undo.HeartbeatSeconds: a function called directly has no token to send heartbeats with: remove this field",
        ),
        (
            "/States/Undo/Parameters",
            json!({"t.$": "$$.Task.Token"}),
            "$.States.Undo.Parameters: only a Task with the Resource \"arn:aws:states:::lambda:invoke.waitForTaskToken\" has a token: change its Resource",
        ),
        (
            "/States/Undo/Comment",
            json!("${Undo}"),
            "$.States.Undo.Comment: this must be a string without \"${\", which is for placeholders",
        ),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn what_is_missing() {
    let limit = "without a time limit this could wait for ever: add one";
    let add = "this field is required: add it";
    for (pointer, expected) in [
        ("/StartAt", format!("$.StartAt: {add}")),
        ("/States", format!("$.States: {add}")),
        ("/TimeoutSeconds", format!("$.TimeoutSeconds: {limit}")),
        ("/States/Undo/TimeoutSeconds", format!("$.States.Undo.TimeoutSeconds: {limit}")),
        ("/States/Undo/Type", format!("$.States.Undo.Type: {add}")),
        ("/States/Undo/Resource", format!("$.States.Undo.Resource: {add}")),
        ("/States/Undo/Next", format!("$.States.Undo.Next: {add}")),
        ("/States/Undo/Retry/0/ErrorEquals", format!("$.States.Undo.Retry[0].ErrorEquals: {add}")),
        ("/States/AwaitBoot/Parameters", format!("$.States.AwaitBoot.Parameters: {add}")),
        ("/States/IsProvisioned/Default", format!("$.States.IsProvisioned.Default: {add}")),
        ("/States/WaitForCapacity/Seconds", format!("$.States.WaitForCapacity.Seconds: {add}")),
        ("/States/LaunchFailed/Cause", format!("$.States.LaunchFailed.Cause: {add}")),
    ] {
        check(pointer, json!(REMOVE), &expected);
    }
}

#[test]
fn graphs_that_could_not_run() {
    let gone = "there is no state called \"Gone\": correct the name or add the state";
    let circle = json!({"Type": "Choice", "Choices": [{"Variable": "$.a", "BooleanEquals": true, "Next": "IsProvisioned"}], "Default": "AwaitBoot"});
    for (pointer, value, expected) in [
        ("/StartAt", json!("Gone"), format!("$.StartAt: {gone}")),
        ("/States/Undo/Next", json!("Gone"), format!("$.States.Undo.Next: {gone}")),
        ("/States/AwaitBoot/Catch/0/Next", json!("Gone"), format!("$.States.AwaitBoot.Catch[0].Next: {gone}")),
        (
            "/States/IsProvisioned/Choices/0/Next",
            json!("Gone"),
            format!("$.States.IsProvisioned.Choices[0].Next: {gone}"),
        ),
        ("/States/IsProvisioned/Default", json!("Gone"), format!("$.States.IsProvisioned.Default: {gone}")),
        ("/States/WaitForCapacity/Next", json!("Gone"), format!("$.States.WaitForCapacity.Next: {gone}")),
        (
            "/States/Spare",
            json!({"Type": "Succeed"}),
            "$.States.Spare: nothing leads to this state: remove it or name it in a Next".to_owned(),
        ),
        (
            "/States/To Do",
            json!({"Type": "Succeed"}),
            "$.States.To Do: a state's name must be 1 to 80 letters and digits: rename it".to_owned(),
        ),
        (
            "/States/WaitForCapacity",
            circle,
            "$.States.IsProvisioned: this Choice can lead back to itself at once: put a Wait between".to_owned(),
        ),
    ] {
        check(pointer, value, &expected);
    }
}

#[test]
fn what_is_not_json() {
    let refusal = Machine::parse("{").map(|_machine| ()).unwrap_err();
    assert_eq!(refusal.to_string(), "$: the document is not JSON: EOF while parsing an object at line 1 column 1");
}
