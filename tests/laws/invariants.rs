//! The laws, by their ids in the list of invariants.
//!
//! After every step: I1 to I6, I7's extensions, I9 and I22, over the rows that the step touched and all that runs; I8 and I16 to I19, over
//! the answers and the lines of the log that it gave. After every sweep of a calm world, since they say how soon something must have
//! happened: I6 and I7. At each quiet end, since they say what must have happened by then: I23, I24, and I5, I8 and I22 once more over whole
//! histories. I25 is about the code (`inventory`).

use std::{collections::BTreeMap, time::Duration};

use cloud::sim::Instance;
use domain::{
    Timestamp, Workload, WorkloadId,
    job::Hours,
    lifecycle::{Stage, State, Step},
    placement,
    policy::{GRACE, longest_stay},
    timeline::Entry,
};
use futures::executor::block_on;
use store::capacity::PoolCounts;

use super::{
    at_once::{i9_billed, i22_owner},
    harness::{Harness, Violation, broken},
    nodes,
};

/// How long after its time something may still be there in a calm world: a sweep, the end of what runs, and a sweep that sees it.
pub(crate) const SLACK: Duration = Duration::from_secs(210);

type Law = Result<(), Violation>;

impl Harness {
    /// A workload's row was written: what may change about it.
    pub(crate) fn row_moved(&mut self, id: WorkloadId, row: Option<Workload>) -> Law {
        let before = self.rows.workloads.get(&id);
        // That an agent was heard is written down without a version: it is no change.
        let heard_alone = |before: &Workload| {
            row.as_ref().is_some_and(|row| Workload { heard_at: row.heard_at, ..before.clone() } == *row)
        };
        if before.is_none() && row.is_none() || before.is_some_and(heard_alone) {
            self.rows.workloads.extend(row.map(|row| (id, row)));
            return Ok(());
        }
        match (before, &row) {
            (Some(_), None) => return broken("I8", format!("{id} was there and is gone")),
            (_, Some(after)) => {
                let known = before.map_or(0, |before| before.version);
                let entries =
                    block_on(self.truth.timeline(&after.tenant, id, known, 100)).expect("the tables are read");
                i5_follows(before.map_or(State::Queued, |before| before.state), known, (after, &entries))?;
                nodes::idled_rightly(self, before, (after, &entries))?;
                if let Some(before) = before {
                    i5_forward(before, after)?;
                    i7_end(self, before, (after, &entries))?;
                }
            }
            (None, None) => {}
        }
        let Some(row) = row else { return Ok(()) };
        i6_has_a_time(&row)?;
        let (begun, ended) = (before.is_none(), row.state == State::Ended);
        self.rows.workloads.insert(id, row.clone());
        if begun || ended {
            i22_owner(self, &row.tenant, &row.owner)?;
        }
        if ended { i9_billed(self, &row) } else { Ok(()) }
    }

    /// What holds between any two fault points.
    pub(crate) fn at_each_step(&self, rows_moved: bool) -> Law {
        if rows_moved {
            i1_ledger(self)?;
        }
        let now = self.world.now();
        let ours = |one: &&Instance| one.is_live(now) && !self.strays.contains(&one.order.workload);
        let live = self.instances.iter().filter(ours).collect::<Vec<_>>();
        i1_ground(self)?;
        i2_one_each(&live)?;
        i3_known(self, &live)?;
        i4_nothing_after_the_end(self)
    }

    /// I6, I7: after a sweep nothing is where it should have left, and nothing runs past its time.
    pub(crate) fn nothing_overdue(&self, calm_since: Timestamp) -> Law {
        let now = self.world.now();
        let late = |time: Timestamp| now > time.max(calm_since).plus(SLACK);
        for row in self.rows.workloads.values().filter(|row| row.state != State::Ended) {
            let (law, by) = match row.state {
                State::Draining => ("I6", row.ending.as_ref().map(|ending| ending.kill_at)),
                State::Active if row.duration.is_none() => ("I7", nodes::leaves_by(self, row)),
                State::Active => ("I7", row.expires_at),
                _ => ("I6", longest_stay(row.state).map(|stay| row.since.plus(stay))),
            };
            if by.is_none_or(late) {
                return broken(
                    law,
                    format!("{} is {} since {} and was to leave by {by:?}", row.id, row.state.name(), row.since),
                );
            }
        }
        for one in self.instances.iter().filter(|one| one.is_live(now)) {
            let end = self.rows.workloads.get(&one.order.workload).and_then(|row| row.expires_at);
            if end.is_some_and(|end| late(end.plus(GRACE))) {
                return broken("I7", format!("{} runs although its time was over at {end:?}", one.order.workload));
            }
        }
        Ok(())
    }
}

/// I5: a row that was written has moved on, and has a version of its own.
fn i5_forward(before: &Workload, after: &Workload) -> Law {
    let forward = after.state >= before.state && before.state != State::Ended;
    if forward && after.version > before.version && after.attempt >= before.attempt {
        return Ok(());
    }
    let step = format!("{} v{} -> {} v{}", before.state.name(), before.version, after.state.name(), after.version);
    broken("I5", format!("{}: {step}", before.id))
}

/// I5: from the version `known`, at which it was in `state`, one entry leads to each version up to the row's, and each is a step that
/// the table of a life has.
pub(crate) fn i5_follows(mut state: State, known: u64, (row, entries): (&Workload, &[Entry])) -> Law {
    for (number, entry) in (known + 1..).zip(entries) {
        let step = state == entry.phase || Step::ALL.into_iter().any(|step| state.after(step) == Some(entry.phase));
        if entry.version != number || !step {
            let seen = format!("{} after {}, number {number}: {entry:?}", entry.phase.name(), state.name());
            return broken("I5", format!("{}: {seen}", row.id));
        }
        state = entry.phase;
    }
    let there = known + u64::try_from(entries.len()).unwrap_or(0);
    if state == row.state && there == row.version {
        return Ok(());
    }
    let (is, says) = (row.state.name(), state.name());
    broken("I5", format!("{} is {is} at version {}, and its timeline says {says} at {there}", row.id, row.version))
}

/// I6: whatever has not ended has a time at which the sweep looks at it.
fn i6_has_a_time(row: &Workload) -> Law {
    if (row.state == State::Ended) == row.due_at().is_none() {
        return Ok(());
    }
    broken("I6", format!("{} is {} and nobody looks at it", row.id, row.state.name()))
}

/// I7: a life is as long as was asked for from its activation on, at most the policy's longest, and moves only while it is active and
/// not over.
fn i7_end(h: &Harness, before: &Workload, (after, entries): (&Workload, &[Entry])) -> Law {
    let told = |why: &str| {
        let (was, is) = (before.expires_at, after.expires_at);
        broken("I7", format!("{} {why}: it was to end at {was:?} and now at {is:?}: {entries:?}", after.id))
    };
    if after.duration > Some(Hours::whole(h.plane.settings.policy.longest_hours)) {
        return told("lasts too long");
    }
    let begun = |row: &Workload| row.expires_at.zip(row.duration).map(|(end, lasts)| end.minus(lasts.duration()));
    match (before.expires_at, after.expires_at) {
        (None, None) => Ok(()),
        (None, Some(_)) if entries.iter().any(|one| one.phase == State::Active && begun(after) == Some(one.at)) => {
            Ok(())
        }
        (None, Some(_)) => told("does not last from its activation on"),
        (Some(_), _) if begun(before) != begun(after) => told("lasts longer or shorter than was asked for"),
        (old, new) if old == new => Ok(()),
        (old, new) => {
            let in_time = |one: &Entry| one.kind == "extended" && old.is_some_and(|old| one.at < old);
            let active = before.state == State::Active && after.state == State::Active;
            let extended = !entries.is_empty() && entries.iter().all(in_time);
            if active && extended && new > old { Ok(()) } else { told("was moved by nobody who may") }
        }
    }
}

/// I1 in the tables: what nodes have left is what they have less what is booked, and counts are those of the rows (I22).
fn i1_ledger(h: &Harness) -> Law {
    for (pool, view) in &h.rows.pools {
        let mine = || h.rows.workloads.values().filter(|row| row.pool() == pool);
        for node in &view.nodes {
            let booked = mine().filter(|row| row.state.holds_gpus() && row.node.as_ref() == Some(&node.id));
            let booked = booked.map(|row| row.spec.gpu_count).sum::<u32>();
            if booked > node.total || node.free != node.total - booked {
                return broken("I1", format!("{}: {booked} of {} booked, {} free", node.id, node.total, node.free));
            }
        }
        let counted =
            |wanted: fn(State) -> bool| u64::try_from(mine().filter(|row| wanted(row.state)).count()).unwrap_or(0);
        let counts = PoolCounts {
            queued: counted(|state| state == State::Queued),
            queued_gpus: mine().filter(|row| row.state == State::Queued).map(|row| u64::from(row.spec.gpu_count)).sum(),
            preparing: counted(|state| state.stage() == Stage::Launching),
            active: counted(|state| matches!(state, State::Active | State::Draining)),
        };
        if counts != view.counts {
            return broken("I22", format!("{pool}: {:?} counted where there are {counts:?}", view.counts));
        }
    }
    Ok(())
}

/// I1 on the ground: no node runs more GPUs than it has.
fn i1_ground(h: &Harness) -> Law {
    for (node, gpus) in h.world.gpus_claimed(h.world.now()) {
        if h.nodes.get(&node).is_none_or(|most| gpus > *most) {
            return broken("I1", format!("{gpus} GPUs run on {node}"));
        }
    }
    Ok(())
}

/// I2: a workload runs once at any time.
fn i2_one_each(live: &[&Instance]) -> Law {
    let mut seen = BTreeMap::new();
    for one in live {
        if let Some(other) = seen.insert(one.order.workload, &one.id) {
            return broken("I2", format!("{} runs as {other} and as {}", one.order.workload, one.id));
        }
    }
    Ok(())
}

/// I3: whatever runs was written down before: its workload, its attempt, its node and its GPUs.
fn i3_known(h: &Harness, live: &[&Instance]) -> Law {
    for one in live {
        let order = &one.order;
        let Some(row) = h.rows.workloads.get(&order.workload) else {
            return broken("I3", format!("{} runs for nobody", one.id));
        };
        let same =
            row.tenant == order.tenant && row.node.as_ref() == Some(&order.node) && row.spec.gpu_count == order.gpus;
        if !same || row.attempt != order.attempt {
            return broken(
                "I3",
                format!("{} runs attempt {} of {}, whose row says otherwise", one.id, order.attempt, row.id),
            );
        }
    }
    Ok(())
}

/// I4: nothing has ended that runs, or can still come to run.
fn i4_nothing_after_the_end(h: &Harness) -> Law {
    let now = h.world.now();
    let under_way = h.world.next_arrival().is_some();
    for row in h.rows.workloads.values().filter(|row| row.state == State::Ended) {
        let mut mine = h.instances.iter().filter(|one| one.order.workload == row.id).peekable();
        // A late repetition of an order that was carried out finds what was made then, and makes nothing.
        let may = under_way && mine.peek().is_none() && h.world.may_run(row.id);
        if may || mine.any(|one| one.is_live(now)) {
            return broken("I4", format!("{} has ended and runs, or may yet", row.id));
        }
    }
    Ok(())
}

/// The first of a pool's queue fits nowhere.
pub(crate) fn nobody_waits_for_nothing(h: &Harness) -> Law {
    for (pool, view) in &h.rows.pools {
        // Those whose disk somebody else has let others go before them.
        let mut waiting = block_on(h.truth.waiting(pool, 100)).expect("the tables are read");
        waiting.retain(|one| one.disk.as_ref().is_none_or(|needed| h.disks.can_be_had(needed.disk)));
        waiting.truncate(1);
        if let Some(place) = placement::decide(&view.nodes, &waiting).first() {
            return broken("I24", format!("{} waits although {} has room", place.waiting.workload, place.node));
        }
    }
    Ok(())
}
