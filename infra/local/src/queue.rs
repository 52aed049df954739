//! The queues of one machine: a message is in the tables before its sender is told so, and leaves them when its work is done.

mod schedule;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cloud::{Clock, Ids, PortError, Queue};
use domain::message::{Message, QueueName};
use store::{Store, StoreError, WorkError, mailbox::Letter};
use tokio::sync::Notify;

use schedule::{Next, Schedule, Work, is_dead};

/// Does what a message asks for.
#[async_trait]
pub(crate) trait Consumer: Send + Sync + 'static {
    async fn consume(&self, message: Message) -> Result<(), WorkError>;

    /// Does what is left to do when a message failed for the last time, with this error unless the consumer died.
    async fn give_up(&self, message: Message, error: Option<WorkError>) -> Result<(), WorkError>;
}

/// The queues; a clone is the same queues.
#[derive(Clone)]
pub(crate) struct LocalQueue(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    schedule: Mutex<Schedule>,
    changed: Notify,
    stopped: AtomicBool,
}

impl LocalQueue {
    /// The queues with every message that an earlier life left in the tables.
    pub(crate) async fn open(store: Store, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self, StoreError> {
        let mut schedule = Schedule::default();
        for queue in QueueName::ALL {
            for letter in store.letters(queue).await? {
                schedule.add(letter, clock.now());
            }
        }
        let (changed, stopped) = (Notify::new(), AtomicBool::new(false));
        Ok(Self(Arc::new(Inner { store, clock, ids, schedule: Mutex::new(schedule), changed, stopped })))
    }

    /// Hands messages to `consumer` until [`LocalQueue::stop`].
    pub(crate) async fn run(self, consumer: Arc<dyn Consumer>) {
        while !self.0.stopped.load(Ordering::Acquire) {
            // Listening begins before the look, so that nothing which comes between the two is missed.
            let changed = self.0.changed.notified();
            let now = self.0.clock.now();
            let next = self.0.schedule().next(now);
            match next {
                Next::Work(work) => drop(tokio::spawn(Arc::clone(&self.0).work(work, Arc::clone(&consumer)))),
                Next::At(at) => tokio::select! {
                    () = changed => {}
                    () = self.0.clock.sleep(at.since(now)) => {}
                },
                Next::Nothing => changed.await,
            }
        }
    }

    /// Begins nothing more, and waits a while for what was begun. What is not done comes again in the next life.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.changed.notify_one();
        let until = self.0.clock.now().plus(patience);
        while self.0.schedule().is_working() && self.0.clock.now() < until {
            self.0.clock.sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Inner {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(self: Arc<Self>, work: Work, consumer: Arc<dyn Consumer>) {
        let Some(message) = work.letters.first().map(|letter| letter.message.clone()) else { return };
        // In a task of its own, so that a panic is a failure of this message and not of the queue.
        let worked = tokio::spawn({
            let (message, consumer) = (message.clone(), Arc::clone(&consumer));
            async move { consumer.consume(message).await }
        });
        match worked.await {
            Ok(Ok(())) => self.acknowledge(&work).await,
            Ok(Err(error)) => {
                let words = error.to_string();
                self.count(&work, message, (&words, Some(error)), &*consumer).await;
            }
            Err(died) => self.count(&work, message, (&died.to_string(), None), &*consumer).await,
        }
        self.changed.notify_one();
    }

    async fn acknowledge(&self, work: &Work) {
        for letter in &work.letters {
            if let Err(error) = self.store.dequeue(letter).await {
                // It stays in the tables and comes again in the next life, where it does no harm.
                tracing::error!(id = letter.id, %error, "queue.message_not_removed");
            }
        }
        self.schedule().done(work);
    }

    /// Counts a failure. Messages that were tried often enough are given up, as SQS does it.
    async fn count(
        &self,
        work: &Work,
        message: Message,
        (words, error): (&str, Option<WorkError>),
        consumer: &dyn Consumer,
    ) {
        let failed = self.schedule().failed(work, self.clock.now());
        let failures = failed.iter().map(|letter| letter.failures).max();
        let (dead, again) = failed.into_iter().partition::<Vec<_>, _>(is_dead);
        for letter in again {
            if let Err(error) = self.store.enqueue(&letter).await {
                tracing::error!(id = letter.id, %error, "queue.failure_not_counted");
            }
        }
        if dead.is_empty() {
            tracing::warn!(?message, failures, error = words, "queue.work_failed");
            return;
        }
        tracing::error!(?message, failures, error = words, "queue.message_given_up");
        if let Err(error) = consumer.give_up(message, error).await {
            tracing::error!(%error, "queue.not_given_up");
        }
        for letter in dead {
            if let Err(error) = self.store.bury(&letter, self.clock.now()).await {
                // It stays in its queue, and is tried once more in the next life.
                tracing::error!(id = letter.id, %error, "queue.message_not_buried");
            }
        }
    }
}

#[async_trait]
impl Queue for LocalQueue {
    async fn send(&self, message: &Message) -> Result<(), PortError> {
        let now = self.0.clock.now();
        let letter = Letter { id: self.0.ids.message(now).to_string(), message: message.clone(), failures: 0 };
        self.0.store.enqueue(&letter).await.map_err(|error| PortError::Unavailable(error.to_string()))?;
        self.0.schedule().add(letter, now);
        self.0.changed.notify_one();
        Ok(())
    }

    async fn healthy(&self) -> bool {
        !self.0.stopped.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use cloud::{OsIds, SystemClock};
    use domain::{PoolId, policy::MOST_RECEIVES};
    use store::embedded::Embedded;
    use tokio::sync::mpsc;

    use super::*;

    /// Tells of each message, and of each that is given up; fails or panics on the first delivery of some, and on every one of others.
    struct Probe {
        seen: mpsc::UnboundedSender<String>,
        first: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Consumer for Probe {
        async fn consume(&self, message: Message) -> Result<(), WorkError> {
            let pool = message.group().into_owned();
            self.seen.send(pool.clone()).unwrap();
            let first = {
                let mut known = self.first.lock().unwrap();
                let first = !known.contains(&pool);
                known.push(pool.clone());
                first
            };
            match pool.as_str() {
                "fails" if first => Err(PortError::Throttled.into()),
                "panics" if first => panic!("as it was told to"),
                "poison" => Err(PortError::Throttled.into()),
                "poison-panics" => panic!("as it was told to"),
                _ => Ok(()),
            }
        }

        async fn give_up(&self, message: Message, error: Option<WorkError>) -> Result<(), WorkError> {
            let how = if error.is_some() { "failed" } else { "died" };
            self.seen.send(format!("{} {how}", message.group())).unwrap();
            Ok(())
        }
    }

    async fn store() -> Store {
        let store = Store::new(Embedded::in_memory().unwrap().client(), "", Arc::new(SystemClock), Arc::new(OsIds));
        store.create_tables().await.unwrap();
        store
    }

    async fn open(store: &Store) -> LocalQueue {
        LocalQueue::open(store.clone(), Arc::new(SystemClock), Arc::new(OsIds)).await.unwrap()
    }

    fn bell(pool: &str) -> Message {
        Message::Doorbell { pool: PoolId::new(pool) }
    }

    #[tokio::test]
    async fn messages_outlive_the_process_and_leave_when_they_are_done() {
        let store = store().await;
        for pool in ["works", "works", "fails", "panics"] {
            open(&store).await.send(&bell(pool)).await.unwrap();
        }
        let (tell, mut seen) = mpsc::unbounded_channel();
        let queue = open(&store).await;
        let probe = Arc::new(Probe { seen: tell, first: Mutex::default() });
        let running = tokio::spawn(queue.clone().run(probe));
        let mut told = Vec::new();
        // "works" twice is one piece of work; what fails or panics comes again after a second.
        for _ in 0..5 {
            told.push(tokio::time::timeout(Duration::from_secs(10), seen.recv()).await.unwrap().unwrap());
        }
        told.sort();
        assert_eq!(told, ["fails", "fails", "panics", "panics", "works"]);
        queue.stop(Duration::from_secs(5)).await;
        running.await.unwrap();
        assert_eq!(store.letters(QueueName::Doorbells).await.unwrap(), []);
        assert!(!queue.healthy().await);
    }

    #[tokio::test]
    async fn a_stopped_queue_keeps_what_comes() {
        let store = store().await;
        let queue = open(&store).await;
        let (tell, mut seen) = mpsc::unbounded_channel();
        queue.stop(Duration::ZERO).await;
        queue.clone().run(Arc::new(Probe { seen: tell, first: Mutex::default() })).await;
        queue.send(&bell("works")).await.unwrap();
        assert!(seen.try_recv().is_err());
        assert_eq!(store.letters(QueueName::Doorbells).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_fails_for_the_last_time_is_given_up_and_kept_with_the_dead() {
        for (pool, failures, told) in [
            ("works", MOST_RECEIVES - 1, vec!["works"]),
            ("poison", MOST_RECEIVES - 2, vec!["poison"]),
            ("poison", MOST_RECEIVES - 1, vec!["poison", "poison failed"]),
            ("poison-panics", MOST_RECEIVES - 1, vec!["poison-panics", "poison-panics died"]),
        ] {
            let store = store().await;
            let letter = Letter { id: "1".into(), message: bell(pool), failures };
            store.enqueue(&letter).await.unwrap();
            let (tell, mut seen) = mpsc::unbounded_channel();
            let queue = open(&store).await;
            let probe = Arc::new(Probe { seen: tell, first: Mutex::default() });
            let Next::Work(work) = queue.0.schedule().next(queue.0.clock.now()) else { panic!("work") };
            Arc::clone(&queue.0).work(work, probe).await;
            let heard = std::iter::from_fn(|| seen.try_recv().ok()).collect::<Vec<_>>();
            assert_eq!(heard, told, "{pool} {failures}");
            let dead = told.len() == 2;
            let counted = Letter { failures: failures + 1, ..letter };
            let (waiting, buried) = match (pool, dead) {
                ("works", _) => (vec![], vec![]),
                (_, true) => (vec![], vec![counted]),
                (_, false) => (vec![counted], vec![]),
            };
            assert_eq!(store.letters(QueueName::Doorbells).await.unwrap(), waiting, "{pool} {failures}");
            assert_eq!(store.dead_letters(QueueName::Doorbells).await.unwrap(), buried, "{pool} {failures}");
        }
    }
}
