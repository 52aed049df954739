//! Users, their requests, and what was answered.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    Secret, TenantId, Timestamp, UserName, WorkloadId,
    api_key::{KeyKind, mint},
    identity::Member,
};
use futures::executor::block_on;
use serde_json::{Value, json};

use super::{
    harness::{Answer, Harness, Violation, broken},
    secrets::SECRET,
};

/// What a request asks for, as far as a law is about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A job, by its name, which no other job has.
    Submit { name: String },
    /// Something that is written into a job's timeline under this kind, by its owner.
    Act { id: WorkloadId, kind: &'static str },
    /// Something that is only read.
    Read,
    /// A new key for an old one.
    Rotate,
    /// A first key.
    Login,
    /// What is wrong in itself.
    Wrong,
    /// An agent's call.
    Agent { agent: usize, call: super::agents::Call },
}

/// A request with its answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// The user, unless an agent asks.
    pub(crate) user: Option<usize>,
    /// Whose it is.
    pub(crate) tenant: Option<TenantId>,
    /// What it asks for.
    pub(crate) ask: Ask,
    /// The bearer.
    pub(crate) key: Option<Secret>,
    /// The idempotency key.
    pub(crate) once: Option<String>,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Option<String>,
    /// When it was sent; set by [`Exchanges::add`].
    pub(crate) sent_at: Timestamp,
    /// When it was answered, and how; `Some(None)` when nobody answered.
    pub(crate) answer: Option<Option<Answer>>,
}

impl Exchange {
    pub(crate) fn status(&self) -> Option<u16> {
        self.answer.as_ref()?.as_ref().map(|answer| answer.status)
    }

    pub(crate) fn json(&self) -> Value {
        let body = self.answer.as_ref().and_then(Option::as_ref).map(|answer| answer.body.as_str());
        body.and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default()
    }

    /// Whether it certainly took effect, may have, or certainly did not.
    pub(crate) fn effect(&self) -> Effect {
        match self.status() {
            Some(200) => Effect::Sure,
            Some(400..=499) => Effect::None,
            _ => Effect::Perhaps,
        }
    }
}

/// See [`Exchange::effect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    None,
    Perhaps,
    Sure,
}

/// Every request so far.
#[derive(Default)]
pub(crate) struct Exchanges {
    pub(crate) all: Vec<Exchange>,
    /// Answers that their users have not heard yet.
    fresh: Vec<usize>,
    /// Answers that no law has looked at yet.
    unchecked: Vec<usize>,
    /// Keys that were rotated out, by an answer that said so, and how many requests had been sent by then.
    rotated: BTreeMap<String, usize>,
    /// When each key ends, as its answer said.
    pub(crate) ends: BTreeMap<String, Timestamp>,
}

impl Exchanges {
    pub(crate) fn add(&mut self, mut exchange: Exchange, now: Timestamp) -> usize {
        exchange.sent_at = now;
        self.all.push(exchange);
        self.all.len() - 1
    }

    /// Takes an answer, and checks what can be checked of it at once.
    pub(crate) fn answered(
        &mut self,
        number: usize,
        answer: Option<Answer>,
        (now, skew): (Timestamp, Duration),
    ) -> Result<(), Violation> {
        self.all[number].answer = Some(answer);
        self.fresh.push(number);
        self.unchecked.push(number);
        let exchange = &self.all[number];
        if let Some(500) = exchange.status() {
            return broken("answers", format!("{} {}: an internal error", exchange.method, exchange.path));
        }
        let Some(key) = &exchange.key else { return Ok(()) };
        self.key_was_good(number, exchange, (key, skew))?;
        self.refusal_was_right(exchange, (key, now, skew))?;
        if exchange.ask == Ask::Rotate && exchange.status() == Some(200) {
            let old = key.reveal().to_owned();
            if self.rotated.insert(old, self.all.len()).is_some() {
                return broken("I17", "two rotations of one key were both acknowledged");
            }
        }
        Ok(())
    }

    /// I16, I17: whoever was let in, person or agent, had a key that was neither over nor rotated out when the request was sent.
    fn key_was_good(
        &self,
        number: usize,
        exchange: &Exchange,
        (key, skew): (&Secret, Duration),
    ) -> Result<(), Violation> {
        // Too busy is answered before anybody has looked at the key.
        if matches!(exchange.status(), None | Some(401 | 503)) {
            return Ok(());
        }
        if self.rotated.get(key.reveal()).is_some_and(|sent| *sent <= number) {
            return broken("I17", format!("{} was answered to a key that had been rotated out", exchange.path));
        }
        // The host that looks at the key may be behind by as much as clocks are wrong.
        let end = self.ends.get(key.reveal()).map(|end| end.plus(skew));
        if end.is_some_and(|end| end <= exchange.sent_at) {
            return broken("I16", format!("{} was answered to a key that is over", exchange.path));
        }
        Ok(())
    }

    /// I17: whoever is not let in has a key that is over or rotated out. A rotation that nobody answered may have come through.
    fn refusal_was_right(
        &self,
        exchange: &Exchange,
        (key, now, skew): (&Secret, Timestamp, Duration),
    ) -> Result<(), Violation> {
        let good = self.ends.get(key.reveal()).is_some_and(|end| *end > now.plus(skew));
        if exchange.status() != Some(401) || !good {
            return Ok(());
        }
        let rotates = |other: &&Exchange| other.ask == Ask::Rotate && other.key.as_ref() == Some(key);
        if self.all.iter().filter(rotates).any(|other| other.effect() != Effect::None) {
            return Ok(());
        }
        broken("I17", format!("{} was refused to a key that is good", exchange.path))
    }

    /// From now on this opens nothing: what came in its place was used.
    pub(crate) fn rotated_out(&mut self, replaced: Option<Secret>) {
        let sent = self.all.len();
        self.rotated.extend(replaced.map(|secret| (secret.reveal().to_owned(), sent)));
    }

    /// The requests that were answered since the last time.
    pub(crate) fn take_fresh(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.fresh)
    }

    /// The requests that were answered since the laws looked last.
    pub(crate) fn take_unchecked(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.unchecked)
    }

    /// What the requests that `wanted` admits came to, one entry for all those with the same idempotency key.
    pub(crate) fn effects(&self, wanted: impl Fn(&Exchange) -> bool) -> Vec<Effect> {
        let mut once = BTreeMap::<(Option<usize>, &str), Effect>::new();
        let mut alone = Vec::new();
        for exchange in self.all.iter().filter(|exchange| wanted(exchange)) {
            match &exchange.once {
                Some(key) => {
                    let known = once.entry((exchange.user, key)).or_insert(Effect::None);
                    *known = (*known).max(exchange.effect());
                }
                None => alone.push(exchange.effect()),
            }
        }
        alone.extend(once.into_values());
        alone
    }
}

/// A simulated user.
pub(crate) struct User {
    pub(crate) tenant: TenantId,
    pub(crate) name: UserName,
    /// Part of every field that this user's tenant gives, and of no other tenant's.
    pub(crate) mark: &'static str,
    pub(crate) key: Option<Secret>,
    /// A key that the user had before.
    pub(crate) old_key: Option<Secret>,
    /// The jobs whose submit was acknowledged.
    pub(crate) jobs: Vec<WorkloadId>,
    /// The last submit, to be repeated.
    pub(crate) last: Option<Exchange>,
}

/// The marks of the two tenants.
pub(crate) const MARKS: [&str; 2] = ["canarya", "canaryb"];

/// Two users in each of two tenants.
pub(crate) fn users(h: &mut Harness) -> Vec<User> {
    let user = |tenant: &str, mark, name: &str| User {
        tenant: TenantId::new(tenant),
        name: UserName::new(format!("{mark}-{name}")),
        mark,
        key: None,
        old_key: None,
        jobs: Vec::new(),
        last: None,
    };
    let [a, b] = MARKS;
    let mut users = vec![user("default", a, "ann"), user("default", a, "bob"), user(b, b, "cid"), user(b, b, "dee")];
    for user in &mut users {
        issue(h, user);
    }
    users
}

/// Gives a user a key, as the installation's admin would.
pub(crate) fn issue(h: &mut Harness, user: &mut User) {
    let random: [u8; 32] = std::array::from_fn(|_| u8::try_from(h.rng.below(256)).unwrap_or(0));
    let key = mint(KeyKind::User, &random);
    let expires_at = h.world.now().plus(Duration::from_secs(2 * 3600));
    let member = Member { tenant: user.tenant.clone(), user: user.name.clone(), user_id: 7, expires_at };
    block_on(h.truth.add_user_key(&key, &member)).expect("a key");
    h.exchanges.ends.insert(key.reveal().to_owned(), expires_at);
    user.old_key = user.key.replace(key);
}

/// What a user asks.
pub(crate) fn request(number: usize, user: &User, ask: Ask, method: &'static str, path: impl Into<String>) -> Exchange {
    Exchange {
        user: Some(number),
        tenant: Some(user.tenant.clone()),
        ask,
        key: user.key.clone(),
        once: None,
        method,
        path: path.into(),
        body: None,
        sent_at: Timestamp::default(),
        answer: None,
    }
}

/// A submit, with a mark in every field that has room for one.
pub(crate) fn submit(number: usize, user: &User, job: usize, (kind, gpus): (&str, usize), hours: f64) -> Exchange {
    let mark = user.mark;
    let name = format!("{mark}-job-{job}");
    let body = json!({
        "image": format!("{mark}/image:1"), "instance_type": kind, "gpu_count": gpus, "duration_hours": hours, "name": name,
        "env_vars": {"TOKEN": format!("{SECRET}{mark}-env-{job}")}, "command": format!("run {SECRET}{mark}-command-{job}"),
        "github_user": format!("{mark}-gh"), "jupyter_enabled": job.is_multiple_of(4), "end_on_exit": job.is_multiple_of(3),
    });
    let mut exchange = request(number, user, Ask::Submit { name }, "POST", "/v1/jobs/submit");
    exchange.body = Some(body.to_string());
    exchange
}

impl Harness {
    /// Lets users take note of their answers: jobs, keys.
    pub(crate) fn hear(&mut self, users: &mut [User]) {
        for number in self.exchanges.take_fresh() {
            let exchange = &self.exchanges.all[number];
            let Some(user) = exchange.user.and_then(|user| users.get_mut(user)) else { continue };
            let (status, json) = (exchange.status(), exchange.json());
            match (&exchange.ask, status) {
                (Ask::Submit { .. }, Some(200)) => {
                    let id = json["job_id"].as_str().and_then(|id| id.parse().ok());
                    user.jobs.extend(id.filter(|id| !user.jobs.contains(id)));
                }
                (Ask::Rotate | Ask::Login, Some(200)) => {
                    let key = Secret::new(json["api_key"].as_str().unwrap_or_default());
                    if let Some(end) = json["expires_at"].as_str().and_then(Timestamp::parse) {
                        self.exchanges.ends.insert(key.reveal().to_owned(), end);
                    }
                    user.old_key = user.key.replace(key);
                }
                // Whoever is not let in any more gets another key.
                (_, Some(401)) if exchange.key == user.key => issue(self, user),
                _ => {}
            }
        }
    }
}
