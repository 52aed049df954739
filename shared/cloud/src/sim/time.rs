//! Virtual time: it stands still until a test moves it.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use domain::Timestamp;

use super::{
    rng::Rng,
    world::{Port, State, World},
};
use crate::Clock;

/// Where time flies, so many turns are given to the others before it does.
const GOES_FIRST: u32 = 16;

/// Who waits for which instant; the number tells apart those that wait for the same one.
#[derive(Default)]
pub(super) struct Timers {
    waiting: BTreeMap<(Timestamp, u64), Waker>,
    numbered: u64,
}

/// Lets every other task go first, once.
pub(super) fn yield_now() -> impl Future<Output = ()> + Send {
    let mut yielded = false;
    poll_fn(move |context| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Waits for an instant; forgets itself when it is dropped, so that nobody takes a dead sleeper's deadline for the next event.
struct Sleep {
    world: World,
    until: Timestamp,
    number: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.state();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        let replaced = state.timers.waiting.insert((self.until, self.number), context.waker().clone());
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // A waker is somebody else's code, so it is dropped after the lock.
        let forgotten = self.world.state().timers.waiting.remove(&(self.until, self.number));
        drop(forgotten);
    }
}

#[async_trait]
impl Clock for Port {
    fn now(&self) -> Timestamp {
        let state = self.0.state();
        let Some(task) = state.current.filter(|_| !state.settings.skew.is_zero()) else { return state.now };
        let skew = state.settings.skew;
        let mut rng = Rng::stream(self.0.seed() ^ task.0, "skew");
        state.now.minus(skew).plus(rng.within(&(Duration::ZERO..=skew.saturating_mul(2))))
    }

    async fn sleep(&self, pause: Duration) {
        let flies = {
            let state = self.0.state();
            state.settings.time_flies && state.current.is_none()
        };
        if flies {
            // Whoever races against time is to win where it does not wait itself.
            for _ in 0..GOES_FIRST {
                yield_now().await;
            }
        }
        let sleep = {
            let mut state = self.0.state();
            if state.settings.time_flies && state.current.is_none() {
                let awake_at = state.now.plus(pause);
                drop(state);
                self.0.move_to(awake_at);
                return;
            }
            state.timers.numbered += 1;
            Sleep { world: self.0.clone(), until: state.now.plus(pause), number: state.timers.numbered }
        };
        sleep.await;
    }
}

impl World {
    /// The true time, which no task's clock may show if [`super::Settings::skew`] is set.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.state().now
    }

    /// When the first of the sleeping tasks wants to wake.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.state().timers.waiting.keys().next().map(|(at, _)| *at)
    }

    /// Moves the time to `to`, never back, and lets happen what was to happen until then. Sleepers can go on, but nobody is polled:
    /// that is what [`super::Executor::advance`] does.
    pub fn move_to(&self, to: Timestamp) {
        let awake = {
            let mut state = self.state();
            state.now = state.now.max(to);
            let State { settings, now, queues, fleet, shelf, timers, .. } = &mut *state;
            fleet.arrive(*now, settings);
            shelf.arrive(*now, fleet, settings);
            queues.arrive(*now);
            let later = timers.waiting.split_off(&(*now, u64::MAX));
            mem::replace(&mut timers.waiting, later)
        };
        // For the same reason they are woken outside the lock.
        awake.into_values().for_each(Waker::wake);
    }
}
