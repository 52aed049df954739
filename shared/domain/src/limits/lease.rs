//! What one gateway has leased of a scope, and what it does with it. It is kept in memory alone.

use std::{collections::BTreeMap, time::Duration};

use super::{Demand, Exchanged, LARGEST_BLOCK, LEASE, LEASE_MARGIN, Ledger, Limits, Meter, Part, Unit};
use crate::Timestamp;

/// A block that lasted shorter than the first was too small, and one that lasted longer than the second too large.
const PACE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// The largest block, in requests like the one that needs it.
const MOST_AHEAD: u64 = 1024;

/// A gateway's lease.
#[derive(Clone, Debug)]
pub struct Lease {
    holder: String,
    ledger: Ledger,
    until: Timestamp,
    /// Counts the leases that were lost: what was reserved from one of them is settled already.
    epoch: u64,
    parts: BTreeMap<Meter, Local>,
    /// For how many requests more than are waiting it leases at once.
    ahead: u64,
    /// When it last exchanged the row, and when it last knew it to be as it is.
    exchanged_at: Timestamp,
    known_at: Timestamp,
    used_at: Timestamp,
}

/// A meter's part of a lease.
#[derive(Clone, Copy, Debug, Default)]
struct Local {
    window: i64,
    held: u64,
    outstanding: u64,
    spent: u64,
}

impl Local {
    const fn free(&self) -> u64 {
        self.held.saturating_sub(self.outstanding.saturating_add(self.spent))
    }
}

/// What was reserved for one request. It is settled once, by value.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    epoch: u64,
    parts: Vec<(Meter, i64, u64)>,
}

impl Held {
    /// The meters that it was reserved from, each with the window that it counts in.
    pub fn windows(&self) -> impl Iterator<Item = (Meter, i64)> + '_ {
        self.parts.iter().map(|(meter, window, _)| (*meter, *window))
    }
}

/// How a limit stands, as far as this gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub meter: Meter,
    /// The limit.
    pub limit: u64,
    /// What is left in its present window.
    pub remaining: u64,
    /// When the window is over; `None` where it never is.
    pub end: Option<Timestamp>,
}

impl Standing {
    /// In how many seconds the window is over, from 1 on.
    #[must_use]
    pub fn reset_seconds(&self, now: Timestamp) -> u64 {
        self.end.map_or(1, |end| u64::try_from(end.since(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1))
    }
}

impl Lease {
    /// A lease of nothing, of which nothing is known.
    #[must_use]
    pub fn new(holder: String) -> Self {
        let never = Timestamp::from_millis(0);
        Self {
            holder,
            ledger: Ledger::default(),
            until: never,
            epoch: 0,
            parts: BTreeMap::new(),
            ahead: 0,
            exchanged_at: never,
            known_at: never,
            used_at: never,
        }
    }

    /// The row as it was last seen.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// When the row was last known to be so.
    #[must_use]
    pub const fn known_at(&self) -> Timestamp {
        self.known_at
    }

    /// The row was read.
    pub fn saw(&mut self, ledger: Ledger, now: Timestamp) {
        (self.ledger, self.known_at) = (ledger, now);
    }

    /// Reserves what a request takes at most, if all of it is there.
    pub fn reserve(&mut self, limits: &Limits, demand: &Demand, now: Timestamp) -> Option<Held> {
        self.used_at = now;
        let is_good = now < self.until.minus(LEASE_MARGIN);
        let there = |(meter, _): (Meter, u64)| {
            let part = self.parts.get(&meter).copied().unwrap_or_default();
            let wanted = demand.on(meter);
            // A window that is over has nothing left; one that others, whose clocks are ahead, have begun already is as good as ours.
            wanted == 0 || (part.window >= meter.window(now) && part.free() >= wanted)
        };
        let is_enough = limits.is_empty() || (is_good && limits.iter().all(there));
        if !is_enough {
            return None;
        }
        let mut held = Held { epoch: self.epoch, parts: Vec::with_capacity(limits.0.len()) };
        for (meter, _) in limits.iter() {
            let part = self.parts.entry(meter).or_default();
            part.outstanding += demand.on(meter);
            held.parts.push((meter, part.window, demand.on(meter)));
        }
        Some(held)
    }

    /// A request is over that has really used `used`; nothing, where nobody was asked.
    pub fn settle(&mut self, held: Held, used: &Demand, now: Timestamp) {
        self.used_at = now;
        for (meter, window, reserved) in held.parts {
            let Some(part) = self.parts.get_mut(&meter) else { continue };
            // What was reserved in a window that is over, or from a lease that was lost, is settled. A place is taken whatever the window.
            if meter.unit() == Unit::Places || (part.window == window && self.epoch == held.epoch) {
                part.outstanding = part.outstanding.saturating_sub(reserved);
                part.spent = part.spent.saturating_add(used.used(meter));
            }
        }
    }

    /// What it says and wishes for a request that takes `demand`, with `waiting` in all (that one included) that wait for it.
    #[must_use]
    pub fn wishes(&self, limits: &Limits, demand: &Demand, waiting: &Demand, now: Timestamp) -> BTreeMap<Meter, Part> {
        let settled = self.ledger.settled_at(limits, now);
        let wish = |(meter, limit): (Meter, u64)| {
            let mut part = self.part(meter);
            let window = settled.counts.get(&meter).map_or_else(|| meter.window(now), |count| count.window);
            let free = if part.window == window { self.parts.get(&meter).map_or(0, Local::free) } else { 0 };
            let used = settled.counts.get(&meter).map_or(0, |count| count.settled);
            let left = limit.saturating_sub(used).saturating_sub(settled.held_by_others(&self.holder, meter));
            let others = waiting.on(meter).saturating_sub(demand.on(meter));
            let block = others.saturating_add(demand.on(meter).saturating_mul(self.ahead)).min(left / LARGEST_BLOCK);
            // What is free now may be reserved while the row is being exchanged, so that it is never less.
            part.wish = free.max(demand.on(meter).saturating_add(block));
            (meter, part)
        };
        limits.iter().map(wish).collect()
    }

    /// What it says when it wishes nothing more: what is free is given back.
    #[must_use]
    pub fn farewell(&self, limits: &Limits) -> BTreeMap<Meter, Part> {
        limits.iter().map(|(meter, _)| (meter, self.part(meter))).collect()
    }

    fn part(&self, meter: Meter) -> Part {
        let Local { window, outstanding, spent, .. } = self.parts.get(&meter).copied().unwrap_or_default();
        Part { window, spent, outstanding, wish: 0 }
    }

    /// The row that is to be written in the place of `ledger`.
    #[must_use]
    pub fn exchange(
        &self,
        ledger: &Ledger,
        limits: &Limits,
        parts: &BTreeMap<Meter, Part>,
        now: Timestamp,
    ) -> Exchanged {
        ledger.exchange(limits, (&self.holder, now.plus(LEASE)), parts, now)
    }

    /// Whether a row gives it what a request takes, which said `parts`.
    #[must_use]
    pub fn is_enough(
        &self,
        Exchanged { ledger, lost }: &Exchanged,
        limits: &Limits,
        parts: &BTreeMap<Meter, Part>,
        demand: &Demand,
    ) -> bool {
        limits.iter().all(|(meter, _)| {
            let part = parts.get(&meter).copied().unwrap_or_default();
            let is_same = !lost && ledger.counts.get(&meter).is_some_and(|count| count.window == part.window);
            let kept = if is_same || meter.unit() == Unit::Places { part.outstanding } else { 0 };
            ledger.held(&self.holder, meter) >= demand.on(meter).saturating_add(kept)
        })
    }

    /// The row was written that says `parts`.
    pub fn accept(&mut self, exchanged: Exchanged, limits: &Limits, parts: &BTreeMap<Meter, Part>, now: Timestamp) {
        let Exchanged { ledger, lost } = exchanged;
        self.epoch += u64::from(lost);
        for (meter, _) in limits.iter() {
            let said = parts.get(&meter).copied().unwrap_or_default();
            let window = ledger.counts.get(&meter).map_or(0, |count| count.window);
            let part = self.parts.entry(meter).or_default();
            let goes_on = meter.unit() == Unit::Places || (part.window == window && !lost);
            let (outstanding, spent) =
                if goes_on { (part.outstanding, part.spent.saturating_sub(said.spent)) } else { (0, 0) };
            *part = Local { window, held: ledger.held(&self.holder, meter), outstanding, spent };
        }
        let lasted = now.since(self.exchanged_at);
        self.ahead = if lasted < PACE.0 {
            (self.ahead * 2).clamp(1, MOST_AHEAD)
        } else if lasted > PACE.1 {
            self.ahead / 2
        } else {
            self.ahead
        };
        (self.until, self.exchanged_at) = (now.plus(LEASE), now);
        self.saw(ledger, now);
    }

    /// Whether requests are being answered on it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.parts.values().any(|part| part.outstanding > 0)
    }

    /// Whether the row is to be told something, or given something back.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.ledger.holders.contains_key(&self.holder)
    }

    /// Whether it is to be renewed now, because requests are being answered on it that take long.
    #[must_use]
    pub fn is_to_be_renewed(&self, now: Timestamp) -> bool {
        self.is_busy() && now >= self.until.minus(LEASE / 2)
    }

    /// When it was last used.
    #[must_use]
    pub const fn used_at(&self) -> Timestamp {
        self.used_at
    }

    /// How each limit stands, as far as is known here.
    pub fn standings(&self, limits: &Limits, now: Timestamp) -> impl Iterator<Item = Standing> {
        let settled = self.ledger.settled_at(limits, now);
        let standing = move |(meter, limit): (Meter, u64)| {
            let count = settled.counts.get(&meter).copied().unwrap_or_default();
            let part = self.parts.get(&meter).filter(|part| part.window == count.window).copied().unwrap_or_default();
            let mine = part.outstanding.saturating_add(part.spent);
            let used = count.settled.saturating_add(settled.held_by_others(&self.holder, meter)).saturating_add(mine);
            Standing { meter, limit, remaining: limit.saturating_sub(used), end: meter.end(count.window) }
        };
        limits.0.iter().map(|(meter, limit)| (*meter, *limit)).map(standing)
    }

    /// The first limit that a request would pass.
    #[must_use]
    pub fn met(&self, limits: &Limits, demand: &Demand, now: Timestamp) -> Option<Standing> {
        self.standings(limits, now).find(|standing| standing.remaining < demand.on(standing.meter))
    }
}
