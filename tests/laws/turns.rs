//! What happens in a random schedule, by how often: requests of users, good and bad, and the time between them.

use std::time::Duration;

use domain::{Timestamp, WorkloadId};

use super::{
    harness::{Harness, Violation},
    people::{self, Ask, Exchange, User, request, submit},
    secrets,
};

/// Whose turn it is.
struct Turn<'a> {
    h: &'a mut Harness,
    users: &'a [User],
    who: usize,
    /// One of the user's jobs.
    id: Option<WorkloadId>,
    /// Which turn of the schedule it is.
    number: usize,
}

/// How much time passes after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// Some steps, or some seconds.
    Moment,
    /// Some minutes.
    While,
    /// Until something is due.
    Long,
}

/// What a user asks, if there is something to ask it about.
type Asks = fn(&mut Turn<'_>) -> Option<Exchange>;

/// What may happen, and how often beside the others.
const TURNS: [(usize, Asks, Pause); 15] = [
    (30, submitted, Pause::Moment),
    (7, repeated, Pause::Moment),
    (4, |turn| Some(turn.reads(&format!("/v1/jobs/{}", turn.id?))), Pause::Moment),
    (2, |turn| Some(turn.reads("/v1/jobs")), Pause::Moment),
    (2, |turn| Some(turn.reads("/v1/jobs?status=active,queued&limit=2")), Pause::Moment),
    (10, |turn| turn.acts("cancelled"), Pause::Moment),
    (6, |turn| turn.acts("extended"), Pause::Moment),
    (6, |turn| turn.acts(["jupyter", "user_added", "user_removed"][turn.number % 3]), Pause::Moment),
    (3, |turn| Some(turn.asks(Ask::Rotate, "POST", "/v1/keys/rotate")), Pause::Moment),
    (3, with_the_old_key, Pause::Moment),
    (4, foreign, Pause::Moment),
    (3, wrong, Pause::Moment),
    (2, login, Pause::Moment),
    (12, |_| None, Pause::While),
    (6, |_| None, Pause::Long),
];

/// One turn: somebody asks something, perhaps, and some time passes.
pub(crate) fn turn(h: &mut Harness, users: &mut [User], number: usize) -> Result<(), Violation> {
    let who = h.rng.below(users.len());
    let id = h.rng.pick(&users[who].jobs);
    let (asks, pause) = drawn(h);
    let user = &mut users[who];
    let over =
        user.key.as_ref().and_then(|key| h.exchanges.ends.get(key.reveal())).is_some_and(|end| *end <= h.world.now());
    if over && h.rng.chance(800) {
        people::issue(h, user);
    }
    if let Some(exchange) = asks(&mut Turn { h, users, who, id, number }) {
        sent(h, users, (who, number), exchange)?;
    }
    time_passes(h, pause)
}

fn drawn(h: &mut Harness) -> (Asks, Pause) {
    let mut dice = h.rng.below(TURNS.iter().map(|(weight, ..)| weight).sum());
    for (weight, asks, pause) in TURNS {
        match dice.checked_sub(weight) {
            Some(left) => dice = left,
            None => return (asks, pause),
        }
    }
    (|_| None, Pause::Moment)
}

/// Sends what a user asks, most times under an idempotency key where that means something.
fn sent(
    h: &mut Harness,
    users: &mut [User],
    (who, number): (usize, usize),
    mut exchange: Exchange,
) -> Result<(), Violation> {
    if matches!(exchange.ask, Ask::Submit { .. } | Ask::Act { .. }) && exchange.once.is_none() && h.rng.chance(600) {
        exchange.once = Some(format!("once-{number}"));
    }
    let first = exchange.sent_at == Timestamp::default();
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
    Ok(())
}

/// Some steps, some seconds, some minutes, or until something is due.
fn time_passes(h: &mut Harness, pause: Pause) -> Result<(), Violation> {
    match (pause, h.rng.below(10)) {
        (Pause::Moment, 0..4) => {
            let steps = u32::try_from(h.rng.below(12)).unwrap_or(0);
            h.run(steps).map(drop)
        }
        (Pause::Moment, 4..7) => h.settle(),
        (Pause::Moment | Pause::While, _) => {
            let seconds = h.rng.below(if pause == Pause::Moment { 20 } else { 400 });
            h.pass(u64::try_from(seconds).unwrap_or(0))
        }
        (Pause::Long, _) => {
            let far = h.world.now().plus(Duration::from_secs([3_000, 4 * 3600, 50 * 3600][h.rng.below(3)]));
            h.skip(far)?;
            h.pass(70)
        }
    }
}

impl Turn<'_> {
    fn user(&self) -> &User {
        &self.users[self.who]
    }

    fn asks(&self, ask: Ask, method: &'static str, path: &str) -> Exchange {
        request(self.who, self.user(), ask, method, path)
    }

    fn reads(&self, path: &str) -> Exchange {
        self.asks(Ask::Read, "GET", path)
    }

    fn acts(&self, kind: &'static str) -> Option<Exchange> {
        act_on(self.h, self.users, self.id?, kind)
    }
}

fn submitted(turn: &mut Turn<'_>) -> Option<Exchange> {
    let small = [
        ("p5.48xlarge", 1),
        ("p5.48xlarge", 2),
        ("p5.48xlarge", 4),
        ("p5.48xlarge", 8),
        ("g5.12xlarge", 2),
        ("g5.12xlarge", 4),
    ];
    let what = small[turn.h.rng.below(small.len())];
    let hours = [1.0, 1.0, 1.5, 8.0, 48.0][turn.h.rng.below(5)];
    Some(submit(turn.who, turn.user(), turn.number, what, hours))
}

/// The last submit again, while its idempotency key is remembered.
fn repeated(turn: &mut Turn<'_>) -> Option<Exchange> {
    let user = turn.user();
    let now = turn.h.world.now();
    let last = user.last.clone().filter(|last| now.since(last.sent_at) < Duration::from_secs(23 * 3600))?;
    Some(Exchange { key: user.key.clone(), ..last })
}

fn with_the_old_key(turn: &mut Turn<'_>) -> Option<Exchange> {
    let old = turn.user().old_key.clone()?;
    Some(Exchange { key: Some(old), ..turn.reads("/v1/jobs") })
}

/// What its owner does to a job.
pub(crate) fn act_on(h: &Harness, users: &[User], id: WorkloadId, kind: &'static str) -> Option<Exchange> {
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
fn foreign(turn: &mut Turn<'_>) -> Option<Exchange> {
    let name = turn.user().name.clone();
    let rows = turn.h.rows.workloads.values();
    let others = rows.filter(|row| row.owner != name).map(|row| row.id).collect::<Vec<_>>();
    let id = turn.h.rng.pick(&others)?;
    let (method, path) = [("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/logs")][turn.h.rng.below(4)];
    Some(turn.asks(Ask::Read, method, &format!("/v1/jobs/{id}{path}")))
}

/// Refused for what it says, with a secret in it.
fn wrong(turn: &mut Turn<'_>) -> Option<Exchange> {
    let secret = secrets::SECRET;
    let body = [
        format!(r#"{{"image": "a", "instance_type": "p5.48xlarge", "env_vars": {{"1BAD": "{secret}1"}}}}"#),
        format!(r#"{{"image": "a", "instance_type": "none", "command": "{secret}2"}}"#),
        format!(r#"{{"image": "a", "instance_type": "p5.48xlarge", "gpu_count": 99, "command": "{secret}3"}}"#),
        format!(r#"{{"image": "a", "command": "{secret}4", "#),
    ];
    let body = body.into_iter().nth(turn.number % 4);
    Some(Exchange { body, ..turn.asks(Ask::Wrong, "POST", "/v1/jobs/submit") })
}

fn login(turn: &mut Turn<'_>) -> Option<Exchange> {
    let (user, secret) = (turn.user(), secrets::SECRET);
    let body = serde_json::json!({
        "aws_access_key_id": "ASIAIOSFODNN7EXAMPLE", "aws_secret_access_key": format!("{secret}login"),
        "aws_session_token": format!("local:{}", user.name),
    });
    // The simulated identity service knows one tenant's people only.
    let known = user.tenant.as_str() == "default";
    let ask = if known { Ask::Login } else { Ask::Wrong };
    Some(Exchange { key: None, body: known.then(|| body.to_string()), ..turn.asks(ask, "POST", "/v1/auth/aws-login") })
}
