//! Random schedules with disks.
//!
//! `SLIPWAY_SEED=N cargo test --test all laws::disks::random` replays one schedule, call by call.
//! [`laws::random`](super::super::random) says how to soak.

use std::{collections::BTreeSet, time::Duration};

use cloud::sim::Settings;
use domain::{Disk, DiskId, WorkloadId, disk::DiskState, lifecycle::State};

use super::{
    Law,
    asks::{Ask, Asked, Said},
};
use crate::laws::{
    agents::{Agents, Temper},
    at_rest,
    harness::{Harness, Violation},
    mutants::Bug,
    people::{self, User},
    random::{soak, weather},
    secrets,
    turns::{act_on, turn},
};

/// Names are few, so that they meet.
const NAMES: [&str; 3] = ["data", "models", "scratch"];

/// What somebody does; the numbers say how often beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Create,
    Submit,
    Cancel,
    Rename,
    Delete,
    Undelete,
    Snapshot,
    Restore,
    Branch,
    Other,
    Minutes,
    Hours,
    Weeks,
}

const MOVES: [(usize, Move); 13] = [
    (6, Move::Create),
    (30, Move::Submit),
    (14, Move::Cancel),
    (8, Move::Rename),
    (6, Move::Delete),
    (5, Move::Undelete),
    (12, Move::Snapshot),
    (7, Move::Restore),
    (7, Move::Branch),
    (6, Move::Other),
    (34, Move::Minutes),
    (14, Move::Hours),
    (6, Move::Weeks),
];

/// How much goes wrong, drawn from a schedule's seed.
fn disk_weather(h: &mut Harness) {
    weather(h);
    let fails = [0, 0, 300][h.rng.below(3)];
    let longest = Duration::from_secs([20, 600, 600, 3 * 3_600][h.rng.below(4)]);
    h.peaceful &= fails == 0;
    let spans = Settings::default();
    h.world.set(|settings| {
        (settings.boot, settings.stop) = (spans.boot, spans.stop);
        (settings.attach, settings.detach) = (spans.attach, spans.detach);
        settings.snapshot = Duration::from_secs(5)..=longest;
        settings.failing_snapshots = fails;
        settings.failing_tags = fails;
        settings.strangers = 400;
    });
}

/// One schedule, up to the first law that it breaks, with what happened until then.
pub(crate) fn schedule(seed: u64, bug: Option<Bug>) -> Result<(), Violation> {
    drop(secrets::take_log());
    watched(seed, bug).map(drop)
}

/// As [`schedule`], with the world as it was left.
fn watched(seed: u64, bug: Option<Bug>) -> Result<Harness, Violation> {
    let mut h = Harness::new(seed, bug);
    match play(&mut h, seed) {
        Ok(()) => Ok(h),
        Err(mut violation) => {
            violation.story = h.story();
            Err(violation)
        }
    }
}

fn play(h: &mut Harness, seed: u64) -> Law {
    let temper = h.rng.chance(500).then_some(Temper::Good);
    h.agents = Agents::seeded(seed, temper);
    // Two people of one tenant: what is said of tenants is said by other schedules.
    let mut users = people::users(h);
    users.truncate(2);
    h.world.set(|settings| settings.strangers = 400);
    for user in &users {
        let uses = h.rng.below(4);
        if uses > 0 && h.rng.chance(500) {
            h.a_used_disk(&(user.tenant.clone(), user.name.clone()), u32::try_from(uses).unwrap_or(1));
        }
    }
    disk_weather(h);
    let turns = 3 + h.rng.below(12).min(h.rng.below(12));
    for number in 0..turns {
        step(h, &mut users, number)?;
        h.hear(&mut users);
    }
    h.calm();
    h.rest(300)?;
    h.pass(180)?;
    at_rest::check(h, false)?;
    if !seed.is_multiple_of(5) {
        return Ok(());
    }
    wind_up(h, &mut users)?;
    at_rest::check(h, true)
}

/// Until every job is over and every disk at rest.
fn wind_up(h: &mut Harness, users: &mut [User]) -> Law {
    for id in h.rows.workloads.keys().copied().collect::<Vec<_>>() {
        if let Some(exchange) = act_on(h, users, id, "cancelled") {
            h.send(exchange);
        }
    }
    let settled = |disk: &Disk| matches!(disk.state, DiskState::Available | DiskState::Deleting);
    for _ in 0..600 {
        h.hear(users);
        let over = h.rows.workloads.values().all(|row| row.state == State::Ended);
        if over && h.disks.rows.values().all(settled) {
            return h.pass(480);
        }
        let far = h.world.now().plus(Duration::from_secs(3 * 24 * 3600));
        h.skip(far)?;
    }
    Ok(())
}

fn drawn(h: &mut Harness) -> Move {
    let mut dice = h.rng.below(MOVES.iter().map(|(weight, _)| weight).sum());
    for (weight, one) in MOVES {
        match dice.checked_sub(weight) {
            Some(left) => dice = left,
            None => return one,
        }
    }
    Move::Minutes
}

/// One of a person's disks; most times one with which that can be done.
fn a_disk(h: &mut Harness, user: &User, fits: fn(&Disk) -> bool) -> Option<DiskId> {
    let any = h.rng.chance(200);
    let mine = h.disks.rows.values().filter(|disk| disk.tenant == user.tenant && disk.owner == user.name);
    let mine = mine.filter(|disk| any || fits(disk)).map(|disk| disk.id).collect::<Vec<_>>();
    h.rng.pick(&mine)
}

fn is_free(disk: &Disk) -> bool {
    disk.state == DiskState::Available
}

fn has_snapshots(disk: &Disk) -> bool {
    disk.complete > 0
}

fn is_deleted(disk: &Disk) -> bool {
    disk.state == DiskState::Deleting
}

fn is_attached(disk: &Disk) -> bool {
    disk.state == DiskState::Attached
}

/// One of a person's jobs that goes on.
fn a_job(h: &mut Harness, user: &User) -> Option<WorkloadId> {
    let goes_on = h.rows.workloads.values().filter(|row| row.owner == user.name && row.state != State::Ended);
    let goes_on = goes_on.map(|row| row.id).collect::<Vec<_>>();
    h.rng.pick(&goes_on)
}

/// What a person asks of disks; none where time passes, or there is nothing to ask about.
fn asked(h: &mut Harness, user: &User, what: Move) -> Option<Ask> {
    let name = NAMES[h.rng.below(NAMES.len())];
    Some(match what {
        Move::Create => Ask::Create(name),
        Move::Submit => Ask::Submit { disk: name, tenths: [10, 10, 15, 80][h.rng.below(4)] },
        Move::Rename => Ask::Rename(a_disk(h, user, is_free)?, name),
        Move::Delete => Ask::Delete(a_disk(h, user, is_free)?),
        Move::Undelete => Ask::Undelete(a_disk(h, user, is_deleted)?),
        Move::Snapshot => Ask::Snapshot(a_disk(h, user, is_attached)?),
        Move::Restore => Ask::Restore(a_disk(h, user, |disk| is_free(disk) && has_snapshots(disk))?),
        Move::Branch => Ask::Branch(a_disk(h, user, has_snapshots)?, name),
        Move::Cancel | Move::Other | Move::Minutes | Move::Hours | Move::Weeks => return None,
    })
}

/// One turn: somebody asks something, perhaps, and some time passes.
fn step(h: &mut Harness, users: &mut [User], number: usize) -> Law {
    let who = h.rng.below(users.len());
    let what = drawn(h);
    if let Some(ask) = asked(h, &users[who], what) {
        h.ask_of_disks((users[who].tenant.clone(), users[who].name.clone()), ask);
    }
    match what {
        Move::Other => return turn(h, users, number),
        Move::Cancel => {
            if let Some(exchange) = a_job(h, &users[who]).and_then(|id| act_on(h, users, id, "cancelled")) {
                h.send(exchange);
            }
        }
        Move::Minutes => {
            let seconds = u64::try_from(h.rng.below(500)).unwrap_or(0);
            return h.rest(seconds);
        }
        Move::Hours => {
            let far = h.world.now().plus(Duration::from_secs([3_600, 9 * 3_600][h.rng.below(2)]));
            h.skip(far)?;
            return h.pass(70);
        }
        Move::Weeks => {
            let days = [2, 8, 32][h.rng.below(3)];
            return h.rest(days * 24 * 3_600);
        }
        _ => {}
    }
    match h.rng.below(10) {
        0..4 => {
            let steps = u32::try_from(h.rng.below(12)).unwrap_or(0);
            h.run(steps).map(drop)
        }
        4..7 => h.settle(),
        _ => pass(h, 60),
    }
}

fn pass(h: &mut Harness, most: usize) -> Law {
    let seconds = h.rng.below(most);
    h.pass(u64::try_from(seconds).unwrap_or(0))
}

#[test]
fn random_schedules_with_disks_break_no_law() {
    soak(("laws::disks::random", 2_000), schedule);
}

/// What soaks have found: a snapshot that failed just before the end, a message that was delivered too often, a snapshot noted on what had
/// ended, a bell that was lost
/// after somebody else had been faster, and an agent that was never told of its disk because it had news itself at that moment.
#[test]
fn schedules_that_once_broke_a_law_break_none() {
    for seed in [48_366, 51_178, 65_588, 81_474, 89_043] {
        let broken = secrets::listening(|| schedule(seed, None).err());
        assert!(broken.is_none(), "{seed}: {broken:?}");
    }
}

/// What a schedule has seen, by its name.
fn seen_in(h: &Harness) -> BTreeSet<&'static str> {
    let done = |asked: &&Asked| matches!(asked.said, Some(Some(Said::Done(_) | Said::Taken(_))));
    let mut seen = h.disks.asked.iter().filter(done).map(|asked| asked.ask.name()).collect::<BTreeSet<_>>();
    let rows = || h.disks.rows.values();
    let marks = [
        ("a disk that was used twice", rows().any(|disk| disk.complete > 1)),
        ("a stranger's copy", h.disks.snapshots.iter().any(|one| one.foreign)),
        ("a volume that was written to", h.disks.volumes.iter().any(|one| one.is_written())),
        ("a snapshot that failed", h.disks.snapshots.iter().any(|one| one.fails)),
        ("a snapshot that was let go", h.disks.snapshots.iter().any(|one| one.deleted_at.is_some())),
    ];
    seen.extend(marks.into_iter().filter(|(_, seen)| *seen).map(|(name, _)| name));
    seen
}

#[test]
fn the_schedules_see_all_that_they_are_about() {
    let seen = secrets::listening(|| {
        (0..100).filter_map(|seed| watched(seed, None).ok()).flat_map(|h| seen_in(&h)).collect::<BTreeSet<_>>()
    });
    let all = ["branch", "create", "delete", "rename", "restore", "snapshot", "submit", "undelete"];
    let missing = all.into_iter().filter(|name| !seen.contains(name)).collect::<Vec<_>>();
    assert!(missing.is_empty() && seen.len() == all.len() + 5, "{missing:?} are missing; seen were {seen:?}");
}
