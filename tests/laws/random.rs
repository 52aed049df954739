//! Random schedules: several users of two tenants, agents of every temper, faults anywhere, and time.
//!
//! `SLIPWAY_SEED=N cargo test -p tests --test all laws::random` replays one schedule, call by call.
//! `SLIPWAY_SCHEDULES=100000 cargo test --release -p tests --test all random_schedules` soaks, with disks and without, and
//! says how far it is; `SLIPWAY_FIRST=N` begins with another seed than 0. A release takes a million.

use std::{
    env,
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cloud::sim::FaultPlan;
use domain::{lifecycle::State, names::GithubName, ssh::PublicKey};

use super::{
    agents::{Agents, Temper},
    at_rest,
    harness::{Harness, Violation},
    mutants::Bug,
    people::{self, User},
    secrets,
    turns::{act_on, turn},
};

/// The schedules that every test run plays: as many, and short ones. A soak has longer ones after them.
const SHORT: u64 = 2_000;

/// By how much clocks are wrong at most, where they are.
const SKEW: Duration = Duration::from_secs(5);

/// What GitHub has of everybody who is asked for.
pub(crate) const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

/// How much goes wrong, drawn from a schedule's seed.
pub(crate) fn weather(h: &mut Harness) {
    let per_mille = [0, 0, 4, 15, 50][h.rng.below(5)];
    let skew = [Duration::ZERO, SKEW][h.rng.below(2)];
    let capacity = [None, None, None, Some(12)][h.rng.below(4)];
    let lag = Duration::from_secs([0, 120][h.rng.below(2)]);
    h.peaceful = per_mille == 0 && capacity.is_none();
    h.skew = skew;
    h.world.set(|settings| {
        settings.skew = skew;
        settings.capacity = capacity;
        settings.list_lag = Duration::ZERO..=lag;
        settings.duplicates = 100;
    });
    h.world.follow(if per_mille == 0 { FaultPlan::None } else { FaultPlan::Random { per_mille } });
}

/// One schedule, up to the first law that it breaks, with what happened until then.
pub(crate) fn schedule(seed: u64, bug: Option<Bug>) -> Result<(), Violation> {
    drop(secrets::take_log());
    let mut h = Harness::new(seed, bug);
    // What every test run plays is short, so that it stays quick; a sown bug may need longer.
    let most_turns = if bug.is_none() && seed < SHORT { 12 } else { 28 };
    play(&mut h, seed, most_turns).map_err(|mut violation| {
        violation.story = h.story();
        violation
    })
}

fn play(h: &mut Harness, seed: u64, most_turns: usize) -> Result<(), Violation> {
    // Where everybody behaves, nothing may fail by itself.
    let temper = h.rng.chance(300).then_some(Temper::Good);
    h.agents = Agents::seeded(seed, temper);
    for mark in people::MARKS {
        let key = PublicKey::parse(KEY).expect("a key");
        h.world.publish(GithubName::parse(&format!("{mark}-gh")).expect("a name"), vec![key]);
    }
    let mut users = people::users(h);
    weather(h);
    let turns = 3 + h.rng.below(most_turns).min(h.rng.below(most_turns));
    for number in 0..turns {
        turn(h, &mut users, number)?;
        h.hear(&mut users);
    }
    come_to_rest(h, &mut users, seed, wind_up)
}

/// The end of a schedule: the world is calm and comes to rest; and every fifth schedule is wound up, until everything is over: that doubles
/// its cost, and time jumps have brought many things to their end before.
pub(crate) fn come_to_rest(
    h: &mut Harness,
    users: &mut [User],
    seed: u64,
    wind_up: fn(&mut Harness, &mut [User]) -> Result<(), Violation>,
) -> Result<(), Violation> {
    h.calm();
    h.rest(420)?;
    h.pass(180)?;
    h.hear(users);
    at_rest::check(h, false)?;
    if !seed.is_multiple_of(5) {
        return Ok(());
    }
    wind_up(h, users)?;
    at_rest::check(h, true)
}

/// Until every job is over: users cancel some, and the others come to their end.
fn wind_up(h: &mut Harness, users: &mut [User]) -> Result<(), Violation> {
    for id in h.rows.workloads.keys().copied().collect::<Vec<_>>() {
        if h.rng.chance(700)
            && let Some(exchange) = act_on(h, users, id, "cancelled")
        {
            h.send(exchange);
        }
    }
    for _ in 0..600 {
        h.hear(users);
        if h.rows.workloads.values().all(|row| row.state == State::Ended) {
            return h.pass(180);
        }
        let far = h.world.now().plus(Duration::from_secs(3 * 24 * 3600));
        h.skip(far)?;
    }
    Ok(())
}

/// After so many schedules, a long soak says how far it is.
const A_WORD: u64 = 2_000;

/// What plays the schedule of a seed, with a bug or none.
type Schedule = fn(u64, Option<Bug>) -> Result<(), Violation>;

/// Plays the schedules of these seeds, and says which was the first to break a law.
fn run(seeds: impl Iterator<Item = u64>, schedule: Schedule, played: impl Fn()) -> Option<(u64, Violation)> {
    secrets::listening(|| {
        let mut seeds = seeds;
        seeds.find_map(|seed| {
            let broken = schedule(seed, None).err();
            played();
            broken.map(|violation| (seed, violation))
        })
    })
}

fn number_in(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn random_schedules_break_no_law() {
    soak(("laws::random", SHORT), schedule);
}

/// Plays as many schedules as are wanted, or `usually`, or the one that is to be replayed; the test is called `name`.
pub(crate) fn soak((name, usually): (&str, u64), schedule: Schedule) {
    let soaked = || (number_in("SLIPWAY_FIRST").unwrap_or(0), number_in("SLIPWAY_SCHEDULES").unwrap_or(usually));
    let (first, schedules) = number_in("SLIPWAY_SEED").map_or_else(soaked, |seed| (seed, 1));
    let played = Arc::new(AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 16);
    let threads = u64::try_from(threads).unwrap_or(2);
    let step = usize::try_from(threads).unwrap_or(2);
    let workers = (0..threads).map(|thread| {
        let seeds = (first + thread..first + schedules).step_by(step);
        let (played, name) = (Arc::clone(&played), name.to_owned());
        let tell = move || {
            let played = played.fetch_add(1, Ordering::Relaxed) + 1;
            if played.is_multiple_of(A_WORD) && schedules > A_WORD {
                drop(writeln!(io::stderr(), "{name}: {played} of {schedules}"));
            }
        };
        std::thread::spawn(move || run(seeds, schedule, tell))
    });
    let found =
        workers.collect::<Vec<_>>().into_iter().filter_map(|worker| worker.join().expect("a worker's schedules"));
    if let Some((seed, Violation { law, seen, story })) = found.min_by_key(|(seed, _)| *seed) {
        let story = if schedules == 1 { story } else { String::new() };
        panic!(
            "{law} is broken by schedule {seed}: {seen}\nreplay it: SLIPWAY_SEED={seed} cargo test -p tests --test all {name}\n{story}"
        );
    }
}

#[test]
fn a_seed_replays_call_by_call() {
    let log = |seed| {
        let mut h = Harness::new(seed, None);
        h.agents = Agents::seeded(seed, None);
        let mut users = people::users(&mut h);
        weather(&mut h);
        for number in 0..12 {
            turn(&mut h, &mut users, number).expect("no law is broken");
            h.hear(&mut users);
        }
        h.world.log()
    };
    for seed in 1..6 {
        let first = log(seed);
        assert!(first.len() > 20 && first == log(seed), "schedule {seed} does not replay");
    }
}
