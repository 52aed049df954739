//! What is to be worked on next: a pure value, told of every message and of the time.
//!
//! Messages that are equal say the same thing (*look at this again*), so those that wait together are one piece of work, and none is
//! begun while an equal one is being worked on. That gives both queues' rules at once: a pool's doorbells are all equal, so one
//! dispatcher at a time looks at a pool, and a workload's reconciles are all equal, so no two launchers work on it.

use std::{collections::BTreeMap, time::Duration};

use domain::{Timestamp, message::QueueName, policy::MOST_RECEIVES};
use store::mailbox::Letter;

/// How many pieces of work of one queue are done at once.
const PARALLEL: usize = 16;
/// The pause after the first failure; it doubles with each further one, until the message is given up ([`MOST_RECEIVES`]). Nothing is lost
/// with it: a message only says *look again*, and so does the sweep.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Messages that wait, and those that are being worked on.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// By what is to be looked at.
    lanes: BTreeMap<Lane, Waiting>,
    arrivals: u64,
}

/// What equal messages have in common.
type Lane = (QueueName, String);

#[derive(Debug, Default)]
struct Waiting {
    letters: Vec<Delayed>,
    working: bool,
}

#[derive(Debug)]
struct Delayed {
    letter: Letter,
    not_before: Timestamp,
    arrival: u64,
}

/// One piece of work: equal messages, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Work {
    lane: Lane,
    /// The messages that it answers.
    pub(super) letters: Vec<Letter>,
}

/// What to do now.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// This; and ask again.
    Work(Work),
    /// Nothing before then, unless a message comes or work ends.
    At(Timestamp),
    /// Nothing, unless a message comes or work ends.
    Nothing,
}

impl Schedule {
    /// A message has come, or is there from an earlier life.
    pub(super) fn add(&mut self, letter: Letter, now: Timestamp) {
        let lane = lane_of(&letter);
        self.put(lane, letter, now);
    }

    fn put(&mut self, lane: Lane, letter: Letter, not_before: Timestamp) {
        self.arrivals += 1;
        let delayed = Delayed { letter, not_before, arrival: self.arrivals };
        self.lanes.entry(lane).or_default().letters.push(delayed);
    }

    /// What to do now: of what may be done, what has waited longest.
    pub(super) fn next(&mut self, now: Timestamp) -> Next {
        let ready = |delayed: &Delayed| delayed.not_before <= now;
        // Counted once, because counting goes through every lane and there may be thousands.
        let full: Vec<QueueName> =
            QueueName::ALL.into_iter().filter(|queue| self.working(*queue) >= PARALLEL).collect();
        let idle = self.lanes.iter().filter(|(lane, waiting)| !waiting.working && !full.contains(&lane.0));
        let first = idle
            .filter_map(|(lane, waiting)| {
                let arrival =
                    waiting.letters.iter().filter(|delayed| ready(delayed)).map(|delayed| delayed.arrival).min()?;
                Some((arrival, lane.clone()))
            })
            .min();
        let Some((_, lane)) = first else { return self.sleep(now) };
        let Some(waiting) = self.lanes.get_mut(&lane) else { return Next::Nothing };
        let (due, later) = std::mem::take(&mut waiting.letters).into_iter().partition(ready);
        waiting.letters = later;
        waiting.working = true;
        let letters = Vec::into_iter(due).map(|delayed: Delayed| delayed.letter).collect();
        Next::Work(Work { lane, letters })
    }

    /// Until when there is nothing to do. What is ready but may not begin waits for work to end, and not for a time.
    fn sleep(&self, now: Timestamp) -> Next {
        let idle = self.lanes.values().filter(|waiting| !waiting.working);
        let times = idle.flat_map(|waiting| waiting.letters.iter().map(|delayed| delayed.not_before));
        times.filter(|at| *at > now).min().map_or(Next::Nothing, Next::At)
    }

    fn working(&self, queue: QueueName) -> usize {
        self.lanes.iter().filter(|((of, _), waiting)| *of == queue && waiting.working).count()
    }

    /// Work has ended well.
    pub(super) fn done(&mut self, work: &Work) {
        if let Some(waiting) = self.lanes.get_mut(&work.lane) {
            waiting.working = false;
            if waiting.letters.is_empty() {
                self.lanes.remove(&work.lane);
            }
        }
    }

    /// Work has failed: its messages come again after a pause, but for those that are dead. Gives them all with their failures counted, to be
    /// written down.
    pub(super) fn failed(&mut self, work: &Work, now: Timestamp) -> Vec<Letter> {
        let mut again = work.letters.clone();
        for letter in &mut again {
            letter.failures = letter.failures.saturating_add(1);
            if !is_dead(letter) {
                self.put(work.lane.clone(), letter.clone(), now.plus(pause_after(letter.failures)));
            }
        }
        self.done(work);
        again
    }

    /// Whether anything is being worked on.
    pub(super) fn is_working(&self) -> bool {
        self.lanes.values().any(|waiting| waiting.working)
    }
}

/// Whether a message was tried for the last time.
pub(super) fn is_dead(letter: &Letter) -> bool {
    letter.failures >= MOST_RECEIVES
}

fn lane_of(letter: &Letter) -> Lane {
    use domain::message::Message;
    let key = match &letter.message {
        Message::Doorbell { pool } => pool.to_string(),
        Message::Reconcile { tenant, workload } => format!("{tenant}#{workload}"),
        Message::Disk { disk, .. } => disk.to_string(),
    };
    (letter.message.queue(), key)
}

fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(MOST_RECEIVES))
}

#[cfg(test)]
mod tests {
    use domain::{PoolId, TenantId, WorkloadId, message::Message};

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn letter(id: &str, message: Message) -> Letter {
        Letter { id: id.to_owned(), message, failures: 0 }
    }

    /// A doorbell, written `1p`: its id, and its pool.
    fn bell(text: &str) -> Letter {
        letter(text, Message::Doorbell { pool: PoolId::new(&text[1..]) })
    }

    fn reconcile(id: usize, workload: u8) -> Letter {
        let workload = WorkloadId::new(at(0), &[workload; 32]);
        letter(&id.to_string(), Message::Reconcile { tenant: TenantId::new("t"), workload })
    }

    fn begin(schedule: &mut Schedule, now: i64) -> Work {
        match schedule.next(at(now)) {
            Next::Work(work) => work,
            other => panic!("work was expected, not {other:?}"),
        }
    }

    fn ids(letters: &[Letter]) -> Vec<&str> {
        letters.iter().map(|letter| letter.id.as_str()).collect()
    }

    #[test]
    fn equal_messages_are_one_piece_of_work_and_pools_do_not_wait_for_each_other() {
        let mut schedule = Schedule::default();
        for text in ["1a", "2b", "3a"] {
            schedule.add(bell(text), at(0));
        }
        let first = begin(&mut schedule, 0);
        assert_eq!(ids(&first.letters), ["1a", "3a"]);
        assert_eq!(ids(&begin(&mut schedule, 0).letters), ["2b"]);
        // What comes while the pool is being looked at may be news, so it is looked at again, afterwards.
        schedule.add(bell("4a"), at(1));
        schedule.add(bell("5a"), at(1));
        assert_eq!(schedule.next(at(1)), Next::Nothing);
        schedule.done(&first);
        let again = begin(&mut schedule, 1);
        assert_eq!(ids(&again.letters), ["4a", "5a"]);
        schedule.done(&again);
        assert_eq!(schedule.next(at(2)), Next::Nothing);
        assert!(schedule.is_working());
    }

    #[test]
    fn what_came_first_is_begun_first() {
        let mut schedule = Schedule::default();
        for text in ["1z", "2m", "3a", "4z"] {
            schedule.add(bell(text), at(0));
        }
        let order: Vec<String> = (0..3).map(|_| begin(&mut schedule, 0).letters.remove(0).id).collect();
        assert_eq!(order, ["1z", "2m", "3a"]);
    }

    #[test]
    fn at_most_so_many_at_once_and_never_two_for_one_workload() {
        let mut schedule = Schedule::default();
        for id in 0..20 {
            schedule.add(reconcile(id, u8::try_from(id).unwrap()), at(0));
            schedule.add(reconcile(100 + id, u8::try_from(id).unwrap()), at(0));
        }
        let begun: Vec<Work> = (0..PARALLEL).map(|_| begin(&mut schedule, 0)).collect();
        assert!(begun.iter().all(|work| work.letters.len() == 2));
        assert_eq!(schedule.next(at(0)), Next::Nothing);
        // The other queue has room of its own.
        schedule.add(bell("1a"), at(0));
        assert_eq!(ids(&begin(&mut schedule, 0).letters), ["1a"]);
        schedule.done(&begun[3]);
        begin(&mut schedule, 0);
        assert_eq!(schedule.next(at(0)), Next::Nothing);
    }

    #[test]
    fn failures_come_again_later_and_later_until_they_are_given_up() {
        let mut schedule = Schedule::default();
        schedule.add(bell("1a"), at(0));
        let mut now = 0;
        for (failures, pause) in (1..).zip([1_000, 2_000, 4_000, 8_000]) {
            let work = begin(&mut schedule, now);
            let again = schedule.failed(&work, at(now));
            assert_eq!(again, [Letter { failures, ..bell("1a") }]);
            assert!(!is_dead(&again[0]), "{failures}");
            now += pause;
            assert_eq!(schedule.next(at(now - 1)), Next::At(at(now)));
        }
        let work = begin(&mut schedule, now);
        // Another that came meanwhile has its own tries.
        schedule.add(bell("2a"), at(now));
        assert!(is_dead(&schedule.failed(&work, at(now))[0]));
        let work = begin(&mut schedule, now);
        assert_eq!(ids(&work.letters), ["2a"]);
        schedule.done(&work);
        assert_eq!(schedule.next(at(now)), Next::Nothing);
        assert!(!schedule.is_working());
    }

    #[test]
    fn a_failure_does_not_hold_up_what_comes_after_it() {
        let mut schedule = Schedule::default();
        schedule.add(bell("1a"), at(0));
        let work = begin(&mut schedule, 0);
        schedule.failed(&work, at(0));
        schedule.add(bell("2a"), at(10));
        let fresh = begin(&mut schedule, 10);
        assert_eq!(ids(&fresh.letters), ["2a"]);
        assert_eq!(schedule.next(at(1_000)), Next::Nothing, "no two at once for one pool");
        schedule.done(&fresh);
        assert_eq!(ids(&begin(&mut schedule, 1_000).letters), ["1a"]);
    }
}
