//! Random schedules: several users of two tenants, agents of every temper, faults anywhere, and time.
//!
//! `SLIPWAY_SEED=N cargo test -p tests --test all laws::random` replays one schedule, call by call.
//! `SLIPWAY_SCHEDULES=100000 cargo test --release -p tests --test all laws::random` soaks; a release takes a million.

use std::{env, time::Duration};

use cloud::sim::FaultPlan;
use domain::{WorkloadId, lifecycle::State, names::GithubName, ssh::PublicKey};

use super::{
    agents::{Agents, Temper},
    at_rest,
    harness::{Harness, Violation},
    mutants::Bug,
    people::{self, Ask, Exchange, User, request, submit},
    secrets,
};

/// By how much clocks are wrong at most, where they are.
const SKEW: Duration = Duration::from_secs(5);

/// What GitHub has of everybody who is asked for.
pub(crate) const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

/// How much goes wrong, drawn from a schedule's seed.
fn weather(h: &mut Harness) {
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
    play(&mut h, seed).map_err(|mut violation| {
        violation.story = h.story();
        violation
    })
}

fn play(h: &mut Harness, seed: u64) -> Result<(), Violation> {
    // Where everybody behaves, nothing may fail by itself.
    let temper = h.rng.chance(300).then_some(Temper::Good);
    h.agents = Agents::seeded(seed, temper);
    for mark in people::MARKS {
        let key = PublicKey::parse(KEY).expect("a key");
        h.world.publish(GithubName::parse(&format!("{mark}-gh")).expect("a name"), vec![key]);
    }
    let mut users = people::users(h);
    weather(h);
    let operations = 3 + h.rng.below(28).min(h.rng.below(28));
    for number in 0..operations {
        operation(h, &mut users, number)?;
        h.hear(&mut users);
    }
    h.calm();
    h.rest(420)?;
    h.pass(180)?;
    h.hear(&mut users);
    at_rest::check(h, false)?;
    // Every third schedule goes on until every job is over: it doubles the cost, and time jumps have brought many to their end before.
    if !seed.is_multiple_of(3) {
        return Ok(());
    }
    wind_up(h, &mut users)?;
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

/// One thing that happens: a request, or some time.
fn operation(h: &mut Harness, users: &mut [User], number: usize) -> Result<(), Violation> {
    let who = h.rng.below(users.len());
    let id = h.rng.pick(&users[who].jobs);
    let dice = h.rng.below(100);
    let user = &mut users[who];
    let over =
        user.key.as_ref().and_then(|key| h.exchanges.ends.get(key.reveal())).is_some_and(|end| *end <= h.world.now());
    if over && h.rng.chance(800) {
        people::issue(h, user);
    }
    let user = &users[who];
    let exchange = match (dice, id) {
        (0..30, _) => Some(submitted(h, users, who, number)),
        (30..37, _) => repeated(h, user),
        (37..41, Some(id)) => Some(request(who, user, Ask::Read, "GET", format!("/v1/jobs/{id}"))),
        (41..45, _) => Some(request(
            who,
            user,
            Ask::Read,
            "GET",
            ["/v1/jobs", "/v1/jobs?status=active,queued&limit=2"][number % 2],
        )),
        (45..55, Some(id)) => act_on(h, users, id, "cancelled"),
        (55..61, Some(id)) => act_on(h, users, id, "extended"),
        (61..67, Some(id)) => act_on(h, users, id, ["jupyter", "user_added", "user_removed"][number % 3]),
        (67..70, _) => Some(request(who, user, Ask::Rotate, "POST", "/v1/keys/rotate")),
        (70..73, _) => user
            .old_key
            .clone()
            .map(|old| Exchange { key: Some(old), ..request(who, user, Ask::Read, "GET", "/v1/jobs") }),
        (73..77, _) => foreign(h, users, who),
        (77..80, _) => Some(wrong(who, user, number)),
        (80..82, _) => Some(login(who, user)),
        _ => None,
    };
    if let Some(mut exchange) = exchange {
        if matches!(exchange.ask, Ask::Submit { .. } | Ask::Act { .. }) && exchange.once.is_none() && h.rng.chance(600)
        {
            exchange.once = Some(format!("once-{number}"));
        }
        let first = exchange.sent_at == domain::Timestamp::default();
        if matches!(exchange.ask, Ask::Submit { .. }) && exchange.once.is_some() && first {
            users[who].last = Some(Exchange { sent_at: h.world.now(), ..exchange.clone() });
        }
        let rotated = exchange.ask == Ask::Rotate && h.rng.chance(500);
        let old = exchange.key.clone();
        h.send(exchange);
        if rotated {
            // Whoever has just rotated a key tries the old one at once, perhaps at a host whose clock is behind.
            h.settle()?;
            h.send(Exchange { key: old, ..request(who, &users[who], Ask::Read, "GET", "/v1/jobs") });
        }
    }
    time_passes(h, dice)
}

/// The last submit again, while its idempotency key is remembered.
fn repeated(h: &Harness, user: &User) -> Option<Exchange> {
    let last = user.last.clone().filter(|last| h.world.now().since(last.sent_at) < Duration::from_secs(23 * 3600))?;
    Some(Exchange { key: user.key.clone(), ..last })
}

/// Some steps, some seconds, some minutes, or until something is due.
fn time_passes(h: &mut Harness, dice: usize) -> Result<(), Violation> {
    match (dice, h.rng.below(10)) {
        (0..82, 0..4) => {
            let steps = u32::try_from(h.rng.below(12)).unwrap_or(0);
            h.run(steps).map(drop)
        }
        (0..82, 4..7) => h.settle(),
        (0..94, _) => {
            let seconds = h.rng.below(if dice < 82 { 20 } else { 400 });
            h.pass(u64::try_from(seconds).unwrap_or(0))
        }
        _ => {
            let far = h.world.now().plus(Duration::from_secs([3_000, 4 * 3600, 50 * 3600][h.rng.below(3)]));
            h.skip(far)?;
            h.pass(70)
        }
    }
}

fn submitted(h: &mut Harness, users: &[User], who: usize, number: usize) -> Exchange {
    let small = [
        ("p5.48xlarge", 1),
        ("p5.48xlarge", 2),
        ("p5.48xlarge", 4),
        ("p5.48xlarge", 8),
        ("g5.12xlarge", 2),
        ("g5.12xlarge", 4),
    ];
    let what = small[h.rng.below(small.len())];
    let hours = [1.0, 1.0, 1.5, 8.0, 48.0][h.rng.below(5)];
    submit(who, &users[who], number, what, hours)
}

/// What its owner does to a job.
fn act_on(h: &Harness, users: &[User], id: WorkloadId, kind: &'static str) -> Option<Exchange> {
    let row = h.rows.workloads.get(&id)?;
    let who = users.iter().position(|user| user.tenant == row.tenant && user.name == row.owner)?;
    let user = &users[who];
    let friend = format!("{}-gh", user.mark);
    let (method, path, body) = match kind {
        "cancelled" => ("POST", "cancel".to_owned(), None),
        "extended" => ("POST", "extend".to_owned(), Some(r#"{"extension_hours": 1}"#.to_owned())),
        "jupyter" => ("POST", "jupyter/enable".to_owned(), None),
        "user_added" => ("POST", "users".to_owned(), Some(format!(r#"{{"github_username": "{friend}"}}"#))),
        _ => ("DELETE", format!("users/{friend}"), None),
    };
    let exchange = request(who, user, Ask::Act { id, kind }, method, format!("/v1/jobs/{id}/{path}"));
    Some(Exchange { body, ..exchange })
}

/// A job of somebody else's, of the same tenant or of the other.
fn foreign(h: &mut Harness, users: &[User], who: usize) -> Option<Exchange> {
    let user = &users[who];
    let others = h.rows.workloads.values().filter(|row| row.owner != user.name).map(|row| row.id).collect::<Vec<_>>();
    let id = h.rng.pick(&others)?;
    let (method, path) = [("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/logs")][h.rng.below(4)];
    Some(request(who, user, Ask::Read, method, format!("/v1/jobs/{id}{path}")))
}

/// Refused for what it says, with a secret in it.
fn wrong(who: usize, user: &User, number: usize) -> Exchange {
    let secret = secrets::SECRET;
    let body = [
        format!(r#"{{"image": "a", "instance_type": "p5.48xlarge", "env_vars": {{"1BAD": "{secret}1"}}}}"#),
        format!(r#"{{"image": "a", "instance_type": "none", "command": "{secret}2"}}"#),
        format!(r#"{{"image": "a", "instance_type": "p5.48xlarge", "gpu_count": 99, "command": "{secret}3"}}"#),
        format!(r#"{{"image": "a", "command": "{secret}4", "#),
    ];
    let exchange = request(who, user, Ask::Wrong, "POST", "/v1/jobs/submit");
    Exchange { body: body.into_iter().nth(number % 4), ..exchange }
}

fn login(who: usize, user: &User) -> Exchange {
    let secret = secrets::SECRET;
    let body = serde_json::json!({
        "aws_access_key_id": "ASIAIOSFODNN7EXAMPLE", "aws_secret_access_key": format!("{secret}login"),
        "aws_session_token": format!("local:{}", user.name),
    });
    let exchange = request(who, user, Ask::Wrong, "POST", "/v1/auth/aws-login");
    // The simulated identity service knows one tenant's people only.
    let ask = if user.tenant.as_str() == "default" { Ask::Login } else { Ask::Wrong };
    Exchange { ask, key: None, body: (user.tenant.as_str() == "default").then(|| body.to_string()), ..exchange }
}

/// Runs the schedules `from..to`, and says which was the first to break a law.
fn run(seeds: impl Iterator<Item = u64>) -> Option<(u64, Violation)> {
    secrets::listening(|| {
        let mut seeds = seeds;
        seeds.find_map(|seed| schedule(seed, None).err().map(|violation| (seed, violation)))
    })
}

fn number_in(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn random_schedules_break_no_law() {
    let (first, schedules) =
        number_in("SLIPWAY_SEED").map_or((0, number_in("SLIPWAY_SCHEDULES").unwrap_or(2_000)), |seed| (seed, 1));
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 16);
    let threads = u64::try_from(threads).unwrap_or(2);
    let step = usize::try_from(threads).unwrap_or(2);
    let workers = (0..threads).map(|thread| {
        let seeds = (first + thread..first + schedules).step_by(step);
        std::thread::spawn(move || run(seeds))
    });
    let found =
        workers.collect::<Vec<_>>().into_iter().filter_map(|worker| worker.join().expect("a worker's schedules"));
    if let Some((seed, Violation { law, seen, story })) = found.min_by_key(|(seed, _)| *seed) {
        let story = if schedules == 1 { story } else { String::new() };
        panic!(
            "{law} is broken by schedule {seed}: {seen}\nreplay it: SLIPWAY_SEED={seed} cargo test -p tests --test all laws::random\n{story}"
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
            operation(&mut h, &mut users, number).expect("no law is broken");
            h.hear(&mut users);
        }
        h.world.log()
    };
    for seed in 1..6 {
        let first = log(seed);
        assert!(first.len() > 20 && first == log(seed), "schedule {seed} does not replay");
    }
}
