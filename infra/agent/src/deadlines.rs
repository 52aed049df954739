//! When the node must stop, by itself or because it was told to.

use std::time::Duration;

use domain::{Timestamp, agent::Desired};

/// How long the job has between the end of its time and being killed.
pub(crate) const EXPIRY_GRACE: Duration = Duration::from_secs(120);
/// How long it has when the agent is told to end without a time.
pub(crate) const SHORT_GRACE: Duration = Duration::from_secs(10);
/// How long a job without an end goes on when nobody is heard.
const SILENCE: Duration = Duration::from_secs(60 * 60);
/// The longest sleep: a machine's clock may be set while we sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing for so long.
    Sleep(Duration),
    /// Ask everything to end, and kill what is left at [`Deadlines::kill_at`].
    Stop,
    /// Kill what is left.
    Kill,
}

/// The times that end a job. A pure value: what it says depends on what it was told and on `now`.
#[derive(Clone, Debug)]
pub(crate) struct Deadlines {
    expire_at: Option<Timestamp>,
    heard: Timestamp,
    ending: Option<Ending>,
}

/// A stop that has begun; it is never taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ending {
    kill_at: Timestamp,
    reason: String,
    asked: bool,
}

impl Deadlines {
    /// For an agent that was enrolled at `now`.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { expire_at: None, heard: now, ending: None }
    }

    /// The control plane was heard.
    pub(crate) fn heard(&mut self, now: Timestamp) {
        self.heard = now;
    }

    /// What the control plane wants.
    pub(crate) fn desired(&mut self, desired: &Desired) {
        self.expire_at = desired.expire_at;
        if let Some(stop) = desired.stop {
            self.stop(stop.kill_at, "It was told to stop.");
        }
    }

    /// Stops now. A second reason does not give more time, but may give less.
    pub(crate) fn stop(&mut self, kill_at: Timestamp, reason: &str) {
        match &mut self.ending {
            Some(ending) => ending.kill_at = ending.kill_at.min(kill_at),
            None => self.ending = Some(Ending { kill_at, reason: reason.to_owned(), asked: false }),
        }
    }

    /// Why it ends, if it does.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.ending.as_ref().map(|ending| ending.reason.as_str())
    }

    /// What is to be done at `now`. [`Due::Stop`] is said once.
    pub(crate) fn due(&mut self, now: Timestamp) -> Due {
        if self.ending.is_none() {
            match self.expire_at {
                Some(at) if at <= now => self.stop(at.plus(EXPIRY_GRACE), "Its time was over."),
                None if now.since(self.heard) >= SILENCE => {
                    let reason = "It has no end, and the control plane was not heard for an hour.";
                    self.stop(now.plus(EXPIRY_GRACE), reason);
                }
                Some(_) | None => {}
            }
        }
        let wake = match &mut self.ending {
            Some(ending) if ending.kill_at <= now => return Due::Kill,
            Some(ending) if !ending.asked => {
                ending.asked = true;
                return Due::Stop;
            }
            Some(ending) => ending.kill_at,
            None => self.expire_at.unwrap_or(self.heard.plus(SILENCE)),
        };
        Due::Sleep(wake.since(now).clamp(Duration::from_millis(1), LONGEST_SLEEP))
    }
}

#[cfg(test)]
mod tests {
    use domain::agent::Stop;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn sleep(seconds: u64) -> Due {
        Due::Sleep(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_due_when() {
        let desired = |expire: Option<i64>, kill: Option<i64>| Desired {
            expire_at: expire.map(at),
            stop: kill.map(|kill| Stop { kill_at: at(kill) }),
            ..Desired::default()
        };
        for (case, wanted, steps) in [
            (
                "expiry",
                desired(Some(100), None),
                vec![(95, sleep(5)), (100, Due::Stop), (101, sleep(10)), (219, sleep(1)), (220, Due::Kill)],
            ),
            (
                "an outage does not extend a job with an end, nor end it early",
                desired(Some(9000), None),
                vec![(8999, sleep(1)), (9000, Due::Stop), (9120, Due::Kill)],
            ),
            (
                "silence ends a job without an end",
                desired(None, None),
                vec![(3599, sleep(1)), (3600, Due::Stop), (3601, sleep(10)), (3720, Due::Kill)],
            ),
            ("a stop", desired(Some(9000), Some(30)), vec![(1, Due::Stop), (25, sleep(5)), (30, Due::Kill)]),
            ("a stop that came too late", desired(None, Some(30)), vec![(31, Due::Kill), (32, Due::Kill)]),
        ] {
            let mut deadlines = Deadlines::new(at(0));
            deadlines.desired(&wanted);
            for (now, due) in steps {
                assert_eq!(deadlines.due(at(now)), due, "{case} at {now}");
            }
        }
    }

    #[test]
    fn a_stop_is_never_taken_back_and_only_comes_nearer() {
        let mut deadlines = Deadlines::new(at(0));
        deadlines.stop(at(50), "first");
        assert_eq!(deadlines.due(at(0)), Due::Stop);
        deadlines.stop(at(90), "second");
        deadlines.desired(&Desired::default());
        assert_eq!(deadlines.due(at(49)), sleep(1));
        deadlines.stop(at(20), "third");
        assert_eq!(deadlines.due(at(49)), Due::Kill);
        assert_eq!(deadlines.reason(), Some("first"));
    }

    #[test]
    fn being_heard_keeps_a_job_without_an_end() {
        let mut deadlines = Deadlines::new(at(0));
        deadlines.heard(at(3000));
        assert_eq!(deadlines.due(at(3700)), sleep(10));
        assert_eq!(deadlines.due(at(6600)), Due::Stop);
    }
}
