//! For how long nothing has happened, from what really goes on: SSH sessions, Jupyter's kernels, requests to the model, GPUs at work.
//!
//! What cannot be seen is never taken for nothing: a workload is not ended because its agent was blind.

mod kernels;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cloud::Clock;
use domain::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use self::kernels::Kernels;
use crate::{endpoint::Traffic, link::FromInner, node::Node};

/// How often is looked. What comes and goes in between is noticed where it passes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether something is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Doing {
    Something,
    Nothing,
    /// It cannot be seen.
    Unknown,
}

/// What was seen at one moment.
#[derive(Clone, Copy, Debug)]
struct Signals {
    /// How many SSH sessions and forwarded connections are open.
    sessions: usize,
    /// A Jupyter kernel computes, or did something since the last look.
    kernels: bool,
    /// A request waits for its answer, or bytes went either way since the last look.
    requests: bool,
    /// The GPUs, where there are some that this copy watches.
    gpus: Option<Doing>,
}

impl Signals {
    /// Whether something is going on, all in all.
    fn doing(self) -> Doing {
        match self.gpus {
            _ if self.sessions > 0 || self.kernels || self.requests => Doing::Something,
            Some(gpus) => gpus,
            None => Doing::Nothing,
        }
    }
}

/// For how long nothing has happened in one place. A pure value: the time is told to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Something is going on.
    Not,
    Since(Timestamp),
    /// It cannot be said.
    Unknown,
}

impl Idle {
    /// What it is after this was seen at `now`.
    pub(crate) fn after(self, doing: Doing, now: Timestamp) -> Self {
        match (doing, self) {
            (Doing::Something, _) => Self::Not,
            (Doing::Unknown, _) => Self::Unknown,
            (Doing::Nothing, Self::Since(since)) => Self::Since(since),
            (Doing::Nothing, Self::Not | Self::Unknown) => Self::Since(now),
        }
    }
}

/// For how many whole seconds nothing has happened in any of these places, at `now`; `None` when that cannot be said. Before `ready`
/// its launch goes on.
pub(crate) fn seconds(places: &[Idle], ready: Option<Timestamp>, now: Timestamp) -> Option<u64> {
    let Some(mut latest) = ready else { return Some(0) };
    if places.contains(&Idle::Not) {
        return Some(0);
    }
    for place in places {
        match place {
            Idle::Since(since) => latest = latest.max(*since),
            Idle::Not | Idle::Unknown => return None,
        }
    }
    Some(now.since(latest).as_secs())
}

/// What goes on beside the user's code, as its parts tell it.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// At the model's endpoint.
    pub(crate) traffic: Arc<Traffic>,
    kernels: AtomicBool,
    gpus: Mutex<Option<Doing>>,
}

impl Activity {
    /// Whether a Jupyter kernel is at work.
    pub(crate) fn kernels(&self, busy: bool) {
        self.kernels.store(busy, Ordering::Relaxed);
    }

    /// Whether the GPUs are at work.
    pub(crate) fn gpus(&self, doing: Doing) {
        *self.gpus.lock().unwrap_or_else(PoisonError::into_inner) = Some(doing);
    }
}

/// Looks again and again, and tells when it changes whether something is going on.
pub(crate) async fn watch(node: Arc<Node>, clock: Arc<dyn Clock>) {
    let mut told = None;
    loop {
        let activity = &node.activity;
        let signals = Signals {
            sessions: node.access.sessions(),
            kernels: activity.kernels.load(Ordering::Relaxed),
            requests: activity.traffic.since_last_look(),
            gpus: *activity.gpus.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let doing = signals.doing();
        if told.replace(doing) != Some(doing) {
            node.tell(FromInner::Doing { doing }).await;
        }
        clock.sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_signal_is_something() {
        let quiet = Signals { sessions: 0, kernels: false, requests: false, gpus: None };
        let with = |gpus| Signals { gpus: Some(gpus), ..quiet };
        for (signals, doing) in [
            (quiet, Doing::Nothing),
            (Signals { sessions: 1, ..quiet }, Doing::Something),
            (Signals { kernels: true, ..quiet }, Doing::Something),
            (Signals { requests: true, ..quiet }, Doing::Something),
            (with(Doing::Something), Doing::Something),
            (with(Doing::Nothing), Doing::Nothing),
            (with(Doing::Unknown), Doing::Unknown),
            (Signals { requests: true, ..with(Doing::Unknown) }, Doing::Something),
        ] {
            assert_eq!(signals.doing(), doing, "{signals:?}");
        }
    }

    #[test]
    fn idleness_counts_from_the_last_thing_that_happened() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let mut idle = Idle::Not;
        for (now, doing, after) in [
            (1, Doing::Nothing, Idle::Since(at(1))),
            (5, Doing::Nothing, Idle::Since(at(1))),
            (6, Doing::Something, Idle::Not),
            (7, Doing::Nothing, Idle::Since(at(7))),
            (8, Doing::Unknown, Idle::Unknown),
            (9, Doing::Nothing, Idle::Since(at(9))),
        ] {
            idle = idle.after(doing, at(now));
            assert_eq!(idle, after, "at {now}");
        }
        for (case, places, ready, said) in [
            ("a launch is not idle", vec![Idle::Since(at(1))], None, Some(0)),
            ("nor is one whose GPUs are not seen", vec![Idle::Unknown], None, Some(0)),
            ("the last place counts", vec![Idle::Since(at(10)), Idle::Since(at(40))], Some(at(20)), Some(60)),
            ("it was ready later", vec![Idle::Since(at(10))], Some(at(70)), Some(30)),
            ("one place is at work", vec![Idle::Since(at(10)), Idle::Not], Some(at(20)), Some(0)),
            ("one is, another is not seen", vec![Idle::Unknown, Idle::Not], Some(at(20)), Some(0)),
            ("one is not seen", vec![Idle::Since(at(10)), Idle::Unknown], Some(at(20)), None),
            ("a clock that was set back", vec![Idle::Since(at(200))], Some(at(20)), Some(0)),
        ] {
            assert_eq!(seconds(&places, ready, at(100)), said, "{case}");
        }
    }
}
