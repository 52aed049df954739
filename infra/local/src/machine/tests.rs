//! What the machine does, as scripts: at which second what happens, and what is to be done then.

use domain::Timestamp;
use serde_json::{Value, json};

use super::{
    data::Place,
    document::{Retrier, matches},
    *,
};

mod limits;
mod undone;

/// Something that happens to an execution. Numbers are those of attempts.
enum Event<'a> {
    /// The handler answered.
    Answer(u32, Value),
    /// The handler failed with this error.
    Fails(u32, &'a str),
    /// The token of that attempt came back with a result.
    Token(u32, Value),
    /// The token of that attempt came back with an error.
    TokenFails(u32, &'a str),
    /// A token that was never made.
    Forged(&'a str),
    /// The token's holder gave a sign of life.
    Beat(u32),
    /// Nothing but time.
    Tick,
    /// The runner was away.
    Resume,
}
use Event::{Answer, Beat, Fails, Forged, Resume, Tick, Token, TokenFails};

/// When an event happens, the event, and what is to be done after it.
type Line<'a> = (u64, Event<'a>, &'a str);

/// A second of the tests' time.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000).plus(std::time::Duration::from_secs(seconds))
}

/// The real document's machine.
fn whole() -> Machine {
    Machine::parse(LAUNCH).unwrap()
}

/// The real document's machine without what is about disks, which are steps and choices like the others.
fn launch() -> Machine {
    let mut document: Value = serde_json::from_str(LAUNCH).unwrap();
    let states = document["States"].as_object_mut().unwrap();
    for step in ["OfferDisk", "AttachDisk", "IsAttached", "WaitForDisk"] {
        states.remove(step).unwrap();
    }
    let choices = states["IsProvisioned"]["Choices"].as_array_mut().unwrap();
    choices.truncate(1);
    choices[0]["Next"] = json!("AwaitBoot");
    Machine::parse(&document.to_string()).unwrap()
}

/// An execution at second 0.
fn begin(machine: &Machine) -> Execution {
    machine.start("launch.1", [7; 16], json!({"tenant": "t", "workload": "w"}), at(0))
}

/// What is to be done, in words, with times as seconds.
fn words(machine: &Machine, execution: &Execution) -> String {
    let second = |instant: Timestamp| instant.since(at(0)).as_millis() as f64 / 1000.0;
    let work = match machine.next(execution) {
        Work::Invoke(call) => format!("call {} #{} by {}", call.handler, call.attempt, second(call.until)),
        Work::AwaitToken { until } => format!("token by {}", second(until)),
        Work::Sleep { until } => format!("sleep to {}", second(until)),
        Work::Ended(Ending::Succeeded { output }) => format!("succeeded {output}"),
        Work::Ended(Ending::Failed(error)) => format!("failed {}", error.error),
    };
    format!("{}: {work}", execution.state())
}

/// Lets an event happen; what the reporter is told is added in brackets.
fn happen(machine: &Machine, execution: &mut Execution, second: u64, event: &Event<'_>) -> &'static str {
    let now = at(second);
    let failure = |error: &str| Err(TaskError::new(error, "test"));
    let taken = match event {
        Answer(attempt, value) => return late(machine.finished(execution, *attempt, Ok(value.clone()), now)),
        Fails(attempt, error) => return late(machine.finished(execution, *attempt, failure(error), now)),
        Tick => return if machine.tick(execution, now) { "" } else { " (nothing due)" },
        Resume => {
            machine.resume(execution, now);
            return "";
        }
        Token(attempt, value) => machine.token(execution, &execution.token(*attempt), Ok(value.clone()), now),
        TokenFails(attempt, error) => machine.token(execution, &execution.token(*attempt), failure(error), now),
        Forged(token) => machine.token(execution, token, Ok(Value::Null), now),
        Beat(attempt) => machine.heartbeat(execution, &execution.token(*attempt), now),
    };
    match taken {
        Ok(()) => "",
        Err(TokenError::Invalid) => " (invalid)",
        Err(TokenError::Closed) => " (closed)",
    }
}

fn late(taken: bool) -> &'static str {
    if taken { "" } else { " (late)" }
}

/// Runs a script, stored and read again between any two lines, and gives the execution at its end.
#[track_caller]
fn check(machine: &Machine, script: &[Line<'_>]) -> Execution {
    let mut execution = begin(machine);
    let mut stored = serde_json::to_string(&execution).unwrap();
    for (index, (second, event, expected)) in script.iter().enumerate() {
        let mut restored: Execution = serde_json::from_str(&stored).unwrap();
        assert_eq!(restored, execution, "line {index}: stored and restored");
        let told = happen(machine, &mut execution, *second, event);
        assert_eq!(happen(machine, &mut restored, *second, event), told, "line {index}: restored, told");
        assert_eq!(restored, execution, "line {index}: restored, done");
        assert_eq!(words(machine, &execution) + told, *expected, "line {index}");
        assert_eq!(machine.next(&execution), machine.next(&restored), "line {index}: asked again");
        stored = serde_json::to_string(&restored).unwrap();
    }
    execution
}

fn ready(ready: bool) -> Value {
    json!({ "ready": ready })
}

/// A machine of one Task with a token and heartbeats, retried once on a missed one.
fn heartbeats() -> Machine {
    let document = json!({
        "StartAt": "Await", "TimeoutSeconds": 100,
        "States": {
            "Await": {
                "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
                "Parameters": {
                    "FunctionName": "${Await}",
                    "Payload": { "fixed": 2, "in": { "name.$": "$$.Execution.Name", "token.$": "$$.Task.Token" } }
                },
                "TimeoutSeconds": 60, "HeartbeatSeconds": 20,
                "Retry": [{ "ErrorEquals": ["States.HeartbeatTimeout"], "MaxAttempts": 1 }],
                "Next": "Done"
            },
            "Done": { "Type": "Succeed" }
        }
    });
    Machine::parse(&document.to_string()).unwrap()
}

#[test]
fn a_launch_goes_well() {
    let machine = launch();
    assert_eq!(words(&machine, &begin(&machine)), "Provision: call Provision #1 by 120");
    let done = "Launched: succeeded {\"tenant\":\"t\",\"workload\":\"w\",\"provision\":{\"ready\":true},\"boot\":{\"node\":1},\"ready\":{}}";
    let execution = check(
        &machine,
        &[
            (1, Answer(1, ready(true)), "AwaitBoot: call AwaitBoot #2 by 1261"),
            (2, Answer(2, json!("dropped")), "AwaitBoot: token by 1261"),
            (500, Tick, "AwaitBoot: token by 1261 (nothing due)"),
            (1260, Token(2, json!({"node": 1})), "AwaitReady: call AwaitReady #3 by 7620"),
            (1261, Answer(3, Value::Null), "AwaitReady: token by 7620"),
            (7619, Token(3, json!({})), "Activate: call Activate #4 by 7739"),
            (7620, Answer(4, json!("dropped")), done),
            (7621, Answer(4, json!("again")), &format!("{done} (late)")),
            (9999, Tick, &format!("{done} (nothing due)")),
            (9999, Resume, done),
            (9999, Token(3, json!({})), &format!("{done} (closed)")),
        ],
    );
    // Six states and the end. Eight is what one successful launch may cost.
    assert_eq!(execution.transitions(), 7);
}

#[test]
fn a_launch_waits_for_capacity() {
    check(
        &launch(),
        &[
            (1, Answer(1, ready(false)), "WaitForCapacity: sleep to 16"),
            (15, Tick, "WaitForCapacity: sleep to 16 (nothing due)"),
            (16, Tick, "Provision: call Provision #2 by 136"),
            (17, Answer(2, json!({"ready": "true"})), "WaitForCapacity: sleep to 32"),
            (40, Answer(2, ready(true)), "Provision: call Provision #3 by 160 (late)"),
            (41, Answer(3, ready(true)), "AwaitBoot: call AwaitBoot #4 by 1301"),
        ],
    );
}

#[test]
fn tokens_count_once_and_only_for_their_attempt() {
    let secret = "07".repeat(16);
    let boot = [
        // Only whoever knows the secret could make this one, and still a plain Task has no token.
        (0, Token(1, ready(true)), "Provision: call Provision #1 by 120 (closed)"),
        (1, Answer(1, ready(true)), "AwaitBoot: call AwaitBoot #2 by 1261"),
        (2, Forged(""), "AwaitBoot: call AwaitBoot #2 by 1261 (invalid)"),
        (2, Forged("launch.1.2"), "AwaitBoot: call AwaitBoot #2 by 1261 (invalid)"),
        (2, Forged("launch.1.2.00"), "AwaitBoot: call AwaitBoot #2 by 1261 (invalid)"),
        (2, Forged(&format!("launch.2.2.{secret}")), "AwaitBoot: call AwaitBoot #2 by 1261 (invalid)"),
        (2, Forged(&format!("launch.1.02.{secret}")), "AwaitBoot: call AwaitBoot #2 by 1261 (invalid)"),
        (2, Token(3, json!({})), "AwaitBoot: call AwaitBoot #2 by 1261 (invalid)"),
        (2, Token(1, json!({})), "AwaitBoot: call AwaitBoot #2 by 1261 (closed)"),
        // The agent is faster than the handler that stored the token.
        (2, Token(2, json!({})), "AwaitReady: call AwaitReady #3 by 6362"),
        (3, Answer(2, Value::Null), "AwaitReady: call AwaitReady #3 by 6362 (late)"),
        (3, Fails(2, "Bug"), "AwaitReady: call AwaitReady #3 by 6362 (late)"),
        (4, Token(2, json!({})), "AwaitReady: call AwaitReady #3 by 6362 (closed)"),
        // A throttled call is tried again with a token of its own, and the old one is void, also during the pause.
        (5, Fails(3, "Cloud.Throttled"), "AwaitReady: sleep to 7"),
        (6, Token(3, json!({})), "AwaitReady: sleep to 7 (closed)"),
        (7, Tick, "AwaitReady: call AwaitReady #4 by 6367"),
        (8, Token(3, json!({})), "AwaitReady: call AwaitReady #4 by 6367 (closed)"),
        (8, Beat(4), "AwaitReady: call AwaitReady #4 by 6367"),
        // A token at the very end of its time is too late.
        (9, Answer(4, Value::Null), "AwaitReady: token by 6367"),
        (10, Answer(4, Value::Null), "AwaitReady: token by 6367 (late)"),
        (6367, Token(4, json!({})), "Undo: call Undo #5 by 6487 (closed)"),
    ];
    check(&launch(), &boot);
}

#[test]
fn transient_errors_are_retried_with_growing_pauses() {
    let mut script = Vec::new();
    let (mut now, pauses) = (0, [2, 4, 8, 16, 30, 30]);
    let sleeps: Vec<(u64, String, String)> = (1..)
        .zip(pauses)
        .map(|(attempt, pause)| {
            let failed = now;
            now += pause;
            (
                failed,
                format!("Provision: sleep to {now}"),
                format!("Provision: call Provision #{} by {}", attempt + 1, now + 120),
            )
        })
        .collect();
    for (attempt, (failed, sleep, call)) in (1..).zip(&sleeps) {
        let error = if attempt % 2 == 0 { "Store.Contended" } else { "Lambda.SdkClientException" };
        script.push((*failed, Fails(attempt, error), sleep.as_str()));
        let wakes = sleeps.get(attempt as usize).map_or(now, |next| next.0);
        script.push((wakes, Tick, call.as_str()));
    }
    script.push((now, Fails(7, "Cloud.Unavailable"), "Undo: call Undo #8 by 210"));
    assert_eq!(check(&launch(), &script).transitions(), 8);
}

#[test]
fn retries_are_counted_anew_in_each_state_that_is_entered() {
    check(
        &launch(),
        &[
            (0, Fails(1, "Cloud.Throttled"), "Provision: sleep to 2"),
            (2, Tick, "Provision: call Provision #2 by 122"),
            (2, Fails(2, "Cloud.Throttled"), "Provision: sleep to 6"),
            (6, Tick, "Provision: call Provision #3 by 126"),
            (6, Answer(3, ready(false)), "WaitForCapacity: sleep to 21"),
            (21, Tick, "Provision: call Provision #4 by 141"),
            (21, Fails(4, "Cloud.Throttled"), "Provision: sleep to 23"),
        ],
    );
}

#[test]
fn an_undo_that_keeps_failing_ends_with_its_own_error() {
    let machine = launch();
    let mut execution = begin(&machine);
    happen(&machine, &mut execution, 0, &Fails(1, "Bug"));
    let mut now = 0;
    for (attempt, pause) in (2..).zip([5, 10, 20, 40, 60, 60, 60, 60, 60, 60]) {
        happen(&machine, &mut execution, now, &Fails(attempt, "Cloud.Unavailable"));
        now += pause;
        assert_eq!(words(&machine, &execution), format!("Undo: sleep to {now}"));
        happen(&machine, &mut execution, now, &Tick);
    }
    happen(&machine, &mut execution, now, &Fails(12, "Cloud.Unavailable"));
    assert_eq!(words(&machine, &execution), "Undo: failed Cloud.Unavailable");
}

#[test]
fn the_whole_execution_has_a_limit_that_nothing_catches() {
    check(
        &launch(),
        &[
            // Being back twice moves the limit once: to 17900.
            (7100, Resume, "Provision: call Provision #1 by 7220"),
            (7100, Resume, "Provision: call Provision #1 by 7220"),
            (7101, Answer(1, ready(true)), "AwaitBoot: call AwaitBoot #2 by 8361"),
            (8360, Token(2, json!({})), "AwaitReady: call AwaitReady #3 by 14720"),
            (11_000, Fails(3, "Cloud.Throttled"), "AwaitReady: sleep to 11002"),
            (11_002, Tick, "AwaitReady: call AwaitReady #4 by 17362"),
            (17_362, Tick, "Undo: call Undo #5 by 17482"),
            (17_363, Fails(5, "Bug"), "Undo: sleep to 17368"),
            (17_899, Tick, "Undo: call Undo #6 by 17900"),
            (17_900, Answer(6, Value::Null), "Undo: failed States.Timeout (late)"),
        ],
    );
}

#[test]
fn a_silent_holder_is_given_up() {
    let machine = heartbeats();
    check(
        &machine,
        &[
            (0, Tick, "Await: call Await #1 by 20 (nothing due)"),
            (10, Beat(1), "Await: call Await #1 by 30"),
            (11, Answer(1, Value::Null), "Await: token by 30"),
            (29, Beat(1), "Await: token by 49"),
            (48, Beat(1), "Await: token by 60"),
            (49, Beat(2), "Await: token by 60 (invalid)"),
            // The time limit is that of the whole wait, however lively the holder is, and is another error, which is not retried.
            (60, Beat(1), "Await: failed States.Timeout (closed)"),
        ],
    );
    check(
        &machine,
        &[
            (20, Tick, "Await: sleep to 21"),
            (21, Tick, "Await: call Await #2 by 41"),
            (22, Beat(1), "Await: call Await #2 by 41 (closed)"),
            (41, Token(2, Value::Null), "Await: failed States.HeartbeatTimeout (closed)"),
        ],
    );
    check(
        &machine,
        &[
            (5, Answer(1, Value::Null), "Await: token by 20"),
            (19, Token(1, json!({"a": 1})), "Done: succeeded {\"a\":1}"),
        ],
    );
}

#[test]
fn a_runner_that_was_away_loses_nothing() {
    check(
        &launch(),
        &[
            (50_000, Resume, "Provision: call Provision #1 by 50120"),
            (50_001, Answer(1, ready(false)), "WaitForCapacity: sleep to 50016"),
            (90_000, Resume, "WaitForCapacity: sleep to 90015"),
            (90_015, Tick, "Provision: call Provision #2 by 90135"),
            (90_016, Answer(2, ready(true)), "AwaitBoot: call AwaitBoot #3 by 91276"),
            (90_017, Answer(3, ready(true)), "AwaitBoot: token by 91276"),
            (99_000, Resume, "AwaitBoot: token by 100260"),
            (99_000, Resume, "AwaitBoot: token by 100260"),
        ],
    );
}

#[test]
fn a_call_with_a_token_says_whose_it_is_and_prints_nothing() {
    let machine = heartbeats();
    let execution = begin(&machine);
    let Work::Invoke(call) = machine.next(&execution) else { panic!("{execution:?}") };
    let token = call.token.clone().unwrap();
    assert_eq!(token, format!("launch.1.1.{}", "07".repeat(16)));
    assert_eq!(call.payload, json!({"fixed": 2, "in": {"name": "launch.1", "token": token}}));
    assert_eq!(execution_of(&token), Some("launch.1"));
    assert_eq!(execution_of("launch.1"), None);
    assert!(!format!("{execution:?}{call:?}").contains("0707"));
}

#[test]
fn what_the_machine_cannot_do_ends_the_execution() {
    let machine = launch();
    // The Choice reads a field that the answer lacks, and the Undo is not for that: it is a bug of the handler's.
    check(&machine, &[(1, Answer(1, json!({})), "IsProvisioned: failed States.Runtime")]);
    check(&machine, &[(1, Fails(1, "States.Runtime"), "Provision: failed States.Runtime")]);
    let mut bare = machine.start("bare", [0; 16], json!({}), at(0));
    machine.finished(&mut bare, 1, Ok(ready(true)), at(1));
    assert_eq!(words(&machine, &bare), "AwaitBoot: failed States.Runtime");
    assert_eq!(bare.ending().cloned(), {
        let cause = "AwaitBoot reads $.tenant, which its input does not have.";
        Some(Ending::Failed(TaskError::new("States.Runtime", cause)))
    });
    let mut scalar = machine.start("scalar", [0; 16], json!(1), at(0));
    machine.finished(&mut scalar, 1, Ok(ready(true)), at(1));
    assert_eq!(words(&machine, &scalar), "Provision: failed States.ResultPathMatchFailure");

    let mut stored = begin(&machine);
    let other = heartbeats();
    assert_eq!(words(&other, &stored), "Provision: failed States.Runtime");
    assert!(other.tick(&mut stored, at(1)));
    assert_eq!(words(&machine, &stored), "Provision: failed States.Runtime");
}

#[test]
fn errors_are_matched_by_name() {
    let all = ["States.ALL", "States.TaskFailed", "States.Timeout", "States.HeartbeatTimeout", "Bug"];
    for (error, expected) in [
        ("Bug", [true, true, false, false, true]),
        ("bug", [true, true, false, false, false]),
        ("States.Timeout", [true, false, true, false, false]),
        ("States.HeartbeatTimeout", [true, true, true, true, false]),
        ("States.ResultPathMatchFailure", [true, true, false, false, false]),
        ("States.Runtime", [false; 5]),
        ("States.DataLimitExceeded", [false; 5]),
    ] {
        assert_eq!(all.map(|name| matches(&[name.to_owned()], error)), expected, "{error}");
    }
    assert!(!matches(&[], "Bug"));
}

#[test]
fn pauses_grow_to_the_longest() {
    for (interval, rate, longest, expected) in [
        (1, 1.0, None, [1000, 1000, 1000, 1000]),
        (1, 1.5, None, [1000, 1500, 2250, 3375]),
        (2, 2.0, Some(7), [2000, 4000, 7000, 7000]),
        (99_999_999, 1e300, Some(99_999_999), [99_999_999_000; 4]),
    ] {
        let seconds = std::time::Duration::from_secs;
        let longest = longest.map(seconds);
        let retrier = Retrier { errors: Vec::new(), interval: seconds(interval), attempts: 9, rate, longest };
        assert_eq!([1, 2, 3, 4].map(|retry| retrier.delay(retry).as_millis()), expected);
    }
}

#[test]
fn results_are_put_where_their_path_says() {
    let input = json!({"a": {"b": 1}, "c": 2});
    for (path, expected) in [
        (Some("$"), Some(json!("new"))),
        (None, Some(input.clone())),
        (Some("$.a"), Some(json!({"a": "new", "c": 2}))),
        (Some("$.a.b"), Some(json!({"a": {"b": "new"}, "c": 2}))),
        (Some("$.d.e"), Some(json!({"a": {"b": 1}, "c": 2, "d": {"e": "new"}}))),
        (Some("$.c.e"), None),
    ] {
        let place = path.map_or(Some(Place::Nowhere), Place::parse).unwrap();
        assert_eq!(place.put(&input, json!("new")), expected, "{path:?}");
    }
}

#[test]
fn the_document_can_be_drawn() {
    let machine = whole();
    let handlers = std::collections::BTreeSet::from_iter(machine.handlers());
    let expected = ["Activate", "AttachDisk", "AwaitBoot", "AwaitReady", "Provision", "Undo"];
    assert_eq!(handlers.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(
        machine.diagram(),
        "stateDiagram-v2
    [*] --> Provision
    Provision --> IsProvisioned
    Provision --> Undo: States.ALL
    IsProvisioned --> AttachDisk: $.provision.ready is true
    IsProvisioned --> OfferDisk: $.provision.disk is true
    IsProvisioned --> WaitForCapacity: otherwise
    OfferDisk --> WaitForCapacity
    OfferDisk --> Undo: States.ALL
    WaitForCapacity --> Provision: after 15 s
    AttachDisk --> IsAttached
    AttachDisk --> Undo: States.ALL
    IsAttached --> AwaitBoot: $.disk.ready is true
    IsAttached --> WaitForDisk: otherwise
    WaitForDisk --> AttachDisk: after 5 s
    AwaitBoot --> AwaitReady
    AwaitBoot --> Undo: States.ALL
    AwaitReady --> Activate
    AwaitReady --> Undo: States.ALL
    Activate --> Launched
    Activate --> Undo: States.ALL
    Launched --> [*]
    Undo --> LaunchFailed
    LaunchFailed --> [*]
"
    );
}
