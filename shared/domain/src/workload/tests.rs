use std::{fmt::Write, time::Duration};

use super::*;
use crate::{
    agent::{JupyterState, MainProcess, Note, Progress, Report},
    gpu::Gpu,
    job::{Fetch, People},
    names::{GithubName, ImageName},
    policy::Policy,
};

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn submitted(hours: u32, end_on_exit: bool) -> Workload {
    let spec = Spec {
        image: ImageName::parse("pytorch/pytorch").unwrap(),
        instance_type: "p5.48xlarge".to_owned(),
        gpu: Gpu::H100,
        gpu_count: 4,
        pool: PoolId::new("local/h100"),
        name: None,
        github_user: Some(GithubName::parse("owner").unwrap()),
        priority: 50,
        gpu_hour: crate::price::Price::default(),
        end_on_exit,
        disk: None,
        serve: None,
    };
    let submission = Submission {
        id: WorkloadId::new(START, &[1; 32]),
        tenant: TenantId::new("t"),
        owner: UserName::new("u"),
        spec,
        duration: Some(Hours::whole(hours)),
        sealed_jupyter_token: None,
    };
    Workload::submit(submission, START).workload
}

fn report(progress: Progress) -> Report {
    Report {
        applied: 0,
        progress,
        main: MainProcess::Absent,
        jupyter: JupyterState::Off,
        notes: vec![],
        frozen: None,
        idle_seconds: None,
        next_session: None,
    }
}

/// A workload in `state`, brought there by the decisions that lead to it, one second after the other.
fn in_state(state: State, hours: u32) -> Workload {
    let mut workload = submitted(hours, false);
    for second in 1..10 {
        if workload.state == state {
            return workload;
        }
        let now = after(second);
        let change = match workload.state {
            State::Queued => workload.place(&NodeId::new("n"), now),
            State::Placed => workload.begin_attempt(now),
            State::Provisioning => workload.enroll(1, "0.1.0", now),
            State::InstanceReady => Ok(workload.report(&report(Progress::Installing), now).changes.remove(0)),
            State::Installing if state == State::ModelLoading => {
                Ok(workload.report(&report(Progress::ModelLoading), now).changes.remove(0))
            }
            State::Installing | State::ModelLoading => {
                Ok(workload.report(&report(Progress::HealthCheck), now).changes.remove(0))
            }
            State::HealthCheck => workload.activate(now),
            State::Active => workload.cancel("u", now),
            State::Draining => workload.end(None, now),
            State::Ended => unreachable!("nothing follows"),
        };
        workload = change.unwrap().workload;
    }
    panic!("{state:?} was not reached");
}

/// Every decision in every state: what it leads to, or why not.
#[test]
fn decisions() {
    let name = GithubName::parse("friend").unwrap();
    let people = People { keys: vec![], github: [(name.clone(), Fetch::Wanted)].into() };
    let policy = Policy::default();
    let mut table = String::new();
    for state in State::ALL {
        let workload = in_state(state, 4);
        let now = after(60);
        let outcomes: [(&str, Result<Change, Refusal>); 10] = [
            ("place", workload.place(&NodeId::new("n"), now)),
            ("begin_attempt", workload.begin_attempt(now)),
            ("enroll", workload.enroll(1, "0.1.0", now)),
            ("activate", workload.activate(now)),
            ("cancel", workload.cancel("u", now)),
            ("fail", workload.fail("why", now)),
            ("extend", workload.extend(Hours::whole(2), &policy, now)),
            ("set_jupyter", workload.set_jupyter(Some("sealed".to_owned()), now)),
            ("remove_user", workload.remove_user(&people, &name, now).map(|(change, _)| change)),
            ("end", workload.end(None, now)),
        ];
        writeln!(table, "{} ({})", state.name(), workload.status().name()).unwrap();
        for (decision, outcome) in outcomes {
            let words = match outcome {
                Ok(change) => {
                    assert_eq!(change.workload.version, workload.version + 1);
                    assert_eq!((change.from, change.entry.version), (state, change.workload.version));
                    format!("-> {} ({})", change.workload.state.name(), change.workload.status().name())
                }
                Err(refusal) => format!("refused: {refusal}"),
            };
            writeln!(table, "  {decision:<14} {words}").unwrap();
        }
        writeln!(
            table,
            "  agent_left     {}",
            workload.agent_left("bye", now).map_or("no news", |c| c.workload.state.name())
        )
        .unwrap();
    }
    insta::assert_snapshot!("decisions", table);
}

fn check_due(workload: &Workload, at: Timestamp, expected: &str) {
    let found = match workload.due(at) {
        Due::Nothing => "nothing".to_owned(),
        Due::Launch => "launch".to_owned(),
        Due::Reconcile => "reconcile".to_owned(),
        Due::Change(change) => format!("{} {}", change.entry.kind, change.workload.state.name()),
    };
    assert_eq!(found, expected, "{:?} at {at}", workload.state);
}

#[test]
fn every_state_has_an_end() {
    for state in State::ALL {
        let workload = in_state(state, 4);
        assert_eq!(workload.due_at().is_none(), state == State::Ended, "{state:?}");
        let expected = match state {
            State::Ended => "nothing",
            State::Draining => "reconcile",
            State::Queued => "cancelled ended",
            State::Active => "expired draining",
            _ => "failed draining",
        };
        check_due(&workload, after(49 * 3600), expected);
        check_due(&workload, after(0), "nothing");
    }
    check_due(&in_state(State::Placed, 4), after(90), "launch");
    let waits = in_state(State::Queued, 4);
    check_due(&waits, after(48 * 3600 - 1), "nothing");
    check_due(&waits, after(48 * 3600), "cancelled ended");
}

#[test]
fn expiry_warns_and_then_ends() {
    let mut active = in_state(State::Active, 1);
    let end = active.expires_at.unwrap();
    for minutes in [30, 15, 5] {
        let due = end.minus(Duration::from_secs(minutes * 60));
        assert_eq!(active.due_at(), Some(due));
        check_due(&active, due.minus(Duration::from_millis(1)), "nothing");
        let Due::Change(change) = active.due(due) else { panic!("a warning is due") };
        assert_eq!(change.workload.state, State::Active);
        active = change.workload;
        assert_eq!(
            active.warned,
            Some(Warned { minutes: u32::try_from(minutes).unwrap(), notice: Some(active.version) })
        );
    }
    assert_eq!(active.due_at(), Some(end));
    let Due::Change(change) = active.due(end) else { panic!("the end is due") };
    let ending = change.workload.ending.clone().unwrap();
    assert_eq!((ending.cause, ending.kill_at), (Cause::Expired, end.plus(policy::GRACE)));
    // At the very instant of its end nothing can be done to it any more.
    assert!(active.extend(Hours::whole(1), &Policy::default(), end).is_err());
    // A sweep that comes late warns once, with what is left.
    let late = in_state(State::Active, 1);
    let Due::Change(change) = late.due(end.minus(Duration::from_secs(200))) else { panic!("a warning is due") };
    assert_eq!(change.workload.warned.unwrap().minutes, 5);
    assert_eq!(change.workload.due_at(), Some(end));
}

#[test]
fn extension_moves_the_end_and_the_warnings() {
    let policy = Policy::default();
    let active = in_state(State::Active, 1);
    let end = active.expires_at.unwrap();
    let Due::Change(warned) = active.due(end.minus(Duration::from_secs(60))) else { panic!("a warning is due") };
    let extended =
        warned.workload.extend(Hours::whole(2), &policy, end.minus(Duration::from_secs(30))).unwrap().workload;
    assert_eq!(extended.expires_at, Some(end.plus(Duration::from_secs(7200))));
    assert_eq!(extended.duration, Some(Hours::whole(3)));
    assert_eq!(extended.due_at(), Some(end.plus(Duration::from_secs(7200 - 1800))));
    let refused = extended.extend(Hours::whole(46), &policy, end).unwrap_err();
    assert_eq!(refused, Refusal::TooLong { most: 48, left: 45.0 });
    assert!(extended.extend(Hours::whole(45), &policy, end).is_ok());
}

#[test]
fn reports_only_move_forward() {
    let checking = in_state(State::HealthCheck, 4);
    for progress in [Progress::Installing, Progress::ModelLoading, Progress::HealthCheck] {
        assert_eq!(checking.report(&report(progress), after(60)), Reported::default(), "{progress:?}");
    }
    assert!(checking.report(&report(Progress::Ready), after(60)).ready);
    // A fast agent skips phases, and a note is taken once.
    let enrolled = in_state(State::InstanceReady, 4);
    let note = |number| Note { number, text: "a fact".to_owned(), percent: None };
    let reported = enrolled.report(&Report { notes: vec![note(1), note(2)], ..report(Progress::Ready) }, after(60));
    let kinds = reported.changes.iter().map(|change| change.entry.kind.as_str()).collect::<Vec<_>>();
    assert_eq!((kinds, reported.ready), (vec!["note", "note", "health_check"], true));
    let last = &reported.changes[2].workload;
    assert_eq!(last.version, enrolled.version + 3);
    assert!(
        last.report(&Report { notes: vec![note(1), note(2)], ..report(Progress::Ready) }, after(61)).changes.is_empty()
    );
}

#[test]
fn exits_end_only_what_asked_for_it() {
    let exited = |code| Report { main: MainProcess::Exited { code }, ..report(Progress::Ready) };
    let stays = in_state(State::Active, 4).report(&exited(3), after(60)).changes.remove(0).workload;
    assert_eq!((stays.state, stays.exit_code), (State::Active, Some(3)));
    assert!(stays.report(&exited(3), after(61)).changes.is_empty());
    let mut asked = in_state(State::Active, 4);
    asked.spec.end_on_exit = true;
    let ends = asked.report(&exited(0), after(60)).changes.remove(0).workload;
    assert_eq!((ends.state, ends.ending.unwrap().cause), (State::Draining, Cause::Completed));
}

#[test]
fn a_command_that_ends_before_the_launch_does_still_ends_the_job() {
    let mut launching = in_state(State::HealthCheck, 4);
    launching.spec.end_on_exit = true;
    let exited = Report { main: MainProcess::Exited { code: 0 }, ..report(Progress::Ready) };
    let exited = launching.report(&exited, after(60)).changes.remove(0).workload;
    assert_eq!((exited.state, exited.exit_code), (State::HealthCheck, Some(0)));
    let active = exited.activate(after(61)).unwrap().workload;
    let Due::Change(change) = active.due(after(61)) else { panic!("it is over as soon as it begins") };
    assert_eq!(change.workload.ending.unwrap().cause, Cause::Completed);
}

#[test]
fn jupyter_follows_what_is_wanted() {
    let sealed = |text: &str| Some(text.to_owned());
    let active = in_state(State::Active, 4);
    let on = active.set_jupyter(sealed("one"), after(60)).unwrap().workload;
    let ready = Report { applied: on.version, jupyter: JupyterState::Ready, ..report(Progress::Ready) };
    let up = on.report(&ready, after(61)).changes.remove(0).workload;
    assert!(up.jupyter.ready);
    // Asking again keeps the token that people use; after a failure it is a new start.
    assert_eq!(up.set_jupyter(sealed("two"), after(62)).unwrap().workload.jupyter, up.jupyter);
    let failed = Report { jupyter: JupyterState::Failed { error: "no pip".to_owned() }, ..ready.clone() };
    let down = up.report(&failed, after(63)).changes.remove(0).workload;
    assert_eq!(down.jupyter.error.as_deref(), Some("no pip"));
    let again = down.set_jupyter(sealed("two"), after(64)).unwrap().workload;
    assert_eq!((again.jupyter.sealed_token.clone(), again.jupyter.error.clone()), (sealed("two"), None));
    // What the agent says of the one that failed is no news of the one that it has not begun to start.
    assert!(again.report(&failed, after(65)).changes.is_empty());
    assert!(!again.report(&Report { applied: again.version, ..failed }, after(65)).changes.is_empty());
    // A report that was under way while it was switched off says nothing.
    let off = up.set_jupyter(None, after(65)).unwrap().workload;
    assert!(off.report(&ready, after(66)).changes.is_empty());
}

#[test]
fn gpu_seconds_are_those_that_were_seen() {
    let active = in_state(State::Active, 4);
    let started = active.usage.started_at.unwrap();
    let draining = active.cancel("u", after(100)).unwrap().workload;
    let left = draining.agent_left("bye", after(110)).unwrap().workload;
    for (stopped_at, seconds) in [(Some(after(105)), 105), (None, 110), (Some(after(500)), 200)] {
        let ended = left.end(stopped_at, after(200)).unwrap().workload;
        let ran = after(seconds).since(started).as_secs();
        assert_eq!(ended.usage.gpu_seconds, ran * 4, "{stopped_at:?}");
    }
    let never_ran = in_state(State::Placed, 4).cancel("u", after(100)).unwrap().workload;
    assert_eq!(never_ran.end(None, after(101)).unwrap().workload.usage.gpu_seconds, 0);
}
