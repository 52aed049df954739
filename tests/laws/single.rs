//! Single faults, exhaustively: each workflow is run once to see where calls go out, and then once for each call and each fault that can
//! happen there. Whatever happens, no law is broken, and what was acknowledged comes to its goal or fails honestly.

use std::{ops::RangeInclusive, time::Duration};

use cloud::sim::{Fault, FaultPlan};
use domain::{
    NodeId, PoolId, Workload,
    job::Hours,
    lifecycle::{Cause, State},
};
use futures::executor::block_on;

use super::{
    agents::{Agents, Temper},
    at_rest,
    harness::{Harness, Violation, broken},
    people::{self, Ask, Exchange, User, request, submit},
    secrets,
};

/// What a user sets in motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workflow {
    /// From the submit to an active job.
    Launch,
    CancelQueued,
    CancelLaunching,
    CancelActive,
    Extend,
    Jupyter,
    AddUser,
    /// From the first warning to the end.
    Expire,
    Rotate,
}

const ALL: [Workflow; 9] = [
    Workflow::Launch,
    Workflow::CancelQueued,
    Workflow::CancelLaunching,
    Workflow::CancelActive,
    Workflow::Extend,
    Workflow::Jupyter,
    Workflow::AddUser,
    Workflow::Expire,
    Workflow::Rotate,
];

/// One seed for all: an instance boots after more than three seconds, so that a cancel can come before.
const SEED: u64 = 4;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Goal,
    HonestFailure,
}

/// Sends a request as a careful client does: again, with the same idempotency key, until somebody answers.
fn ask(h: &mut Harness, users: &mut [User], exchange: &Exchange) -> Result<Option<u16>, Violation> {
    for _ in 0..6 {
        let number = h.send(Exchange { key: users[0].key.clone(), ..exchange.clone() });
        h.pass(8)?;
        h.hear(users);
        let status = h.exchanges.all[number].status();
        if status.is_some_and(|status| status < 500 && status != 401) {
            return Ok(status);
        }
    }
    Ok(None)
}

fn once(mut exchange: Exchange, key: &str) -> Exchange {
    exchange.once = Some(key.to_owned());
    exchange
}

fn the_job(h: &Harness) -> Option<&Workload> {
    h.rows.workloads.values().next()
}

fn act(h: &Harness, users: &[User], kind: &'static str, path: &str, body: Option<&str>) -> Option<Exchange> {
    let id = the_job(h)?.id;
    let exchange = request(0, &users[0], Ask::Act { id, kind }, "POST", format!("/v1/jobs/{id}/{path}"));
    Some(once(Exchange { body: body.map(str::to_owned), ..exchange }, kind))
}

fn must(answered: Option<u16>) -> Result<(), Violation> {
    match answered {
        Some(200 | 409) => Ok(()),
        other => broken("goal", format!("a careful client was answered {other:?}")),
    }
}

/// Plays a workflow under a plan. Gives the calls that belong to it, and how it ended.
fn play(workflow: Workflow, plan: FaultPlan) -> Result<(Vec<(u64, String)>, End), Violation> {
    let mut h = Harness::new(SEED, None);
    h.agents = Agents::seeded(SEED, Some(Temper::Good));
    h.peaceful = plan == FaultPlan::None;
    run(&mut h, workflow, plan).map_err(|mut violation| {
        violation.story = h.story();
        violation
    })
}

fn run(h: &mut Harness, workflow: Workflow, plan: FaultPlan) -> Result<(Vec<(u64, String)>, End), Violation> {
    drop(secrets::take_log());
    let mut users = people::users(h);
    if workflow == Workflow::CancelQueued {
        for node in ["h100-1", "h100-2"] {
            block_on(h.truth.retire_node(&PoolId::new("local/h100"), &NodeId::new(node)))
                .expect("the tables are written");
        }
    }
    h.world.follow(plan);
    let mut job = submit(0, &users[0], 1, ("p5.48xlarge", 2), 1.0);
    job.body = job.body.map(|body| body.replace("canarya-gh", "nobody"));
    let first = h.world.calls() + 1;
    let calls = if workflow == Workflow::Launch {
        must(ask(h, &mut users, &once(job, "submit"))?)?;
        h.rest(300)?;
        first..=h.world.calls()
    } else {
        must(ask(h, &mut users, &once(job, "submit"))?)?;
        let settled = if matches!(workflow, Workflow::CancelQueued | Workflow::CancelLaunching) { 0 } else { 180 };
        h.rest(settled)?;
        second_part(h, &mut users, workflow)?
    };
    let numbers = |call: &cloud::sim::Call| calls.contains(&call.number).then(|| (call.number, call.label.clone()));
    let sites = h.world.log().iter().filter_map(numbers).collect();
    h.calm();
    h.rest(420)?;
    h.pass(180)?;
    at_rest::check(h, false)?;
    let end = reached(h, workflow)?;
    // A job that is active stays so: its GPUs were counted at every step, and its end is another workflow.
    if the_job(h).is_some_and(|row| row.state == State::Ended) {
        at_rest::check(h, true)?;
    }
    Ok((sites, end))
}

/// What follows on an active, a launching or a queued job.
fn second_part(h: &mut Harness, users: &mut [User], workflow: Workflow) -> Result<RangeInclusive<u64>, Violation> {
    let first = h.world.calls() + 1;
    let exchange = match workflow {
        Workflow::CancelQueued | Workflow::CancelLaunching | Workflow::CancelActive => {
            act(h, users, "cancelled", "cancel", None)
        }
        Workflow::Extend => act(h, users, "extended", "extend", Some(r#"{"extension_hours": 1}"#)),
        Workflow::Jupyter => act(h, users, "jupyter", "jupyter/enable", None),
        Workflow::AddUser => act(h, users, "user_added", "users", Some(r#"{"github_username": "canarya-gh"}"#)),
        Workflow::Rotate => Some(request(0, &users[0], Ask::Rotate, "POST", "/v1/keys/rotate")),
        Workflow::Launch | Workflow::Expire => None,
    };
    if let Some(exchange) = exchange {
        must(ask(h, users, &exchange)?)?;
    }
    let wait = if workflow == Workflow::Expire { 3_700 } else { 130 };
    let until = h.world.now().plus(Duration::from_secs(wait));
    while h.world.now() < until && the_job(h).is_some_and(|row| row.state != State::Ended) {
        h.skip(until)?;
    }
    Ok(first..=h.world.calls())
}

/// Whether the workflow came to its goal; a violation when it came to nothing that it may come to.
fn reached(h: &Harness, workflow: Workflow) -> Result<End, Violation> {
    let Some(row) = the_job(h).filter(|_| h.rows.workloads.len() == 1) else {
        return broken("goal", format!("{} jobs where one was submitted", h.rows.workloads.len()));
    };
    let cause = row.ending.as_ref().map(|ending| ending.cause);
    let goal = match workflow {
        Workflow::Launch | Workflow::Rotate | Workflow::AddUser => row.state == State::Active,
        Workflow::Jupyter => row.state == State::Active && row.jupyter.wanted,
        Workflow::Extend => row.state == State::Active && row.duration == Hours::whole(2),
        Workflow::Expire => row.state == State::Ended && cause == Some(Cause::Expired),
        Workflow::CancelQueued | Workflow::CancelLaunching | Workflow::CancelActive => {
            row.state == State::Ended && cause == Some(Cause::Cancelled)
        }
    };
    let reason = row.ending.as_ref().and_then(|ending| ending.reason.as_ref());
    match (goal, cause) {
        (true, _) => Ok(End::Goal),
        (false, Some(Cause::Failed)) if row.state == State::Ended && reason.is_some() => Ok(End::HonestFailure),
        _ => broken("goal", format!("{workflow:?} came to {} {cause:?}", row.state.name())),
    }
}

/// Every fault at every call of a workflow: how many pairs there were, and how many of them ended in an honest failure.
fn exhaust(workflow: Workflow) -> Result<(usize, usize), String> {
    secrets::listening(|| {
        let told = |pair: &str, Violation { law, seen, story }: Violation| {
            format!("{workflow:?} {pair}: {law}: {seen}\n{story}")
        };
        let (sites, end) = play(workflow, FaultPlan::None).map_err(|violation| told("without a fault", violation))?;
        assert_eq!(end, End::Goal, "{workflow:?} without a fault");
        let (mut pairs, mut failures) = (0, 0);
        for (n, label) in sites {
            for fault in Fault::ALL.into_iter().filter(|fault| fault.concerns(&label)) {
                let (_, end) = play(workflow, FaultPlan::Nth { n, fault })
                    .map_err(|violation| told(&format!("{fault:?} at call {n}, {label}"), violation))?;
                pairs += 1;
                failures += usize::from(end == End::HonestFailure);
            }
        }
        Ok((pairs, failures))
    })
}

#[test]
fn every_single_fault_is_borne() {
    // Two threads with about as much to do each.
    let (first, second) = ALL.split_at(4);
    let workers = [first.to_vec(), second.to_vec()].map(|workflows| {
        std::thread::spawn(move || {
            workflows.into_iter().map(|workflow| (workflow, exhaust(workflow))).collect::<Vec<_>>()
        })
    });
    let mut all = 0;
    for (workflow, found) in workers.into_iter().flat_map(|worker| worker.join().expect("a worker's workflows")) {
        let (pairs, failures) = found.unwrap_or_else(|violation| panic!("{violation}"));
        println!("{workflow:?}: {pairs} pairs of a call and a fault, {failures} of them end in an honest failure");
        all += pairs;
    }
    println!("{all} pairs");
    assert!(all >= 1_000, "{all} pairs: calls have gone missing");
}
