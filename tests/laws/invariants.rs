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
    lifecycle::{Stage, State},
    placement,
    policy::{GRACE, longest_stay},
};
use futures::executor::block_on;
use store::capacity::PoolCounts;

use super::{
    at_once::{i9_billed, i22_owner},
    harness::{Harness, Violation, broken},
};

/// How long after its time something may still be there in a calm world: a sweep, the end of what runs, and a sweep that sees it.
const SLACK: Duration = Duration::from_secs(210);

type Law = Result<(), Violation>;

impl Harness {
    /// A workload's row was written: what may change about it.
    pub(crate) fn row_moved(&mut self, id: WorkloadId, row: Option<Workload>) -> Law {
        let before = self.rows.workloads.get(&id);
        match (before, &row) {
            (Some(before), Some(after)) => {
                i5_forward(before, after)?;
                i7_extended(self, before, after)?;
            }
            (Some(_), None) => return broken("I8", format!("{id} was there and is gone")),
            (None, Some(_) | None) => {}
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
        let live = self.instances.iter().filter(|one| one.is_live(now)).collect::<Vec<_>>();
        i1_ground(self, &live)?;
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

/// I5: the state never steps back, and every change has a version of its own.
fn i5_forward(before: &Workload, after: &Workload) -> Law {
    let forward = after.state >= before.state && before.state != State::Ended || after == before;
    let numbered = after.version > before.version || after == before;
    if forward && numbered && after.attempt >= before.attempt {
        return Ok(());
    }
    let step = format!("{} v{} -> {} v{}", before.state.name(), before.version, after.state.name(), after.version);
    broken("I5", format!("{}: {step}", before.id))
}

/// I6: whatever has not ended has a time at which the sweep looks at it.
fn i6_has_a_time(row: &Workload) -> Law {
    if (row.state == State::Ended) == row.due_at().is_none() {
        return Ok(());
    }
    broken("I6", format!("{} is {} and nobody looks at it", row.id, row.state.name()))
}

/// I7: a life is as long as was asked for, at most the policy's longest, and moves only while it is active and not over.
fn i7_extended(h: &Harness, before: &Workload, after: &Workload) -> Law {
    if after.duration > Hours::whole(h.plane.settings.policy.longest_hours) {
        return broken("I7", format!("{} lasts {} hours", after.id, after.duration.number()));
    }
    let (Some(old), Some(new)) = (before.expires_at, after.expires_at) else { return Ok(()) };
    if old == new {
        return Ok(());
    }
    let entries = block_on(h.truth.timeline(&after.tenant, after.id, before.version, 1)).expect("the tables are read");
    let in_time = entries.iter().all(|entry| entry.at < old && entry.kind == "extended");
    if before.state == State::Active && after.state == State::Active && in_time && new > old {
        return Ok(());
    }
    broken("I7", format!("{} was to end at {old} and now at {new}: {entries:?}", after.id))
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
fn i1_ground(h: &Harness, live: &[&Instance]) -> Law {
    let mut claimed = BTreeMap::new();
    for one in live {
        *claimed.entry(&one.order.node).or_insert(0) += one.order.gpus;
    }
    for (node, gpus) in claimed {
        if h.nodes.get(node).is_none_or(|most| gpus > *most) {
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
        let waiting = block_on(h.truth.waiting(pool, 1)).expect("the tables are read");
        if let Some(place) = placement::decide(&view.nodes, &waiting).first() {
            return broken("I24", format!("{} waits although {} has room", place.waiting.workload, place.node));
        }
    }
    Ok(())
}
