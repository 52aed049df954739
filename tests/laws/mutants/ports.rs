//! The ports that a plane of the laws is given: watched, overheard, and with the bugs that sit there.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use cloud::{
    Attempt, Fleet, FleetError, Launches, Order, PortError, Ports, Provisioned, Queue, Sighting, Tagged, TaskToken,
    launches::Launch, sim::World,
};
use domain::{credential::CloudKeys, message::Message};

use super::{Bug, locked};
use crate::laws::{disks, wire::Ear};

/// Says when the fleet has moved, and has one of the fleet's bugs or none.
struct Watched {
    inner: Arc<dyn Fleet>,
    world: World,
    moved: Arc<AtomicBool>,
    bug: Option<Bug>,
    ended: Mutex<BTreeSet<Attempt>>,
}

/// Sets its flag when a call is over, whatever became of its caller: its effect may be there.
struct Moving(Arc<AtomicBool>);

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Fleet for Watched {
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError> {
        let _moving = Moving(self.moved.clone());
        let mut order = order.clone();
        if self.bug == Some(Bug::NoToken) {
            // The simulated fleet tells orders apart by their attempts.
            order.attempt += 1_000 * u32::try_from(self.world.live(order.workload).len()).unwrap_or(0);
        }
        self.inner.provision(&order).await
    }

    async fn describe(&self, attempt: &Attempt) -> Result<Sighting, PortError> {
        let gone = Ok(Sighting::Gone { stopped_at: None });
        if self.bug == Some(Bug::GoneAtOnce) && locked(&self.ended).contains(attempt) {
            return gone;
        }
        if self.bug == Some(Bug::AbsenceIsGone) {
            let shown = self.inner.list().await?.iter().any(|one| one.attempt == *attempt);
            return if shown { Ok(Sighting::Running) } else { gone };
        }
        match self.inner.describe(attempt).await {
            Ok(Sighting::Gone { .. }) if self.bug == Some(Bug::NoStopTimes) => gone,
            seen => seen,
        }
    }

    async fn terminate(&self, attempt: &Attempt) -> Result<(), PortError> {
        let _moving = Moving(self.moved.clone());
        if self.bug == Some(Bug::EndsNothing) {
            return Ok(());
        }
        let ended = self.inner.terminate(attempt).await;
        locked(&self.ended).insert(attempt.clone());
        ended
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        self.inner.list().await
    }

    fn in_account(&self, keys: &CloudKeys) -> Arc<dyn Fleet> {
        self.inner.in_account(keys)
    }
}

/// Loses every third message.
struct Leaky {
    inner: Arc<dyn Queue>,
    sent: AtomicU32,
}

#[async_trait]
impl Queue for Leaky {
    async fn send(&self, message: &Message) -> Result<(), PortError> {
        if self.sent.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            return Ok(());
        }
        self.inner.send(message).await
    }

    async fn healthy(&self) -> bool {
        self.inner.healthy().await
    }
}

/// Completes nothing.
struct Deaf(Arc<dyn Launches>);

#[async_trait]
impl Launches for Deaf {
    async fn start(&self, launch: &Launch) -> Result<(), PortError> {
        self.0.start(launch).await
    }

    async fn complete(&self, _: &TaskToken) -> Result<(), PortError> {
        Ok(())
    }

    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<(), PortError> {
        self.0.fail(token, error, cause).await
    }
}

/// Lets an ear hear what is said to a queue and to the launches' service, where anybody may read it who may look at those.
struct Overheard<P: ?Sized> {
    inner: Arc<P>,
    ear: Ear,
}

#[async_trait]
impl Queue for Overheard<dyn Queue> {
    async fn send(&self, message: &Message) -> Result<(), PortError> {
        self.ear.said("a queue", &serde_json::to_string(message).unwrap_or_default());
        self.inner.send(message).await
    }

    async fn healthy(&self) -> bool {
        self.inner.healthy().await
    }
}

#[async_trait]
impl Launches for Overheard<dyn Launches> {
    async fn start(&self, launch: &Launch) -> Result<(), PortError> {
        self.ear.said("a launch", &format!("{launch:?}"));
        self.inner.start(launch).await
    }

    async fn complete(&self, token: &TaskToken) -> Result<(), PortError> {
        self.inner.complete(token).await
    }

    async fn fail(&self, token: &TaskToken, error: &str, cause: &str) -> Result<(), PortError> {
        self.ear.said("a launch", &format!("{error}: {cause}"));
        self.inner.fail(token, error, cause).await
    }
}

/// The ports of a plane over `world`, which say when the fleet has moved.
pub(crate) fn ports(world: &World, bug: Option<Bug>, moved: Arc<AtomicBool>, ear: &Ear) -> Ports {
    let ports = world.ports();
    world.set(|settings| settings.forgets_tokens = bug == Some(Bug::VolumesWithoutToken));
    let (inner, world, ended) = (ports.fleet.clone(), world.clone(), Mutex::default());
    let volumes = ports.volumes.clone();
    let volumes = Arc::new(disks::bugs::Watched {
        inner: volumes,
        world: world.clone(),
        moved: moved.clone(),
        bug,
        asked: AtomicU32::new(0),
    });
    let fleet = Arc::new(Watched { inner, world, moved, bug, ended });
    let queue: Arc<dyn Queue> = match bug {
        Some(Bug::MessagesLost) => Arc::new(Leaky { inner: ports.queue.clone(), sent: AtomicU32::new(0) }),
        _ => ports.queue.clone(),
    };
    let launches: Arc<dyn Launches> = match bug {
        Some(Bug::TokensLost) => Arc::new(Deaf(ports.launches.clone())),
        _ => ports.launches.clone(),
    };
    let queue = Arc::new(Overheard { inner: queue, ear: ear.clone() });
    let launches = Arc::new(Overheard { inner: launches, ear: ear.clone() });
    Ports { fleet, queue, launches, volumes, ..ports }
}
