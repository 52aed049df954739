//! What a list of instances means.

use std::{collections::BTreeMap, time::Duration};

use cloud::{Attempt, Sighting};
use domain::Timestamp;

/// An attempt of which nothing is seen for so long is gone: the longest that an order may still be under way when its workload begins to end
/// (the two minutes of the function that orders), and three minutes in which a list may lack what was just made.
pub const SETTLED: Duration = Duration::from_secs(5 * 60);

/// An attempt that nobody has asked about for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3_600);

/// Where an instance stands, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs, or may come to run: pending, running, stopping or stopped.
    Live,
    /// It is being terminated: it is still there, and needs no more to be told.
    Leaving,
    /// It is terminated.
    Terminated,
}

impl Standing {
    /// What EC2's name for a state means. A state that EC2 does not have yet counts as live: what is not known to be over is not.
    #[must_use]
    pub fn of(state: &str) -> Self {
        match state {
            "shutting-down" => Self::Leaving,
            "terminated" => Self::Terminated,
            _ => Self::Live,
        }
    }
}

/// An instance, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// EC2's id.
    pub id: String,
    /// Where it stands.
    pub standing: Standing,
    /// When it was launched.
    pub launched_at: Timestamp,
    /// Its private address.
    pub private_ip: Option<String>,
    /// Its public address, once it has one.
    pub public_ip: Option<String>,
    /// Why it is in its state: a code such as `Server.SpotInstanceTermination`, and a message.
    pub reason: Option<(String, String)>,
    /// What EC2 says about its last change of state, which has its time.
    pub transition: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Seen {
    /// When it stopped, where EC2 says so: `User initiated (2026-01-20 18:30:00 GMT)`.
    #[must_use]
    pub fn stopped_at(&self) -> Option<Timestamp> {
        let (_, rest) = self.transition.rsplit_once('(')?;
        let (day, time) = rest.strip_suffix(" GMT)")?.split_once(' ')?;
        Timestamp::parse(&format!("{day}T{time}Z"))
    }

    /// What became of it, as a log line names it (EC2 API reference, `StateReason`).
    #[must_use]
    pub fn end(&self) -> &'static str {
        match self.reason.as_ref().map_or("", |(code, _)| code) {
            "Server.SpotInstanceTermination" | "Server.SpotInstanceShutdown" => "fleet.spot_interrupted",
            "Server.InsufficientInstanceCapacity" => "fleet.no_capacity_after_all",
            "Server.InternalError" | "Client.InternalError" | "Server.ScheduledStop" => "fleet.host_failed",
            "Client.VolumeLimitExceeded" | "Client.InvalidSnapshot.NotFound" => "fleet.no_volume",
            "Client.InstanceInitiatedShutdown" => "fleet.powered_itself_off",
            "Client.UserInitiatedShutdown" | "Client.InstanceTerminated" => "fleet.was_terminated",
            _ => "fleet.ended",
        }
    }
}

/// What is remembered of an attempt of which nothing is to be seen.
#[derive(Clone, Copy, Debug)]
struct Absent {
    /// When nothing was seen for the first time, and nothing else since.
    since: Timestamp,
    looked_at: Timestamp,
}

/// Since when nothing is seen of attempts. It is the memory of one process: one that has forgotten takes [`SETTLED`] again, and so is late and
/// never wrong.
#[derive(Clone, Debug, Default)]
pub struct Absences(BTreeMap<Attempt, Absent>);

impl Absences {
    /// What a list of an attempt's instances means.
    ///
    /// What is terminated was made by the one order there was: the launcher orders an attempt's steps one after another, and an order answers with what
    /// it finds. Of an attempt without any instance only time can tell.
    pub fn judge(&mut self, attempt: &Attempt, seen: &[Seen], now: Timestamp) -> Sighting {
        self.0.retain(|_, absent| now.since(absent.looked_at) < FORGOTTEN);
        if !seen.is_empty() {
            self.0.remove(attempt);
            if seen.iter().any(|one| one.standing != Standing::Terminated) {
                return Sighting::Running;
            }
            return Sighting::Gone { stopped_at: seen.iter().filter_map(Seen::stopped_at).max() };
        }
        let absent = self.0.entry(attempt.clone()).or_insert(Absent { since: now, looked_at: now });
        absent.looked_at = now;
        if now.since(absent.since) >= SETTLED { Sighting::Gone { stopped_at: None } } else { Sighting::Running }
    }

    /// Something is being ordered for an attempt: what was not seen before says nothing any more.
    pub fn ordered(&mut self, attempt: &Attempt) {
        self.0.remove(attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::order;
    use aws_core::replay::NOW;

    fn seen(standing: Standing, transition: &str) -> Seen {
        Seen {
            id: "i-1".into(),
            standing,
            launched_at: NOW,
            private_ip: None,
            public_ip: None,
            reason: None,
            transition: transition.into(),
            tags: BTreeMap::new(),
        }
    }

    fn attempt() -> Attempt {
        order().of()
    }

    #[test]
    fn what_was_seen_to_end_is_gone() {
        let at = "User initiated (2026-01-20 18:30:00 GMT)";
        let gone = |stopped_at| Sighting::Gone { stopped_at };
        for (list, expected) in [
            (vec![seen(Standing::Live, "")], Sighting::Running),
            (vec![seen(Standing::Leaving, at)], Sighting::Running),
            (vec![seen(Standing::Terminated, at)], gone(Timestamp::parse("2026-01-20T18:30:00Z"))),
            (vec![seen(Standing::Terminated, "")], gone(None)),
            (vec![seen(Standing::Terminated, "Server.SpotInstanceTermination (soon GMT)")], gone(None)),
            (vec![seen(Standing::Terminated, at), seen(Standing::Live, "")], Sighting::Running),
        ] {
            assert_eq!(Absences::default().judge(&attempt(), &list, NOW), expected, "{list:?}");
        }
    }

    #[test]
    fn absence_alone_takes_five_minutes() {
        let minutes = |count: u64| NOW.plus(Duration::from_secs(60 * count));
        let (running, gone) = (Sighting::Running, Sighting::Gone { stopped_at: None });
        let mut absences = Absences::default();
        for (at, expected) in [(0, running), (1, running), (4, running), (5, gone), (6, gone)] {
            assert_eq!(absences.judge(&attempt(), &[], minutes(at)), expected, "{at}");
        }
        // Whatever is seen, or ordered, between two looks begins it anew.
        absences.judge(&attempt(), &[seen(Standing::Live, "")], minutes(7));
        assert_eq!(absences.judge(&attempt(), &[], minutes(8)), running);
        absences.ordered(&attempt());
        assert_eq!(absences.judge(&attempt(), &[], minutes(14)), running);
        // And so does forgetting.
        assert_eq!(absences.judge(&attempt(), &[], minutes(75)), running);
    }

    #[test]
    fn states_and_reasons_are_named() {
        for (state, expected) in [
            ("pending", Standing::Live),
            ("running", Standing::Live),
            ("stopped", Standing::Live),
            ("shutting-down", Standing::Leaving),
            ("terminated", Standing::Terminated),
            ("hibernating", Standing::Live),
        ] {
            assert_eq!(Standing::of(state), expected, "{state}");
        }
        for (code, expected) in [
            ("Server.SpotInstanceTermination", "fleet.spot_interrupted"),
            ("Client.InstanceInitiatedShutdown", "fleet.powered_itself_off"),
            ("Something.New", "fleet.ended"),
        ] {
            let reason = Some((code.to_owned(), String::new()));
            assert_eq!(Seen { reason, ..seen(Standing::Terminated, "") }.end(), expected);
        }
    }
}
