//! Whatever step fails, and however: what it had made is taken back.

use super::*;
use crate::machine::document::{Kind, Step, TIMEOUT, Task};

/// Who reports the failure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Handler,
    Time,
    Token,
}

/// The steps that an Undo follows, and which of them waits for a token.
const STEPS: [(&str, bool); 5] =
    [("Provision", false), ("AttachDisk", false), ("AwaitBoot", true), ("AwaitReady", true), ("Activate", false)];

fn task<'a>(machine: &'a Machine, step: &str) -> &'a Task {
    machine.document.step(step).and_then(Step::task).unwrap()
}

/// Goes to `step` by way of the steps before it.
fn reach(machine: &Machine, step: &str) -> Execution {
    let mut execution = begin(machine);
    for (attempt, (before, _)) in (1..).zip(STEPS) {
        if before == step {
            break;
        }
        // Steps without a token refuse it, and steps with one take the answer first.
        happen(machine, &mut execution, 1, &Answer(attempt, ready(true)));
        happen(machine, &mut execution, 1, &Token(attempt, json!({})));
    }
    assert_eq!(execution.state(), step);
    execution
}

fn second(instant: Timestamp) -> u64 {
    instant.since(at(0)).as_secs()
}

/// Lets each try of `step` fail with `error`. There are `tries` of them, and then the Undo, which is told of the error; when it is done
/// the launch has failed.
#[track_caller]
fn check(machine: &Machine, step: &str, (error, by): (&str, By), tries: u32) {
    let mut execution = reach(machine, step);
    let mut now = 2;
    for _ in 0..tries {
        let Work::Invoke(call) = machine.next(&execution) else { panic!("{step} {error}: {execution:?}") };
        assert_eq!(call.handler, step, "{error}");
        match by {
            By::Handler => happen(machine, &mut execution, now, &Fails(call.attempt, error)),
            By::Token => happen(machine, &mut execution, now, &TokenFails(call.attempt, error)),
            By::Time => {
                now = second(call.until);
                happen(machine, &mut execution, now, &Tick)
            }
        };
        if let Work::Sleep { until } = machine.next(&execution) {
            now = second(until);
            happen(machine, &mut execution, now, &Tick);
        }
    }
    let Work::Invoke(undo) = machine.next(&execution) else { panic!("{step} {error}: {execution:?}") };
    let cause = if by == By::Time { format!("{step} took longer than its TimeoutSeconds.") } else { "test".to_owned() };
    let told = json!({"Error": error, "Cause": cause});
    assert_eq!((undo.handler.as_str(), &undo.payload["error"]), ("Undo", &told), "{step} {error}");
    assert_eq!(undo.payload["workload"], "w");
    happen(machine, &mut execution, now + 1, &Answer(undo.attempt, Value::Null));
    assert_eq!(words(machine, &execution), "LaunchFailed: failed Launch.Failed", "{step} {error}");
}

#[test]
fn every_failing_step_is_undone() {
    let machine = whole();
    for (step, token) in STEPS {
        check(&machine, step, ("Bug", By::Handler), 1);
        // Who hung is called again; an agent that never came is not waited for again.
        check(&machine, step, (TIMEOUT, By::Time), if token { 1 } else { 7 });
        if token {
            check(&machine, step, ("Agent.Failed", By::Token), 1);
        }
    }
}

#[test]
fn every_step_whose_retries_are_used_up_is_undone() {
    let machine = whole();
    for (step, token) in STEPS {
        let task = task(&machine, step);
        assert_eq!(token, matches!(task.kind, Kind::Token { .. }), "{step}");
        let retried: Vec<&str> = task.retry.iter().flat_map(|entry| &entry.errors).map(String::as_str).collect();
        for known in ["Cloud.Throttled", "Lambda.Unknown", "Runtime.ExitError", "Sandbox.Timedout"] {
            assert!(retried.contains(&known), "{step} retries {known}");
        }
        assert_eq!(retried.contains(&TIMEOUT), !token, "{step}");
        for error in retried.into_iter().filter(|error| *error != TIMEOUT) {
            check(&machine, step, (error, By::Handler), 7);
        }
    }
}
