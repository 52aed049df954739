//! The laws about a whole history, checked when nothing moves any more.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Workload, WorkloadId,
    job::Fetch,
    lifecycle::{Cause, Stage, State},
    message::{Message, QueueName},
    policy,
    timeline::Entry,
};
use futures::executor::block_on;

use super::{
    disks,
    harness::{Harness, Violation, broken},
    invariants::{SLACK, i5_follows, nobody_waits_for_nothing},
    people::{Ask, Effect, Exchange},
    secrets,
};

type Law = Result<(), Violation>;

/// Everything that is checked of a world at rest. `over` says that every job is to have ended.
pub(crate) fn check(h: &mut Harness, over: bool) -> Law {
    i23_idle(h)?;
    for row in h.rows.workloads.values() {
        let timeline = block_on(h.truth.timeline(&row.tenant, row.id, 0, 500)).expect("the tables are read");
        i5_follows(State::Queued, 0, (row, &timeline))?;
        i19_timeline(&timeline)?;
        i22_actions(h, row, &timeline)?;
        i24_agreed(h, row, over)?;
        keys_were_fetched(h, row)?;
        nothing_fails_by_itself(h, row)?;
    }
    i8_submits(h)?;
    i9_charged(h)?;
    i23_dead_letters(h)?;
    i24_flights(h)?;
    disks::rest::check(h)?;
    nobody_waits_for_nothing(h)
}

/// I9: what a workload used is written down once when it has ended, and not before.
fn i9_charged(h: &Harness) -> Law {
    let tenants = h.rows.workloads.values().map(|row| row.tenant.clone()).collect::<BTreeSet<_>>();
    let used = |tenant| block_on(h.truth.used(tenant, domain::Timestamp::default())).expect("the tables are read");
    let mut charged = BTreeMap::<WorkloadId, Vec<u64>>::new();
    for held in tenants.iter().flat_map(used) {
        charged.entry(held.workload).or_default().push(held.lines().map(|line| line.used.gpu_seconds).sum());
    }
    for row in h.rows.workloads.values() {
        let ran = row.state == State::Ended && row.usage.started_at.is_some();
        let expected = if ran { vec![row.usage.gpu_seconds] } else { Vec::new() };
        let found = charged.remove(&row.id).unwrap_or_default();
        if found != expected {
            return broken("I9", format!("{} is charged {found:?} GPU-seconds instead of {expected:?}", row.id));
        }
    }
    Ok(())
}

/// I8: a submit that was refused is not there, and none is there twice; that one which was acknowledged is, is checked at its answer.
fn i8_submits(h: &Harness) -> Law {
    let mut rows = BTreeMap::<&str, usize>::new();
    for row in h.rows.workloads.values() {
        *rows.entry(row.spec.name.as_ref().map_or("", |name| name.as_str())).or_default() += 1;
    }
    let submits = h.exchanges.all.iter().filter_map(|exchange| match &exchange.ask {
        Ask::Submit { name } => Some((name, exchange)),
        _ => None,
    });
    let mut answers = BTreeMap::<&str, &str>::new();
    for (name, exchange) in submits {
        let effects = h.exchanges.effects(|other| matches!(&other.ask, Ask::Submit { name: of } if of == name));
        within("I8", name, &effects, rows.get(name.as_str()).copied().unwrap_or(0))?;
        if exchange.status() == Some(200)
            && let Some(Some(answer)) = &exchange.answer
            && *answers.entry(name).or_insert(&answer.body) != answer.body
        {
            return broken("I8", format!("{name} was answered in two ways to one idempotency key"));
        }
    }
    Ok(())
}

/// There are as many of something as were acknowledged, and no more than may have come through.
fn within(law: &'static str, what: &str, effects: &[Effect], there: usize) -> Law {
    let sure = effects.iter().filter(|effect| **effect == Effect::Sure).count();
    let most = effects.iter().filter(|effect| **effect != Effect::None).count();
    if (sure..=most).contains(&there) {
        return Ok(());
    }
    broken(law, format!("{what}: {there} where {sure} to {most} were to be"))
}

/// I22: every action of an owner that was acknowledged is in the timeline once, and none that was refused.
fn i22_actions(h: &Harness, row: &Workload, timeline: &[Entry]) -> Law {
    for kind in ["cancelled", "extended", "jupyter", "user_added", "user_removed"] {
        let there = timeline.iter().filter(|entry| entry.kind == kind && entry.by == row.owner.as_str()).count();
        let mine = |exchange: &Exchange| matches!(&exchange.ask, Ask::Act { id, kind: asked } if *id == row.id && *asked == kind);
        within("I22", &format!("{kind} of {}", row.id), &h.exchanges.effects(mine), there)?;
    }
    Ok(())
}

fn i19_timeline(timeline: &[Entry]) -> Law {
    match timeline.iter().find_map(|entry| secrets::found_in(&format!("{entry:?}"))) {
        Some(secret) => broken("I19", format!("{secret} is in a timeline")),
        None => Ok(()),
    }
}

/// I23: whatever is under way comes to an end, and every message is worked on or lies with the dead letters.
fn i23_idle(h: &mut Harness) -> Law {
    // As long as a message takes that is handed out once more. The clock's rule begins something every minute, and that ends too.
    for _ in 0..40 {
        let waiting = QueueName::ALL.into_iter().any(|queue| !h.world.messages(queue).is_empty());
        if h.busy() == 0 && !waiting {
            return Ok(());
        }
        h.pass(5)?;
    }
    if h.busy() > 0 {
        return broken("I23", format!("it never ends: {}", h.unfinished()));
    }
    let left = QueueName::ALL.into_iter().flat_map(|queue| h.world.messages(queue)).collect::<Vec<_>>();
    broken("I23", format!("nobody takes {left:?}"))
}

/// I23: what nobody could work on was given up for a reason, and its workload does not wait for it.
fn i23_dead_letters(h: &Harness) -> Law {
    let now = h.world.now();
    for dead in h.world.dead_letters() {
        if h.peaceful {
            return broken("I23", format!("{:?} was given up although nothing went wrong", dead.message));
        }
        let Message::Reconcile { workload, .. } = dead.message else { continue };
        let overdue = |row: &Workload| row.due_at().is_some_and(|due| due.plus(SLACK) < now);
        if h.rows.workloads.get(&workload).is_some_and(overdue) {
            return broken("I23", format!("{workload} waits for a message that was given up"));
        }
    }
    Ok(())
}

/// I24: whatever launch is under way is that of a workload that is being launched.
fn i24_flights(h: &Harness) -> Law {
    let launching = |id: &WorkloadId| h.rows.workloads.get(id).is_some_and(|row| row.state.stage() == Stage::Launching);
    match h.flights.under_way().into_iter().find(|id| !launching(id)) {
        Some(id) => broken("I24", format!("the launch of {id} goes on, and it is not being launched")),
        None => Ok(()),
    }
}

/// I24: at rest the tables and the cloud say the same.
fn i24_agreed(h: &Harness, row: &Workload, over: bool) -> Law {
    let live = h.world.live(row.id).len();
    let agreed = match row.state {
        State::Ended => live == 0,
        State::Queued => live == 0 && !over,
        State::Draining => !over,
        State::Active => (live == 1 || went_just_now(h, row)) && !over,
        _ => !over,
    };
    if agreed {
        return Ok(());
    }
    broken("I24", format!("{} is {} while {live} instances run", row.id, row.state.name()))
}

/// What went away without a word is noticed at the sweep's next look.
fn went_just_now(h: &Harness, row: &Workload) -> bool {
    let noticed = policy::LOOK_AGAIN + SLACK;
    let went = |one: &cloud::sim::Instance| one.stops_at.is_some_and(|at| h.world.now() < at.plus(noticed));
    h.world.instances().iter().any(|one| one.order.workload == row.id && went(one))
}

/// Nobody waits for keys for ever. It belongs to I23: a message was lost that nothing sends again.
fn keys_were_fetched(h: &Harness, row: &Workload) -> Law {
    let people = block_on(h.truth.people(&row.tenant, row.id)).expect("the tables are read");
    let waits = people.github.values().any(|fetch| *fetch == Fetch::Wanted);
    if row.state == State::Active && waits {
        return broken("I23", format!("{} waits for keys that nobody fetches", row.id));
    }
    Ok(())
}

/// A job that was left alone becomes active and lives to its end: it fails only if its machine did, or where faults gave it a reason.
fn nothing_fails_by_itself(h: &Harness, row: &Workload) -> Law {
    let failed = row.ending.as_ref().is_some_and(|ending| ending.cause == Cause::Failed);
    let tempers = h.agents.all.iter().filter(|agent| agent.workload == row.id).all(|agent| agent.temper.is_good());
    if failed && tempers && h.peaceful {
        let reason = row.ending.as_ref().and_then(|ending| ending.reason.as_deref());
        return broken("goal", format!("{} failed although nothing went wrong: {reason:?}", row.id));
    }
    Ok(())
}
