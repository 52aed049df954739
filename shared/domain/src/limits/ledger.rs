//! What is left of a scope's limits: one row, which gateways exchange for the next under the condition that nobody else did meanwhile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Limits, Meter, Unit};
use crate::Timestamp;

/// The row of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Grows by one with each change; 0 before there is a row.
    pub version: u64,
    /// What was used, meter by meter.
    #[serde(default)]
    pub counts: BTreeMap<Meter, Count>,
    /// Who leases what.
    #[serde(default)]
    pub holders: BTreeMap<String, Holding>,
}

/// What was used of a meter in its present window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The window's number.
    #[serde(rename = "w")]
    pub window: i64,
    /// How much was used up.
    #[serde(rename = "s")]
    pub settled: u64,
    /// How much was used beyond the limit, because a request took more than it was thought to take at most: the next windows begin with it.
    #[serde(rename = "o", default, skip_serializing_if = "is_zero")]
    pub owed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What one gateway leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// When it is over, unless it is renewed.
    #[serde(rename = "u")]
    pub until: Timestamp,
    /// How much of each meter, in the meter's present window.
    #[serde(rename = "h", default)]
    pub held: BTreeMap<Meter, u64>,
}

/// What a holder says of a meter, and wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The window that the rest is about.
    pub window: i64,
    /// What was used up since it last said so.
    pub spent: u64,
    /// What is reserved for requests that are being answered.
    pub outstanding: u64,
    /// What it wishes to hold beyond that.
    pub wish: u64,
}

/// A row that is to be written in the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanged {
    /// The row.
    pub ledger: Ledger,
    /// The holder's lease had ended, and what it held was counted as used.
    pub lost: bool,
}

impl Ledger {
    /// How much of a meter a holder holds.
    #[must_use]
    pub fn held(&self, holder: &str, meter: Meter) -> u64 {
        self.holders.get(holder).and_then(|holding| holding.held.get(&meter)).copied().unwrap_or(0)
    }

    /// How much of a meter all the others hold.
    #[must_use]
    pub fn held_by_others(&self, holder: &str, meter: Meter) -> u64 {
        let others = self.holders.iter().filter(|(name, _)| *name != holder);
        others.filter_map(|(_, holding)| holding.held.get(&meter)).sum()
    }

    /// As it is at `now`: windows that are over begin anew, and what was held in them is forgotten; what holders had leased whose time is over
    /// counts as used, since nobody knows what they did with it.
    #[must_use]
    pub fn settled_at(&self, limits: &Limits, now: Timestamp) -> Self {
        let mut next = self.clone();
        for (meter, limit) in limits.iter() {
            let window = meter.window(now);
            let count = next.counts.entry(meter).or_insert(Count { window, ..Count::default() });
            if count.window < window {
                *count = count.begin(window, limit);
                for holding in next.holders.values_mut() {
                    holding.held.remove(&meter);
                }
            }
        }
        let Self { counts, holders, .. } = &mut next;
        holders.retain(|_, holding| {
            let is_live = now < holding.until;
            if !is_live {
                for (meter, held) in &holding.held {
                    let count = counts.get_mut(meter).filter(|_| meter.unit() != Unit::Places);
                    if let Some(count) = count {
                        count.settled = count.settled.saturating_add(*held);
                    }
                }
            }
            is_live
        });
        next
    }

    /// What the row is to be when `holder` has said what it used, and leases until `until` what it wishes, as far as that is there.
    #[must_use]
    pub fn exchange(
        &self,
        limits: &Limits,
        (holder, until): (&str, Timestamp),
        parts: &BTreeMap<Meter, Part>,
        now: Timestamp,
    ) -> Exchanged {
        let mut next = self.settled_at(limits, now);
        let lost = self.holders.contains_key(holder) && !next.holders.contains_key(holder);
        let mut held = BTreeMap::new();
        for (meter, limit) in limits.iter() {
            let before = next.held(holder, meter);
            let others = next.held_by_others(holder, meter);
            let Some(count) = next.counts.get_mut(&meter) else { continue };
            let part = parts.get(&meter).copied().unwrap_or_default();
            let is_place = meter.unit() == Unit::Places;
            // What it says about a window that is over, or about a lease that was, has been forgotten, or counted as used, already.
            let is_about_now = is_place || (part.window == count.window && !lost);
            let (spent, kept) = if is_about_now { (part.spent, part.outstanding) } else { (0, 0) };
            count.use_up(spent, before.saturating_sub(kept), limit.saturating_sub(others.saturating_add(kept)));
            let room = limit.saturating_sub(count.settled).saturating_sub(others).saturating_sub(kept);
            let holds = kept.saturating_add(part.wish.min(room));
            if holds > 0 {
                held.insert(meter, holds);
            }
        }
        if held.is_empty() {
            next.holders.remove(holder);
        } else {
            next.holders.insert(holder.to_owned(), Holding { until, held });
        }
        next.version = self.version + 1;
        Exchanged { ledger: next, lost }
    }

    /// Whether it says the same, whatever their versions.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.counts == other.counts && self.holders == other.holders
    }

    /// When the first of the leases ends; `None` where there is none.
    #[must_use]
    pub fn first_end(&self) -> Option<Timestamp> {
        self.holders.values().map(|holding| holding.until).min()
    }
}

impl Count {
    /// The first moment of another window: what is owed is used up first, and each window that nobody used has taken its part of it.
    fn begin(self, window: i64, limit: u64) -> Self {
        let idle = u64::try_from(window - self.window - 1).unwrap_or(0);
        let owed = self.owed.saturating_sub(limit.saturating_mul(idle));
        let settled = owed.min(limit);
        Self { window, settled, owed: owed - settled }
    }

    /// `spent` was used up, of which `held` was leased. What was used beyond that is taken from what is left below `most`, and owed beyond that.
    fn use_up(&mut self, spent: u64, held: u64, most: u64) {
        let leased = spent.min(held);
        self.settled = self.settled.saturating_add(leased);
        let beyond = (spent - leased).min(most.saturating_sub(self.settled));
        self.settled = self.settled.saturating_add(beyond);
        self.owed = self.owed.saturating_add(spent - leased - beyond);
    }
}
