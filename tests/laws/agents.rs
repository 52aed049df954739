//! An agent for each instance, each with a temper of its own.

use std::{collections::BTreeMap, time::Duration};

use cloud::sim::{Instance, Rng, World};
use domain::{
    Secret, TenantId, Timestamp, Workload, WorkloadId,
    api_key::{KeyKind, mint},
    lifecycle::State,
    message::Message,
};
use futures::executor::block_on;
use serde_json::{Value, json};

use super::{
    mutants::Bug,
    people::{Ask, Exchange, Exchanges},
};

/// What an agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Enroll,
    Sync,
    /// A report with the session that was replaced.
    Replaced,
    Logs,
    Bye,
}

/// An agent replaces its session with every so many-th call.
const ROTATES: u32 = 10;

/// How an agent behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// As it should.
    Good,
    /// As it should, and each call twice.
    Repeating,
    /// Ten times slower than it should.
    Slow,
    /// It never calls in.
    Mute,
    /// It stops calling after so many calls, while what it supervises runs on.
    Dies(u32),
    /// What it runs on goes away after so many calls.
    Breaks(u32),
    /// It leaves by itself after so many calls.
    Leaves(u32),
    /// Its command ends after so many calls.
    Exits(u32),
    /// It never stops what it runs.
    Stubborn,
}

impl Temper {
    /// Whether its workload can be expected to become active and to stay so.
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::Repeating | Self::Stubborn)
    }

    fn draw(rng: &mut Rng) -> Self {
        let calls = u32::try_from(rng.below(9)).unwrap_or(0);
        match rng.below(20) {
            0 | 1 => Self::Repeating,
            2 => Self::Slow,
            3 => Self::Mute,
            4 => Self::Dies(calls),
            5 => Self::Breaks(calls),
            6 => Self::Leaves(calls),
            7 | 8 => Self::Exits(calls),
            9 => Self::Stubborn,
            _ => Self::Good,
        }
    }
}

/// One agent.
pub(crate) struct Agent {
    pub(crate) workload: WorkloadId,
    pub(crate) temper: Temper,
    /// When its first call was answered well.
    pub(crate) enrolled_at: Option<Timestamp>,
    instance: Instance,
    session: Secret,
    /// The session that comes in its place, announced until that was answered.
    next: Option<Secret>,
    /// The session that was replaced, until the present one has been used and it was tried once more.
    replaced: Option<Secret>,
    /// The present session has been used, so that the one before it must open nothing.
    used: bool,
    calls: u32,
    applied: u64,
    jupyter: bool,
    /// It has mounted its disk.
    mounted: bool,
    /// The snapshot for which its file system holds still.
    frozen: Option<u64>,
    /// When it is to stop, as it was told or by its own clock.
    stop_at: Option<Timestamp>,
    said_bye: u32,
    next_at: Option<Timestamp>,
    in_flight: Option<usize>,
    gone: bool,
    /// What it serves is used until then.
    used_until: Timestamp,
    /// It has just stopped what it ran on.
    stopped: bool,
}

/// Every agent, one for each instance that was ever made.
pub(crate) struct Agents {
    pub(crate) all: Vec<Agent>,
    /// The temper that every agent has, or each its own.
    pub(crate) temper: Option<Temper>,
    rng: Rng,
}

impl Default for Agents {
    fn default() -> Self {
        Self { all: Vec::new(), temper: None, rng: Rng::stream(0, "agents") }
    }
}

impl Agents {
    pub(crate) fn seeded(seed: u64, temper: Option<Temper>) -> Self {
        Self { rng: Rng::stream(seed, "agents"), temper, ..Self::default() }
    }

    /// Makes an agent for each instance that has none yet.
    pub(crate) fn meet(&mut self, instances: &[Instance], _: &World) {
        for instance in instances.iter().skip(self.all.len()) {
            let random: [u8; 32] = self.rng.bytes();
            let temper = self.temper.unwrap_or_else(|| Temper::draw(&mut self.rng));
            // Only what serves a model is used or not, so that schedules without such are what they were.
            let used = if instance.order.serves { [0, 0, 600, 7_200][self.rng.below(4)] } else { 0 };
            self.all.push(Agent {
                used_until: instance.running_at.plus(Duration::from_secs(used)),
                workload: instance.order.workload,
                temper,
                enrolled_at: None,
                session: mint(KeyKind::Session, &random),
                next: None,
                replaced: None,
                used: false,
                calls: 0,
                applied: 0,
                jupyter: false,
                mounted: false,
                frozen: None,
                stop_at: None,
                said_bye: 0,
                next_at: (temper != Temper::Mute).then(|| instance.running_at.plus(Duration::from_millis(500))),
                in_flight: None,
                gone: false,
                stopped: false,
                instance: instance.clone(),
            });
        }
    }

    /// When an agent acts next.
    pub(crate) fn next_event(&self) -> Option<Timestamp> {
        self.all.iter().filter(|agent| !agent.gone && agent.in_flight.is_none()).filter_map(Agent::acts_at).min()
    }

    /// When the first of those acts who have something to tell or to learn.
    pub(crate) fn next_news(&self, rows: &BTreeMap<WorkloadId, Workload>) -> Option<Timestamp> {
        let busy = |agent: &&Agent| !agent.gone && !agent.is_idle(rows.get(&agent.workload));
        self.all.iter().filter(busy).filter_map(Agent::acts_at).min()
    }

    /// Idle agents say nothing until `to`, unless they have to stop before.
    pub(crate) fn sleep_until(&mut self, to: Timestamp, rows: &BTreeMap<WorkloadId, Workload>) {
        for agent in self.all.iter_mut().filter(|agent| agent.is_idle(rows.get(&agent.workload))) {
            agent.next_at = agent.next_at.map(|at| at.max(to));
        }
    }

    /// What agents say now, each with its number.
    pub(crate) fn calls(&mut self, world: &World, bug: Option<Bug>) -> Vec<(usize, Exchange)> {
        let now = world.now();
        let mut calls = Vec::new();
        for (number, agent) in self.all.iter_mut().enumerate() {
            let due = !agent.gone && agent.in_flight.is_none() && agent.acts_at().is_some_and(|at| at <= now);
            if !due {
                continue;
            }
            if world.live(agent.workload).iter().all(|one| one.id != agent.instance.id) {
                agent.gone = true;
            } else if let Some(call) = agent.next_call(now, world, &mut self.rng) {
                let idle = agent.idle_seconds(now).filter(|_| bug != Some(Bug::NeverIdle));
                let exchange = agent.say(number, call, idle);
                if agent.temper == Temper::Repeating {
                    calls.push((number, exchange.clone()));
                }
                calls.push((number, exchange));
            }
        }
        calls
    }

    /// Whether an agent has stopped what it ran on since the last time.
    pub(crate) fn take_stopped(&mut self) -> bool {
        self.all.iter_mut().map(|agent| std::mem::take(&mut agent.stopped)).filter(|stopped| *stopped).count() > 0
    }

    /// An agent's call is on its way, as this exchange.
    pub(crate) fn sent(&mut self, agent: usize, number: usize) {
        if let Some(agent) = self.all.get_mut(agent) {
            agent.in_flight = Some(number);
        }
    }

    /// A call was answered, or nobody answered it. Gives the session that opens nothing from now on, if there is one.
    pub(crate) fn answered(&mut self, number: usize, exchanges: &Exchanges, world: &World) -> Option<Secret> {
        let exchange = &exchanges.all[number];
        let Ask::Agent { agent, call } = exchange.ask else { return None };
        let pause = Duration::from_millis(u64::try_from(1_000 + self.rng.below(4_000)).unwrap_or(0));
        let linger = Duration::from_millis(u64::try_from(self.rng.below(18_000)).unwrap_or(0));
        let agent = self.all.get_mut(agent).filter(|agent| agent.in_flight == Some(number))?;
        agent.in_flight = None;
        agent.take(call, exchange, world, (pause, linger));
        agent.rotate(call, exchange)
    }
}

impl Agent {
    /// The order that its instance was made from belongs to this tenant.
    fn tenant(&self) -> &TenantId {
        &self.instance.order.tenant
    }

    /// Whether it serves a model.
    pub(crate) fn serves(&self) -> bool {
        self.instance.order.serves
    }

    /// Since when nobody uses what it serves.
    pub(crate) fn idle_from(&self) -> Timestamp {
        self.used_until
    }

    /// Whether it has nothing to tell and nothing to learn. One whose node may idle away tells for how long nobody has used it.
    fn is_idle(&self, row: Option<&Workload>) -> bool {
        let judged = |row: &Workload| row.spec.serve.as_ref().is_some_and(|serve| serve.idle_minutes.is_some());
        let agreed = |row: &Workload| row.version == self.applied && row.jupyter.ready == self.jupyter && !judged(row);
        row.is_none_or(|row| row.state != State::Active || agreed(row))
    }

    fn acts_at(&self) -> Option<Timestamp> {
        match (self.next_at, self.stop_at.filter(|_| self.temper != Temper::Stubborn)) {
            (Some(next), Some(stop)) => Some(if self.said_bye > 0 { next } else { next.min(stop) }),
            (next, stop) => next.or(stop),
        }
    }

    /// What it says next; `None` when it does something else instead.
    fn next_call(&mut self, now: Timestamp, world: &World, rng: &mut Rng) -> Option<Call> {
        let (calls, said) = (self.calls, self.calls + 1);
        match self.temper {
            Temper::Dies(after) if calls >= after => {
                self.gone = true;
                return None;
            }
            Temper::Breaks(after) if calls >= after => {
                self.stop(world);
                return None;
            }
            _ => {}
        }
        self.calls = said;
        let leaving = matches!(self.temper, Temper::Leaves(after) if calls >= after.max(1));
        let obeys = self.temper != Temper::Stubborn && self.stop_at.is_some_and(|at| at <= now);
        if self.enrolled_at.is_none() {
            Some(Call::Enroll)
        } else if leaving || obeys {
            self.said_bye += 1;
            Some(Call::Bye)
        } else if calls == 4 {
            Some(Call::Logs)
        } else if self.used && self.replaced.is_some() {
            Some(Call::Replaced)
        } else {
            if said.is_multiple_of(ROTATES) && self.next.is_none() {
                self.next = Some(mint(KeyKind::Session, &rng.bytes()));
            }
            Some(Call::Sync)
        }
    }

    fn say(&self, number: usize, call: Call, idle: Option<u64>) -> Exchange {
        let (key, body) = match call {
            Call::Enroll => {
                (&self.instance.order.enroll_token, json!({"session": self.session.hash(), "version": "0.1.0"}))
            }
            Call::Sync => (&self.session, self.report(idle)),
            Call::Replaced => (self.replaced.as_ref().unwrap_or(&self.session), self.report(idle)),
            Call::Logs => {
                let line = json!({"at": self.instance.running_at, "stream": "stdout", "text": "epoch 1"});
                (&self.session, json!({"sequence": 1, "lines": [line]}))
            }
            Call::Bye => (&self.session, json!({"reason": "stopped"})),
        };
        let path = match call {
            Call::Enroll => "/agent/v1/enroll",
            Call::Sync | Call::Replaced => "/agent/v1/sync",
            Call::Logs => "/agent/v1/logs",
            Call::Bye => "/agent/v1/bye",
        };
        Exchange {
            user: None,
            tenant: Some(self.tenant().clone()),
            ask: Ask::Agent { agent: number, call },
            key: Some(key.clone()),
            once: None,
            method: "POST",
            path: path.to_owned(),
            body: Some(body.to_string()),
            sent_at: Timestamp::default(),
            answer: None,
        }
    }

    fn report(&self, idle: Option<u64>) -> Value {
        let waits = self.instance.order.disk.is_some() && !self.mounted;
        let progress = match self.calls {
            _ if waits => "installing",
            0..=2 => "installing",
            3 => "health_check",
            _ => "ready",
        };
        let main = match self.temper {
            Temper::Exits(after) if self.calls > after + 6 => json!({"state": "exited", "code": 3}),
            _ => json!({"state": "running"}),
        };
        let jupyter = if self.jupyter { "ready" } else { "off" };
        let notes =
            if self.calls == 2 { vec![json!({"number": 1, "text": "the sandbox is made"})] } else { Vec::new() };
        let next = self.next.as_ref().map(Secret::hash);
        json!({"applied": self.applied, "progress": progress, "main": main, "jupyter": {"state": jupyter}, "notes": notes, "next_session": next, "frozen": self.frozen, "idle_seconds": idle})
    }

    fn take(&mut self, call: Call, exchange: &Exchange, world: &World, (pause, linger): (Duration, Duration)) {
        let now = world.now();
        self.work(world);
        let slow = if self.temper == Temper::Slow { 10 } else { 1 };
        self.next_at = Some(now.plus(pause * slow));
        match (call, exchange.status()) {
            (Call::Bye, Some(200..=499)) => self.stop(world),
            (Call::Bye, _) if self.said_bye >= 3 => self.stop(world),
            (Call::Enroll, Some(200)) => {
                self.enrolled_at.get_or_insert(now);
                self.obey(&exchange.json()["synced"], now, linger);
            }
            (Call::Sync, Some(200)) => {
                let json = exchange.json();
                self.obey(&json, now, linger);
                let wait = json["next_sync_ms"].as_u64().unwrap_or(5_000);
                self.next_at = Some(now.plus(Duration::from_millis(wait) * slow));
            }
            // What was replaced is to open nothing: that it does not says nothing.
            (Call::Replaced, _) => {}
            // There is nothing left to be an agent of. A stubborn one lets its work run on.
            (Call::Enroll | Call::Sync, Some(401 | 403 | 404)) if self.temper != Temper::Stubborn => self.stop(world),
            (_, Some(401 | 403 | 404)) => self.gone = true,
            _ => {}
        }
    }

    /// Goes over to the session that was announced, and from its first use on holds the one before it for dead.
    fn rotate(&mut self, call: Call, exchange: &Exchange) -> Option<Secret> {
        match (call, exchange.status()) {
            (Call::Sync, Some(200)) => {}
            (Call::Replaced, Some(_)) => {
                self.replaced = None;
                return None;
            }
            _ => return None,
        }
        if let Some(next) = self.next.take() {
            self.replaced = Some(std::mem::replace(&mut self.session, next));
            self.used = false;
            return None;
        }
        self.used = true;
        self.replaced.clone()
    }

    fn obey(&mut self, synced: &Value, now: Timestamp, linger: Duration) {
        self.applied = synced["version"].as_u64().unwrap_or(self.applied);
        let desired = &synced["desired"];
        if desired.is_null() {
            return;
        }
        self.jupyter = desired["jupyter"].is_string();
        self.mounted |= desired["disk"].is_object();
        self.frozen = desired["disk"]["freeze"].as_u64();
        let at = |value: &Value| value.as_str().and_then(Timestamp::parse);
        // What was to stop already is not put off.
        self.stop_at = match at(&desired["stop"]["kill_at"]) {
            Some(kill_at) => Some(now.plus(linger).min(kill_at)),
            None => at(&desired["expire_at"]).map(|end| end.plus(linger)),
        };
    }

    /// What it supervises writes to its disk, unless that holds still.
    fn work(&self, world: &World) {
        if self.mounted && self.frozen.is_none() {
            world.write(self.workload);
        }
    }

    /// What it ran on is gone. The fleet says so to a launcher, most of the time.
    fn stop(&mut self, world: &World) {
        self.work(world);
        self.gone = true;
        self.stopped = true;
        if world.stop_instance(&self.instance.id) && !self.instance.id.as_str().ends_with(['0', '1', '2', '3']) {
            let message = Message::Reconcile { tenant: self.tenant().clone(), workload: self.workload };
            // Outside a task the call either happens or does not, at once or never.
            drop(block_on(world.ports().queue.send(&message)));
        }
    }
}
