//! The laws about a whole history, checked when nothing moves any more.

use std::collections::BTreeMap;

use domain::{
    Workload,
    job::Fetch,
    lifecycle::{Cause, State, Step},
    message::QueueName,
    timeline::Entry,
};
use futures::executor::block_on;

use super::{
    harness::{Harness, Violation, broken},
    invariants::nobody_waits_for_nothing,
    people::{Ask, Effect, Exchange},
    secrets,
};

type Law = Result<(), Violation>;

/// Everything that is checked of a world at rest. `over` says that every job is to have ended.
pub(crate) fn check(h: &Harness, over: bool) -> Law {
    for row in h.rows.workloads.values() {
        let timeline = block_on(h.truth.timeline(&row.tenant, row.id, 0, 500)).expect("the tables are read");
        i5_timeline(row, &timeline)?;
        i19_timeline(&timeline)?;
        i22_actions(h, row, &timeline)?;
        i24_agreed(h, row, over)?;
        keys_were_fetched(h, row)?;
        nothing_fails_by_itself(h, row)?;
    }
    i8_submits(h)?;
    i23_queues(h)?;
    nobody_waits_for_nothing(h)?;
    if over && let Some(workload) = h.flights.under_way().first() {
        return broken("I24", format!("the launch of {workload} never ends"));
    }
    Ok(())
}

/// I5: one entry for each version, each a step that the table of a life has.
fn i5_timeline(row: &Workload, timeline: &[Entry]) -> Law {
    let mut state = State::Queued;
    for (number, entry) in (1..).zip(timeline) {
        let step = state == entry.phase || Step::ALL.into_iter().any(|step| state.after(step) == Some(entry.phase));
        if entry.version != number || !step {
            return broken(
                "I5",
                format!("{}: {} after {}, number {number}: {entry:?}", row.id, entry.phase.name(), state.name()),
            );
        }
        state = entry.phase;
    }
    if state != row.state || u64::try_from(timeline.len()).unwrap_or(0) != row.version {
        return broken("I5", format!("{} is at version {} and has {} entries", row.id, row.version, timeline.len()));
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

/// I23: every message was worked on, or lies with the dead letters, and then its workload does not wait for it.
fn i23_queues(h: &Harness) -> Law {
    if h.busy() > 0 {
        return Ok(());
    }
    match QueueName::ALL.into_iter().flat_map(|queue| h.world.messages(queue)).next() {
        Some(left) => broken("I23", format!("{:?} is still there after {} deliveries", left.message, left.receives)),
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
        // What went away without a word is noticed at the sweep's next look.
        State::Active => live == 1 && !over,
        _ => !over,
    };
    if agreed {
        return Ok(());
    }
    broken("I24", format!("{} is {} while {live} instances run", row.id, row.state.name()))
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
    if failed && tempers && h.nothing_went_wrong() {
        let reason = row.ending.as_ref().and_then(|ending| ending.reason.as_deref());
        return broken("goal", format!("{} failed although nothing went wrong: {reason:?}", row.id));
    }
    Ok(())
}
