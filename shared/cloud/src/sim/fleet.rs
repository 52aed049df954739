//! Ground truth: what really runs, where, and since when.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{InstanceId, NodeId, Timestamp, WorkloadId, credential::CloudKeys, workload::Address};

use super::{
    rng::Rng,
    world::{Port, Settings, State, When, World},
};
use crate::{Attempt, Fleet, FleetError, Nowhere, Order, PortError, Provisioned, Sighting, Tagged};

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// It was ordered and does not run yet.
    Requested,
    /// It runs.
    Running,
    /// It has stopped, or was ended before it ran.
    Stopped,
}

/// Something that the fleet made.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// What the fleet calls it.
    pub id: InstanceId,
    /// What was ordered: whose it is, its node, its GPUs and its agent's token.
    pub order: Order,
    /// How to reach it.
    pub address: Address,
    /// When it was ordered.
    pub requested_at: Timestamp,
    /// When it runs, unless it stops before.
    pub running_at: Timestamp,
    /// When it stops, where that is settled; it may lie ahead, since what is told to end takes a moment.
    pub stops_at: Option<Timestamp>,
    /// How long after its making and after its stop the list of instances is still wrong about it.
    pub list_lag: Duration,
    /// In whose account it runs: the id of the key that ordered it, or `None` in the installation's own.
    pub account: Account,
}

/// The id of the key that opens an account; `None` is the installation's own. Nothing of one account is to be seen from another.
type Account = Option<String>;

impl Instance {
    /// Where it stands at `at`, a moment since it was ordered.
    #[must_use]
    pub fn life(&self, at: Timestamp) -> Life {
        if self.stops_at.is_some_and(|stop| stop <= at) {
            Life::Stopped
        } else if self.running_at <= at {
            Life::Running
        } else {
            Life::Requested
        }
    }

    /// Whether it may still run at `at`.
    #[must_use]
    pub fn is_live(&self, at: Timestamp) -> bool {
        self.life(at) != Life::Stopped
    }

    /// When it really ran, as far as is settled at `at`: what its workload may be billed for (invariant I9).
    #[must_use]
    pub fn interval(&self, at: Timestamp) -> Option<Interval> {
        let ran = self.running_at <= at && self.stops_at.is_none_or(|stop| stop > self.running_at);
        let Order { workload, attempt, ref node, gpus, .. } = self.order;
        let to = self.stops_at.filter(|stop| *stop <= at);
        ran.then(|| Interval { workload, attempt, node: node.clone(), gpus, from: self.running_at, to })
    }

    fn is_of(&self, attempt: &Attempt, account: &Account) -> bool {
        self.order.of() == *attempt && self.account == *account
    }

    fn is_listed(&self, at: Timestamp) -> bool {
        let gone = self.stops_at.is_some_and(|stop| stop.plus(self.list_lag) <= at);
        self.requested_at.plus(self.list_lag) <= at && !gone
    }
}

/// A time that an instance ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// For whom.
    pub workload: WorkloadId,
    /// Which attempt.
    pub attempt: u32,
    /// Where.
    pub node: NodeId,
    /// On how many GPUs.
    pub gpus: u32,
    /// Since when.
    pub from: Timestamp,
    /// Until when; `None` while it runs.
    pub to: Option<Timestamp>,
}

/// Every instance that ever was, every attempt that may not come to be any more, and every order that is still under way.
pub(super) struct Ground {
    instances: Vec<Instance>,
    tombstones: BTreeMap<(Attempt, Account), Timestamp>,
    under_way: Vec<(Timestamp, Order, Account)>,
    rng: Rng,
}

impl Ground {
    pub(super) fn new(seed: u64) -> Self {
        let (instances, tombstones, under_way) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { instances, tombstones, under_way, rng: Rng::stream(seed, "fleet") }
    }

    /// Orders that were under way until `now` arrive, each at its own time.
    pub(super) fn arrive(&mut self, now: Timestamp, settings: &Settings) {
        let (mut due, later) =
            std::mem::take(&mut self.under_way).into_iter().partition::<Vec<_>, _>(|(at, ..)| *at <= now);
        self.under_way = later;
        due.sort_by_key(|(at, ..)| *at);
        for (at, order, account) in due {
            // Whether it is made or refused: nobody waits for the answer any more.
            drop(self.provision((&order, &account), at, settings));
        }
    }

    fn late(&mut self, (order, account): (&Order, &Account), now: Timestamp, settings: &Settings) {
        let arrival = now.plus(self.rng.within(&settings.late));
        self.under_way.push((arrival, order.clone(), account.clone()));
    }

    fn provision(
        &mut self,
        (order, account): (&Order, &Account),
        now: Timestamp,
        settings: &Settings,
    ) -> Result<Provisioned, FleetError> {
        let attempt = order.of();
        if self.tombstones.contains_key(&(attempt.clone(), account.clone())) {
            return Err(FleetError::Refused("this attempt was ended".into()));
        }
        let known = self.instances.iter().find(|known| known.is_of(&attempt, account));
        if let Some(known) = known {
            let same = known.order == *order;
            let made = Provisioned { instance: known.id.clone(), address: known.address.clone() };
            return if same { Ok(made) } else { Err(FleetError::Refused("repeated with other parameters".into())) };
        }
        if let Some(reason) = &settings.refuses {
            return Err(FleetError::Refused(reason.clone()));
        }
        let claimed =
            self.instances.iter().filter(|other| other.is_live(now)).map(|other| other.order.gpus).sum::<u32>();
        if settings.capacity.is_some_and(|capacity| claimed.saturating_add(order.gpus) > capacity) {
            return Err(FleetError::Capacity("simulated: no more GPUs".into()));
        }
        Ok(self.make((order, account), now, settings))
    }

    fn make(&mut self, (order, account): (&Order, &Account), now: Timestamp, settings: &Settings) -> Provisioned {
        let id = InstanceId::new(format!("i-{:016x}", self.rng.next_u64()));
        let number = self.instances.len();
        let host = format!("10.0.{}.{}", number / 256 % 256, number % 256);
        let address = Address { host, ssh_port: 22, jupyter_port: 8888, model_port: order.serves.then_some(8000) };
        self.instances.push(Instance {
            id: id.clone(),
            order: order.clone(),
            address: address.clone(),
            requested_at: now,
            running_at: now.plus(self.rng.within(&settings.boot)),
            stops_at: None,
            list_lag: self.rng.within(&settings.list_lag),
            account: account.clone(),
        });
        Provisioned { instance: id, address }
    }

    /// What was to be seen at `at`. Absence alone says nothing: an order may be under way.
    fn describe(&self, (attempt, account): (&Attempt, &Account), at: Timestamp) -> Sighting {
        let mut made = self.instances.iter().filter(|one| one.is_of(attempt, account) && one.requested_at <= at);
        let ended = self.tombstones.get(&(attempt.clone(), account.clone()));
        match made.next() {
            Some(one) if one.is_live(at) => Sighting::Running,
            Some(one) => Sighting::Gone { stopped_at: one.stops_at },
            None if ended.is_some_and(|since| *since <= at) => Sighting::Gone { stopped_at: None },
            None => Sighting::Running,
        }
    }

    fn terminate(&mut self, (attempt, account): (Attempt, Account), now: Timestamp, settings: &Settings) {
        let live = |one: &&mut Instance| one.is_of(&attempt, &account) && one.stops_at.is_none();
        for one in self.instances.iter_mut().filter(live) {
            one.stops_at = Some(now.plus(self.rng.within(&settings.stop)));
        }
        self.tombstones.entry((attempt, account)).or_insert(now);
    }

    fn list(&self, account: &Account, at: Timestamp) -> Vec<Tagged> {
        let tagged = |one: &Instance| Tagged { instance: one.id.clone(), attempt: one.order.of() };
        let listed = |one: &&Instance| one.account == *account && one.is_listed(at);
        self.instances.iter().filter(listed).map(tagged).collect()
    }

    /// What was made for an attempt.
    pub(super) fn of_attempt(&self, attempt: &Attempt) -> Option<&Instance> {
        self.instances.iter().find(|one| one.order.of() == *attempt)
    }

    /// Whether nothing can be made for an attempt any more.
    pub(super) fn is_ended(&self, attempt: &Attempt) -> bool {
        self.tombstones.keys().any(|(ended, _)| ended == attempt)
    }

    /// When an instance stops, where that is settled.
    pub(super) fn stopped_at(&self, id: &InstanceId) -> Option<Timestamp> {
        self.instances.iter().find(|one| one.id == *id)?.stops_at
    }

    /// As of when a look is taken: for a stale one, a moment that the list's own lag allows.
    fn moment(&mut self, state_now: Timestamp, settings: &Settings, when: When) -> Timestamp {
        match when {
            When::Now | When::Late => state_now,
            When::Stale => state_now.minus(self.rng.within(&settings.list_lag)),
        }
    }
}

/// The fleet as it is in one account.
struct InAccount {
    port: Port,
    account: Account,
}

impl Port {
    /// The fleet in the installation's own account.
    fn own(&self) -> InAccount {
        InAccount { port: Self(self.0.clone()), account: None }
    }
}

#[async_trait]
impl Fleet for InAccount {
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError> {
        let effect = |state: &mut State, when| {
            let State { fleet, settings, now, .. } = state;
            let order = (order, &self.account);
            if when == When::Late {
                fleet.late(order, *now, settings);
                return Err(FleetError::Port(PortError::Unavailable("still under way".into())));
            }
            fleet.provision(order, *now, settings)
        };
        self.port.0.call("fleet.provision", effect).await
    }

    async fn describe(&self, attempt: &Attempt) -> Result<Sighting, PortError> {
        let effect = |state: &mut State, when| {
            let at = state.fleet.moment(state.now, &state.settings, when);
            Ok(state.fleet.describe((attempt, &self.account), at))
        };
        self.port.0.call("fleet.describe", effect).await
    }

    async fn terminate(&self, attempt: &Attempt) -> Result<(), PortError> {
        let effect = |state: &mut State, _when| {
            let State { fleet, settings, now, .. } = state;
            fleet.terminate((attempt.clone(), self.account.clone()), *now, settings);
            Ok(())
        };
        self.port.0.call("fleet.terminate", effect).await
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        let effect = |state: &mut State, when| {
            let at = state.fleet.moment(state.now, &state.settings, when);
            Ok(state.fleet.list(&self.account, at))
        };
        self.port.0.call("fleet.list", effect).await
    }
}

#[async_trait]
impl Fleet for Port {
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError> {
        self.own().provision(order).await
    }

    async fn describe(&self, attempt: &Attempt) -> Result<Sighting, PortError> {
        self.own().describe(attempt).await
    }

    async fn terminate(&self, attempt: &Attempt) -> Result<(), PortError> {
        self.own().terminate(attempt).await
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        self.own().list().await
    }

    fn in_account(&self, keys: &CloudKeys) -> Arc<dyn Fleet> {
        match keys {
            CloudKeys::Aws(keys) => {
                let account = Some(keys.access_key_id.reveal().to_owned());
                Arc::new(InAccount { port: Self(self.0.clone()), account })
            }
            CloudKeys::Azure(_) | CloudKeys::Gcp(_) => Arc::new(Nowhere),
        }
    }
}

/// Ground truth about what runs.
impl World {
    /// Every instance that was ever made, in the order of its making.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        self.state().fleet.instances.clone()
    }

    /// The instances of a workload that run or are about to (invariant I2: at most one).
    #[must_use]
    pub fn live(&self, workload: WorkloadId) -> Vec<Instance> {
        let state = self.state();
        let live = |one: &&Instance| one.order.workload == workload && one.is_live(state.now);
        state.fleet.instances.iter().filter(live).cloned().collect()
    }

    /// Whether anything of a workload runs or can still come to run, an order under way included (invariant I4).
    #[must_use]
    pub fn may_run(&self, workload: WorkloadId) -> bool {
        let live = !self.live(workload).is_empty();
        let fleet = &self.state().fleet;
        let arriving = |order: &Order| {
            let ended = fleet.is_ended(&order.of());
            order.workload == workload && !ended
        };
        live || fleet.under_way.iter().any(|(_, order, _)| arriving(order))
    }

    /// When the next order that is under way arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Timestamp> {
        self.state().fleet.under_way.iter().map(|(at, ..)| *at).min()
    }

    /// When anything of a workload really ran, in the order of its making.
    #[must_use]
    pub fn intervals(&self, workload: WorkloadId) -> Vec<Interval> {
        let state = self.state();
        let mine = state.fleet.instances.iter().filter(|one| one.order.workload == workload);
        mine.filter_map(|one| one.interval(state.now)).collect()
    }

    /// GPUs that are claimed on each node at `at`: by what runs there and by what is about to.
    #[must_use]
    pub fn gpus_claimed(&self, at: Timestamp) -> BTreeMap<NodeId, u32> {
        let mut claimed = BTreeMap::new();
        for one in self.state().fleet.instances.iter().filter(|one| one.requested_at <= at && one.is_live(at)) {
            *claimed.entry(one.order.node.clone()).or_default() += one.order.gpus;
        }
        claimed
    }

    /// The most GPUs that were ever claimed at once on each node, and when that was first so (invariant I1).
    #[must_use]
    pub fn most_gpus_claimed(&self) -> BTreeMap<NodeId, (u32, Timestamp)> {
        // Claims only grow when something is ordered, so that no other moment can be the highest.
        let orders = self.instances().into_iter().map(|one| one.requested_at);
        let mut most = BTreeMap::<NodeId, (u32, Timestamp)>::new();
        for at in orders {
            for (node, gpus) in self.gpus_claimed(at) {
                let highest = most.entry(node).or_insert((0, at));
                if gpus > highest.0 {
                    *highest = (gpus, at);
                }
            }
        }
        most
    }

    /// An instance ends by itself: its process ended, its host died, or it was taken back. False when it had stopped, or never was.
    pub fn stop_instance(&self, id: &InstanceId) -> bool {
        let mut state = self.state();
        let now = state.now;
        let Some(one) = state.fleet.instances.iter_mut().find(|one| one.id == *id && one.is_live(now)) else {
            return false;
        };
        one.stops_at = Some(now);
        true
    }
}
