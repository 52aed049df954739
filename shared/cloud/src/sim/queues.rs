//! The queues, as harsh as SQS may be.

use std::collections::BTreeSet;

use async_trait::async_trait;
use domain::{
    Timestamp,
    message::{Message, QueueName},
};

use super::{
    rng::Rng,
    world::{Port, Settings, State, When, World},
};
use crate::{PortError, Queue};

/// A message that waits in a queue, is being worked on, or lies with the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The message.
    pub message: Message,
    /// When it was handed over.
    pub sent_at: Timestamp,
    /// It is not delivered before.
    pub visible_at: Timestamp,
    /// How many times it was delivered.
    pub receives: u32,
    number: u64,
}

/// How often one message is delivered again although it was not given back.
const MOST_DOUBLED: u32 = 2;

/// One delivery. Unless it is acknowledged, the message comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// How many times it was delivered, this time included.
    pub receives: u32,
    number: u64,
}

/// What waits, what was given up, and what is still under way to a queue.
pub(super) struct Queues {
    waiting: Vec<Queued>,
    dead: Vec<Queued>,
    under_way: Vec<(Timestamp, Message)>,
    numbered: u64,
    rng: Rng,
}

impl Queues {
    pub(super) fn new(seed: u64) -> Self {
        let (waiting, dead, under_way) = (Vec::new(), Vec::new(), Vec::new());
        Self { waiting, dead, under_way, numbered: 0, rng: Rng::stream(seed, "queues") }
    }

    /// Messages that were under way until `now` arrive.
    pub(super) fn arrive(&mut self, now: Timestamp) {
        let (mut due, later) =
            std::mem::take(&mut self.under_way).into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= now);
        self.under_way = later;
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().for_each(|(at, message)| self.push(message, at));
    }

    fn push(&mut self, message: Message, now: Timestamp) {
        self.numbered += 1;
        self.waiting.push(Queued { message, sent_at: now, visible_at: now, receives: 0, number: self.numbered });
    }

    /// Puts aside what nobody could work on. It happens when the message would be delivered once more, as in SQS.
    fn bury(&mut self, now: Timestamp, settings: &Settings) {
        let hopeless = |one: &mut Queued| one.visible_at <= now && one.receives >= settings.most_receives;
        self.dead.extend(self.waiting.extract_if(.., hopeless));
    }

    /// What could be delivered now: of a FIFO queue the first of each group, unless it is being worked on.
    fn deliverable(&self, queue: QueueName, now: Timestamp) -> Vec<usize> {
        let mut groups = BTreeSet::new();
        let mine = self.waiting.iter().enumerate().filter(|(_, one)| one.message.queue() == queue);
        let in_turn = mine.filter(|(_, one)| !queue.is_fifo() || groups.insert(one.message.group()));
        in_turn.filter(|(_, one)| one.visible_at <= now).map(|(at, _)| at).collect()
    }

    fn receive(&mut self, queue: QueueName, now: Timestamp, settings: &Settings) -> Option<Delivery> {
        self.bury(now, settings);
        let chosen = self.rng.pick(&self.deliverable(queue, now))?;
        let twice = !queue.is_fifo() && self.rng.chance(settings.duplicates);
        let one = self.waiting.get_mut(chosen)?;
        // A queue that delivers a message more than once does so rarely, and never so often that this alone would bury it.
        let twice = twice && one.receives < MOST_DOUBLED;
        one.receives += 1;
        one.visible_at = if twice { now } else { now.plus(settings.visibility) };
        Some(Delivery { message: one.message.clone(), receives: one.receives, number: one.number })
    }

    /// The message of a delivery, unless it was delivered again since: an old receipt is worth nothing.
    fn delivered(&self, delivery: &Delivery) -> Option<usize> {
        self.waiting.iter().position(|one| one.number == delivery.number && one.receives == delivery.receives)
    }
}

#[async_trait]
impl Queue for Port {
    async fn send(&self, message: &Message) -> Result<(), PortError> {
        // Sent twice, it lies there twice, in a FIFO queue as well: its deduplication hides no more than five minutes' worth, and a consumer
        // must bear a doubled message anyway.
        let effect = |state: &mut State, when| {
            let State { queues, settings, now, .. } = state;
            match when {
                When::Now | When::Stale => queues.push(message.clone(), *now),
                When::Late => {
                    let arrival = now.plus(queues.rng.within(&settings.late));
                    queues.under_way.push((arrival, message.clone()));
                }
            }
            Ok(())
        };
        self.0.call("queue.send", effect).await
    }

    async fn healthy(&self) -> bool {
        self.0.call("queue.healthy", |_state, _when| Ok::<_, PortError>(())).await.is_ok()
    }
}

/// The other end of the queues. None of this is a fault point: what can go wrong with a consumer is that it fails or dies.
impl World {
    /// The next message of a queue: of a standard one any that is visible, of a FIFO one the first of any group of which nothing is being
    /// worked on. A message that has been delivered too often goes to the dead letters instead.
    #[must_use]
    pub fn receive(&self, queue: QueueName) -> Option<Delivery> {
        let mut state = self.state();
        let State { queues, settings, now, .. } = &mut *state;
        queues.receive(queue, *now, settings)
    }

    /// Ends a message: its consumer has done its work. False when it came too late, because the message was delivered again before.
    pub fn acknowledge(&self, delivery: &Delivery) -> bool {
        let queues = &mut self.state().queues;
        let found = queues.delivered(delivery);
        found.map(|at| queues.waiting.remove(at)).is_some()
    }

    /// Gives a message back at once instead of after its visibility time-out. False when it came too late.
    pub fn hand_back(&self, delivery: &Delivery) -> bool {
        let mut state = self.state();
        let now = state.now;
        let found = state.queues.delivered(delivery);
        found.and_then(|at| state.queues.waiting.get_mut(at)).map(|one| one.visible_at = now).is_some()
    }

    /// What a queue holds, oldest first, what is being worked on included.
    #[must_use]
    pub fn messages(&self, queue: QueueName) -> Vec<Queued> {
        let state = self.state();
        state.queues.waiting.iter().filter(|one| one.message.queue() == queue).cloned().collect()
    }

    /// When a message can be delivered next from any queue, or arrives there; the present or an earlier instant when one can be now.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Timestamp> {
        let state = self.state();
        let arrivals = state.queues.under_way.iter().map(|(at, _)| *at);
        state.queues.waiting.iter().map(|one| one.visible_at).chain(arrivals).min()
    }

    /// What was given up after too many deliveries, in the order in which it was.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<Queued> {
        let mut state = self.state();
        let State { queues, settings, now, .. } = &mut *state;
        queues.bury(*now, settings);
        queues.dead.clone()
    }
}
