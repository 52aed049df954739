//! What may go wrong with a call, and when it does.

use std::{collections::BTreeMap, convert::Infallible};

use async_trait::async_trait;

use super::rng::Rng;

/// Calls whose answer may be of a while ago.
const STALE: [&str; 6] =
    ["fleet.describe", "fleet.list", "store.Query", "volumes.snapshot_state", "volumes.snapshots", "volumes.volumes"];

/// Calls that may take effect long after nobody has answered them.
const LATE: [&str; 5] = ["fleet.provision", "queue.send", "volumes.attach", "volumes.create", "volumes.snapshot"];

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// An error, and nothing happened. For a write of the store it is a conflict with another transaction.
    ErrorBefore,
    /// It happened, and the answer is an error.
    ErrorAfter,
    /// No answer, and nothing happened.
    TimeoutBefore,
    /// No answer, and it happened.
    TimeoutAfter,
    /// No answer, and it happens up to two minutes later: the request was still under way.
    TimeoutLate,
    /// This call and the following ones of the same kind, so many altogether, are refused as too many; nothing happened.
    Throttle(u32),
    /// It happened twice, and the answer is the second one: the request was repeated on the way because the first answer was lost.
    Twice,
    /// The answer is what was true a while ago.
    StaleRead,
    /// The caller dies before anything happens.
    CrashBefore,
    /// It happens, and the caller dies before it learns so.
    CrashAfter,
}

impl Fault {
    /// Every fault, for a test that goes through all of them.
    pub const ALL: [Self; 10] = [
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::TimeoutBefore,
        Self::TimeoutAfter,
        Self::TimeoutLate,
        Self::Throttle(3),
        Self::Twice,
        Self::StaleRead,
        Self::CrashBefore,
        Self::CrashAfter,
    ];

    /// Whether this fault is anything of its own at calls named `label`. Writes and strong reads cannot be stale, and only what is handed
    /// over to somebody else can happen late; elsewhere both of them are left out of an enumeration.
    #[must_use]
    pub fn concerns(self, label: &str) -> bool {
        match self {
            Self::StaleRead => STALE.contains(&label),
            Self::TimeoutLate => LATE.contains(&label),
            Self::ErrorBefore
            | Self::ErrorAfter
            | Self::TimeoutBefore
            | Self::TimeoutAfter
            | Self::Throttle(_)
            | Self::Twice
            | Self::CrashBefore
            | Self::CrashAfter => true,
        }
    }

    /// What a caller at `label` is to do about this fault; `None` when it dies before it does anything.
    fn verdict(self, label: &str) -> Option<Verdict> {
        let concerns = self.concerns(label);
        Some(match self {
            Self::ErrorBefore => Verdict::FailBefore(error_at(label)),
            Self::ErrorAfter => Verdict::FailAfter(Failure::Unavailable),
            Self::TimeoutBefore => Verdict::FailBefore(Failure::Timeout),
            Self::TimeoutLate if concerns => Verdict::FailLate(Failure::Timeout),
            Self::TimeoutAfter | Self::TimeoutLate => Verdict::FailAfter(Failure::Timeout),
            Self::Throttle(_) => Verdict::FailBefore(Failure::Throttled),
            Self::Twice => Verdict::Twice,
            Self::StaleRead if concerns => Verdict::Stale,
            Self::StaleRead => Verdict::Proceed,
            Self::CrashBefore => return None,
            Self::CrashAfter => Verdict::CrashAfter,
        })
    }
}

/// The commonest error without an effect: `DynamoDB`'s transactions conflict, everything else is unavailable.
fn error_at(label: &str) -> Failure {
    let conflicts = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "TransactGetItems"];
    let conflicting = label.strip_prefix("store.").is_some_and(|action| conflicts.contains(&action));
    if conflicting { Failure::Conflict } else { Failure::Unavailable }
}

/// How a call fails, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another transaction is at work on the same item: `TransactionConflictException`, or a cancelled transaction whose reasons are
    /// `TransactionConflict`. Given to the store's writes only.
    Conflict,
    /// An error of the service: come again.
    Unavailable,
    /// No answer.
    Timeout,
    /// Asked too often: `ProvisionedThroughputExceededException` in the store.
    Throttled,
}

/// What is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Do it.
    Proceed,
    /// Do nothing and fail.
    FailBefore(Failure),
    /// Do it, forget the answer, and fail.
    FailAfter(Failure),
    /// Fail now and do it later. Given only where [`Fault::TimeoutLate`] concerns the call, so never to the store.
    FailLate(Failure),
    /// Do it twice and give the second answer.
    Twice,
    /// Answer from an earlier state. Whoever is asked for a strongly consistent read takes it for [`Verdict::Proceed`].
    Stale,
    /// Do it and then await [`FaultPoint::crash`].
    CrashAfter,
}

/// A place where a call goes out, so that something can go wrong there. The store's connector holds one in tests.
#[async_trait]
pub trait FaultPoint: Send + Sync {
    /// Says what is to become of the call named `label`, such as `store.TransactWriteItems`. Other tasks may run before it comes back;
    /// it never does where the caller is to die first.
    async fn before(&self, label: &str) -> Verdict;

    /// The caller dies here: its executor drops it.
    async fn crash(&self) -> Infallible;
}

/// Which calls go wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FaultPlan {
    /// None.
    #[default]
    None,
    /// The `n`-th call of the world, counting from 1.
    Nth {
        /// Which call.
        n: u64,
        /// What goes wrong with it.
        fault: Fault,
    },
    /// Several calls of the world, by their numbers.
    At(BTreeMap<u64, Fault>),
    /// Every call with the same probability, with any of the faults that concern it.
    Random {
        /// How many calls out of a thousand.
        per_mille: u16,
    },
}

/// A fault that a plan gave to a call.
#[derive(Debug)]
pub(super) struct Planned {
    /// What the log says.
    pub(super) fault: Option<Fault>,
    /// What the caller does; `None` when it dies.
    pub(super) verdict: Option<Verdict>,
}

/// The plan, the outages and what is left of a throttling.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) plan: FaultPlan,
    outages: Vec<String>,
    throttled: BTreeMap<String, u32>,
    rng: Rng,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            plan: FaultPlan::None,
            outages: Vec::new(),
            throttled: BTreeMap::new(),
            rng: Rng::stream(seed, "faults"),
        }
    }

    /// Replaces the plan. What is left of a throttling belongs to the old one.
    pub(super) fn follow(&mut self, plan: FaultPlan) {
        self.plan = plan;
        self.throttled.clear();
    }

    pub(super) fn set_outage(&mut self, prefix: &str, on: bool) {
        self.outages.retain(|known| known != prefix);
        if on {
            self.outages.push(prefix.to_owned());
        }
    }

    /// What becomes of the `n`-th call, which is named `label`. Outside an executor nobody `can_die`: a crash is a time-out there, since a
    /// test that calls a port by itself would wait for ever.
    pub(super) fn decide(&mut self, n: u64, label: &str, can_die: bool) -> Planned {
        if self.outages.iter().any(|prefix| label.starts_with(prefix.as_str())) {
            return Planned {
                fault: Some(Fault::ErrorBefore),
                verdict: Some(Verdict::FailBefore(Failure::Unavailable)),
            };
        }
        let fault = self.still_throttled(label).or_else(|| self.planned(n, label)).map(|fault| match fault {
            Fault::CrashBefore if !can_die => Fault::TimeoutBefore,
            Fault::CrashAfter if !can_die => Fault::TimeoutAfter,
            fault => fault,
        });
        Planned { fault, verdict: fault.map_or(Some(Verdict::Proceed), |fault| fault.verdict(label)) }
    }

    fn still_throttled(&mut self, label: &str) -> Option<Fault> {
        let left = self.throttled.get_mut(label)?;
        *left = left.checked_sub(1)?;
        Some(Fault::Throttle(*left + 1))
    }

    fn planned(&mut self, n: u64, label: &str) -> Option<Fault> {
        let fault = match &self.plan {
            FaultPlan::None => None,
            FaultPlan::Nth { n: chosen, fault } => (*chosen == n).then_some(*fault),
            FaultPlan::At(faults) => faults.get(&n).copied(),
            FaultPlan::Random { per_mille } => {
                let concerning = Fault::ALL.into_iter().filter(|fault| fault.concerns(label)).collect::<Vec<_>>();
                self.rng.chance(*per_mille).then(|| self.rng.pick(&concerning)).flatten()
            }
        }?;
        if let Fault::Throttle(times) = fault {
            self.throttled.insert(label.to_owned(), times.saturating_sub(1));
        }
        Some(fault)
    }
}
