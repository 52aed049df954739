//! Limits of inference: how many requests, tokens and dollars a key, a tenant or a model may use in a window of time.
//!
//! A limit is exact under concurrency because nothing is asked of a model before it is *reserved* (trap T12). What is left of a limit lies in
//! a [`Ledger`]: one row for each key, tenant and model that has limits. A gateway leases a block of it ([`Lease`]) and reserves from that block
//! without asking anybody; it gives back what it did not use. In every window, at all times:
//!
//! ```text
//! settled + what the holders of leases hold <= limit          (invariant I21)
//! ```
//!
//! Windows are those of the calendar in UTC: the minute, the hour, the day, the month. A window that has passed is forgotten.

mod lease;
mod ledger;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use lease::{Held, Lease, Standing};
pub use ledger::{Count, Exchanged, Holding, Ledger, Part};

use crate::Timestamp;

/// What is counted, and over which window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// Requests in a second: a burst.
    RequestsPerSecond,
    /// Requests in a minute.
    RequestsPerMinute,
    /// Requests in an hour.
    RequestsPerHour,
    /// Tokens in a minute, those read and those written.
    TokensPerMinute,
    /// Tokens in an hour.
    TokensPerHour,
    /// Tokens in a day.
    TokensPerDay,
    /// Requests that are being answered at this moment.
    ConcurrentRequests,
    /// Millionths of a dollar in a month.
    BudgetPerMonth,
}

/// What a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
    /// Requests while they last.
    Places,
    /// Millionths of a dollar.
    Micros,
}

impl Meter {
    /// Every meter.
    pub const ALL: [Self; 8] = [
        Self::RequestsPerSecond,
        Self::RequestsPerMinute,
        Self::RequestsPerHour,
        Self::TokensPerMinute,
        Self::TokensPerHour,
        Self::TokensPerDay,
        Self::ConcurrentRequests,
        Self::BudgetPerMonth,
    ];

    /// What it counts.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::RequestsPerSecond | Self::RequestsPerMinute | Self::RequestsPerHour => Unit::Requests,
            Self::TokensPerMinute | Self::TokensPerHour | Self::TokensPerDay => Unit::Tokens,
            Self::ConcurrentRequests => Unit::Places,
            Self::BudgetPerMonth => Unit::Micros,
        }
    }

    /// In words, for whoever met it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests per second",
            Self::RequestsPerMinute => "requests per minute",
            Self::RequestsPerHour => "requests per hour",
            Self::TokensPerMinute => "tokens per minute",
            Self::TokensPerHour => "tokens per hour",
            Self::TokensPerDay => "tokens per day",
            Self::ConcurrentRequests => "concurrent requests",
            Self::BudgetPerMonth => "the month's budget",
        }
    }

    /// How many seconds its window has; `None` where those differ, or where it has none.
    const fn seconds(self) -> Option<i64> {
        match self {
            Self::RequestsPerSecond => Some(1),
            Self::RequestsPerMinute | Self::TokensPerMinute => Some(60),
            Self::RequestsPerHour | Self::TokensPerHour => Some(3_600),
            Self::TokensPerDay => Some(86_400),
            Self::ConcurrentRequests | Self::BudgetPerMonth => None,
        }
    }

    /// The number of the window that `at` lies in. Later windows have higher numbers.
    #[must_use]
    pub fn window(self, at: Timestamp) -> i64 {
        match (self.seconds(), self) {
            (Some(seconds), _) => at.seconds() / seconds,
            (None, Self::BudgetPerMonth) => at.month(),
            // What is being answered now has one window, which never ends.
            (None, _) => 0,
        }
    }

    /// When a window is over; `None` for one that never is.
    #[must_use]
    pub fn end(self, window: i64) -> Option<Timestamp> {
        match (self.seconds(), self) {
            (Some(seconds), _) => {
                Some(Timestamp::from_millis(window.saturating_add(1).saturating_mul(seconds).saturating_mul(1000)))
            }
            (None, Self::BudgetPerMonth) => Some(Timestamp::of_month(window.saturating_add(1))),
            (None, _) => None,
        }
    }
}

/// The limits of a scope: those meters that have one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limits(BTreeMap<Meter, u64>);

impl Limits {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With this limit for a meter.
    #[must_use]
    pub fn with(mut self, meter: Meter, limit: u64) -> Self {
        self.0.insert(meter, limit);
        self
    }

    /// Without a limit for a meter.
    #[must_use]
    pub fn without(mut self, meter: Meter) -> Self {
        self.0.remove(&meter);
        self
    }

    /// The limit of a meter, if it has one.
    #[must_use]
    pub fn of(&self, meter: Meter) -> Option<u64> {
        self.0.get(&meter).copied()
    }

    /// Each meter that has a limit, with it.
    pub fn iter(&self) -> impl Iterator<Item = (Meter, u64)> + '_ {
        self.0.iter().map(|(meter, limit)| (*meter, *limit))
    }

    /// Whether tokens, or dollars, are limited: then it must be known how many tokens a request can take.
    #[must_use]
    pub fn bound_tokens(&self) -> bool {
        self.0.keys().any(|meter| matches!(meter.unit(), Unit::Tokens | Unit::Micros))
    }
}

/// What one request takes of each unit, at most (when it is reserved) or really (when it is settled).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Requests: one, or none where a request was never made.
    pub requests: u64,
    /// Tokens, those read and those written.
    pub tokens: u64,
    /// Millionths of a dollar.
    pub micros: u64,
}

impl Demand {
    /// How much of a meter it takes while it lasts.
    #[must_use]
    pub const fn on(&self, meter: Meter) -> u64 {
        match meter.unit() {
            Unit::Requests | Unit::Places => self.requests,
            Unit::Tokens => self.tokens,
            Unit::Micros => self.micros,
        }
    }

    /// How much of a meter it has used up when it is over.
    #[must_use]
    pub const fn used(&self, meter: Meter) -> u64 {
        match meter.unit() {
            Unit::Places => 0,
            Unit::Requests | Unit::Tokens | Unit::Micros => self.on(meter),
        }
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
            micros: self.micros.saturating_add(other.micros),
        }
    }

    /// Without `other`.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            tokens: self.tokens.saturating_sub(other.tokens),
            micros: self.micros.saturating_sub(other.micros),
        }
    }
}

/// How long a lease is good after it was last renewed: what a gateway held that died counts as used from then on.
pub const LEASE: Duration = Duration::from_secs(60);

/// A gateway stops using a lease so long before it ends, because others judge its end by their own clocks.
pub const LEASE_MARGIN: Duration = crate::policy::CLOCKS_APART;

/// Of what is left, a gateway leases at most this part beyond what it needs at once: so much is lost when it dies.
pub const LARGEST_BLOCK: u64 = 32;

#[cfg(test)]
mod tests;
