//! The harness can see: bugs that are sown at the ports, on the wire to the tables and around the router, each of which must break a
//! law within a few hundred schedules, and one of those laws that are about it. Without this the zeros of the other tests would mean
//! nothing.

mod around;
mod ports;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
};
use cloud::Clock;
use domain::Timestamp;
use store::Plane;

use super::{harness::Violation, inventory, random, secrets};
use around::{Memory, around};
pub(crate) use ports::ports;

/// A sown bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The fleet takes every repetition of an order for a new one.
    NoToken,
    /// What was told to end counts as ended at once, so that its GPUs are given on while it runs.
    GoneAtOnce,
    /// What a late list does not show counts as ended.
    AbsenceIsGone,
    /// The fleet says that it ends things and does not.
    EndsNothing,
    /// The fleet does not say when what it ran has stopped.
    NoStopTimes,
    /// Nobody ends what the fleet runs for nobody.
    OrphansLive,
    /// A queue that delivers once: what its consumer could not do is lost.
    AtMostOnce,
    /// Every third message is lost after it was taken.
    MessagesLost,
    /// The launches' service forgets the names of launches, and runs each twice.
    LaunchesTwice,
    /// The agent's word never completes a launch's step.
    TokensLost,
    /// The tables take every write, whatever its conditions.
    NoConditions,
    /// The tables acknowledge some writes without doing them.
    LyingWrites,
    /// Whoever is placed takes no GPUs from its node.
    BooksNothing,
    /// Whoever leaves a count leaves it twice.
    CountsDownTwice,
    /// An extension moves the end twice as far.
    ExtendsTwice,
    /// The sweep never runs.
    NoSweep,
    /// The sweep's clock stands still, so that nothing is ever due.
    SweepClockStands,
    /// The clock of those who answer is a quarter of an hour behind.
    LateClock,
    /// A day after its end a key is still good.
    LateKeys,
    /// Whoever was let in once is let in for ever.
    KeysCached,
    /// A session that was replaced is good for ever.
    OldSessionLives,
    /// An agent's session opens what another agent serves.
    AnySession,
    /// Answers are cached by their path alone.
    SharedCache,
    /// Idempotency keys are ignored.
    OnceForgotten,
    /// Requests are logged with their bodies.
    SecretsLogged,
    /// A refusal gives back what it refused.
    SecretsEchoed,
    /// The cloud takes every repetition of an order for a volume for a new one.
    VolumesWithoutToken,
    /// A volume is deleted as soon as its snapshot has begun.
    DeletedBeforeComplete,
    /// What is restored is the newest snapshot with the disk's tags.
    LatestByTag,
    /// A cancelled job's disk is given on while the job still ends.
    UnlockedOnCancel,
    /// Retention takes every snapshot that is old enough, the last one too.
    RetentionTakesLast,
    /// A disk's old name is removed before its new one is written.
    RenamedInTwo,
    /// A snapshot that has begun counts as complete.
    SnapshotNotAwaited,
    /// A volume that cannot be made of its snapshot is made empty.
    EmptyOnFailure,
    /// A volume that is coming off counts as free.
    DetachNotAwaited,
    /// Volumes that are of no use any more stay.
    VolumesLeft,
    /// A node that is being launched is ended as idle.
    IdleBeforeActive,
    /// A purged node's GPUs are free before the fleet says so.
    PurgeFreesAtOnce,
    /// Nodes' agents never say that nothing happens there.
    NeverIdle,
    /// A change of a name says that it has changed the tags, and has not.
    TagsLeft,
    /// What a limit's row says is written over whatever is there.
    LimitsOverwritten,
    /// What was leased of a limit is said to be written down, and is not.
    LeasesForgotten,
    /// What others have leased of a limit counts as free.
    LeasesOverlooked,
}

/// Every bug, and the laws of which one must catch it: the law about what goes wrong, or about what follows from that.
const ALL: [(Bug, &[&str]); 26] = [
    (Bug::NoToken, &["I1", "I2"]),
    (Bug::GoneAtOnce, &["I4"]),
    (Bug::AbsenceIsGone, &["I4"]),
    (Bug::EndsNothing, &["I6", "I7"]),
    (Bug::NoStopTimes, &["I9"]),
    (Bug::OrphansLive, &["I3"]),
    (Bug::AtMostOnce, &["I23", "I24"]),
    (Bug::MessagesLost, &["I23", "I24"]),
    (Bug::LaunchesTwice, &["I24"]),
    (Bug::TokensLost, &["goal"]),
    (Bug::NoConditions, &["I5"]),
    (Bug::LyingWrites, &["I8", "I9", "I22"]),
    (Bug::BooksNothing, &["I1"]),
    (Bug::CountsDownTwice, &["I22"]),
    (Bug::ExtendsTwice, &["I7"]),
    (Bug::NoSweep, &["I23", "I24"]),
    (Bug::SweepClockStands, &["I6", "I7"]),
    (Bug::LateClock, &["I6", "I9", "I16"]),
    (Bug::LateKeys, &["I16"]),
    (Bug::KeysCached, &["I16", "I17"]),
    (Bug::OldSessionLives, &["I17"]),
    (Bug::AnySession, &["I18"]),
    (Bug::SharedCache, &["I18"]),
    (Bug::OnceForgotten, &["I8"]),
    (Bug::SecretsLogged, &["I19"]),
    (Bug::SecretsEchoed, &["I19"]),
];

/// The laws that these bugs break: of each it is shown that it can see.
const SHOWN: [&str; 16] =
    ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I16", "I17", "I18", "I19", "I22", "I23", "I24"];

/// Within so many schedules each must be caught.
const MOST: u64 = 400;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A clock that is behind, or stands where it began.
struct Wrong {
    inner: Arc<dyn Clock>,
    behind: Duration,
    stands: Option<Timestamp>,
}

#[async_trait]
impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        self.stands.unwrap_or_else(|| self.inner.now().minus(self.behind))
    }

    async fn sleep(&self, pause: Duration) {
        self.inner.sleep(pause).await;
    }
}

fn with_clock(plane: &Plane, behind: Duration, stands: Option<Timestamp>) -> Plane {
    let mut wrong = plane.clone();
    wrong.ports.clock = Arc::new(Wrong { inner: plane.ports.clock.clone(), behind, stands });
    wrong
}

/// The plane that the sweep is given.
pub(crate) fn sweeper(plane: &Plane, bug: Option<Bug>) -> Plane {
    let stands = plane.ports.clock.now();
    if bug == Some(Bug::SweepClockStands) { with_clock(plane, Duration::ZERO, Some(stands)) } else { plane.clone() }
}

/// Everything that answers.
pub(crate) fn router(plane: &Plane, bug: Option<Bug>) -> Router {
    if bug == Some(Bug::LateClock) {
        return crate::support::router(&with_clock(plane, Duration::from_secs(900), None));
    }
    let router = crate::support::router(plane);
    match bug {
        Some(
            bug @ (Bug::KeysCached
            | Bug::AnySession
            | Bug::SharedCache
            | Bug::OnceForgotten
            | Bug::SecretsLogged
            | Bug::SecretsEchoed),
        ) => {
            let memory = Arc::new(Memory::default());
            router.layer(from_fn(move |request: Request, next: Next| around(bug, memory.clone(), request, next)))
        }
        _ => router,
    }
}

/// What plays the schedule of a seed, with a bug or none.
type Schedule = fn(u64, Option<Bug>) -> Result<(), Violation>;

/// The first schedule that catches a bug, with the law that it breaks.
fn caught(bug: Bug, play: Schedule) -> Option<(u64, &'static str)> {
    let breaks = |seed: u64| play(seed, Some(bug)).err().map(|violation| (seed, violation.law));
    secrets::listening(|| (0..MOST).find_map(breaks))
}

/// The law that catches a bug with the schedule that does, or what is wrong about it.
fn catch((bug, laws): &(Bug, &[&str]), play: Schedule) -> Result<(&'static str, String), String> {
    match caught(*bug, play) {
        Some((seed, law)) if laws.contains(&law) => Ok((law, format!("{bug:?}: {law} in schedule {seed}"))),
        Some((seed, law)) => Err(format!("{bug:?} breaks {law} in schedule {seed}, and should break one of {laws:?}")),
        None => Err(format!("{bug:?} goes unseen in {MOST} schedules")),
    }
}

/// Holds that each bug is caught in its schedules, and that each of the laws `shown` catches one; says by which law, and where.
pub(crate) fn all_are_caught(
    all: &'static [(Bug, &[&str])],
    shown: &[&'static str],
    play: fn(Bug) -> Schedule,
) -> String {
    let workers = all
        .chunks(all.len().div_ceil(2))
        .map(|bugs| std::thread::spawn(move || bugs.iter().map(|bug| catch(bug, play(bug.0))).collect::<Vec<_>>()));
    let caught = workers.collect::<Vec<_>>().into_iter().flat_map(|worker| worker.join().expect("a worker's bugs"));
    let (laws, wrong) = caught.partition::<Vec<_>, _>(Result::is_ok);
    let (laws, told) = laws.into_iter().flatten().unzip::<_, _, BTreeSet<_>, Vec<_>>();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unseen = shown.iter().filter(|law| !laws.contains(*law)).collect::<Vec<_>>();
    assert!(unseen.is_empty(), "no sown bug is caught by {unseen:?}");
    told.join("\n")
}

#[test]
fn every_sown_bug_is_caught() {
    let told = all_are_caught(&ALL, &SHOWN, |bug| match bug {
        Bug::OrphansLive => inventory::an_orphan_is_ended,
        _ => random::schedule,
    });
    println!("{told}");
}
