//! What things are and what may happen to them.
//!
//! Everything here is a pure function of its arguments. **Invariant:** this crate names no async runtime, no AWS crate, no HTTP
//! crate, no clock and no random source; `tests` reads `cargo metadata` and the sources to hold it. Time and randomness come in
//! as arguments, decisions go out as values, and a rule that says no returns a [`Refusal`].

pub mod agent;
pub mod api_key;
pub mod credential;
pub mod disk;
pub mod gpu;
pub mod identity;
pub mod ids;
pub mod job;
pub mod launch_log;
pub mod lifecycle;
pub mod limits;
pub mod message;
pub mod metering;
pub mod model;
pub mod names;
pub mod offer;
pub mod placement;
pub mod policy;
pub mod price;
pub mod refusal;
pub mod routing;
pub mod secret;
pub mod ssh;
pub mod tenant;
pub mod time;
pub mod timeline;
pub mod usage;
pub mod workload;

pub use credential::{Credential, CredentialId};
pub use disk::Disk;
pub use ids::{
    DiskId, InstanceId, KeyId, MessageId, NodeId, OperationId, PoolId, SnapshotId, TenantId, UserName, VolumeId,
    WorkloadId,
};
pub use refusal::Refusal;
pub use secret::{Secret, SecretHash};
pub use time::Timestamp;
pub use workload::Workload;
