//! The simulated cloud: every port as one deterministic state machine with virtual time and faults.
//!
//! A [`World`] stands for everything outside the tables. The real handlers run over its [`World::ports`] on an [`Executor`], which
//! chooses by the seed who goes on next; the same seed gives the same run, call by call. Every call is a *fault point*: other tasks
//! may run there, and a [`FaultPlan`] says what goes wrong.
//!
//! ```
//! use std::time::Duration;
//!
//! use cloud::sim::{Executor, Fault, FaultPlan, World};
//! use domain::{PoolId, message::{Message, QueueName}};
//!
//! # fn main() -> Result<(), cloud::sim::Livelock> {
//! let world = World::new(7);
//! world.follow(FaultPlan::Nth { n: 1, fault: Fault::TimeoutAfter });
//! let ports = world.ports();
//! let mut executor = Executor::new(&world);
//! let sending = executor.spawn("send", async move {
//!     ports.clock.sleep(Duration::from_secs(5)).await;
//!     ports.queue.send(&Message::Doorbell { pool: PoolId::new("local/h100") }).await
//! });
//! executor.advance(world.now().plus(Duration::from_secs(60)))?;
//!
//! // The sender was told that nobody answered, and yet the message is there.
//! assert!(matches!(executor.take::<Result<(), cloud::PortError>>(sending), Some(Err(_))));
//! assert_eq!(world.messages(QueueName::Doorbells).len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! What is simulated, and how harshly, is in [`Settings`]. What a checker reads is the ground truth: [`World::instances`],
//! [`World::intervals`], [`World::gpus_claimed`], [`World::messages`], [`World::dead_letters`], [`World::launches`], [`World::volumes`],
//! [`World::snapshots`], [`World::log`].

mod executor;
mod faults;
mod fleet;
mod launches;
mod lookups;
mod queues;
mod rng;
mod time;
mod upstreams;
mod volumes;
mod world;

pub use executor::{Executor, Livelock, Outcome};
pub use faults::{Failure, Fault, FaultPlan, FaultPoint, Verdict};
pub use fleet::{Instance, Interval, Life};
pub use launches::{Completion, Started};
pub use queues::{Delivery, Queued};
pub use rng::Rng;
pub use upstreams::Script;
pub use volumes::{Fixed, Snapshot, Volume};
pub use world::{Call, Settings, TaskId, World};

#[cfg(test)]
mod tests;
