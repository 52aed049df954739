//! The ports: what the control plane asks of the world, in the domain's words.
//!
//! Every effect outside the tables goes through one of these traits. The `aws-*` crates implement them over AWS, `infra/local`
//! over one machine, and `sim` (a feature) as one deterministic state machine with virtual time and faults.

pub mod absent;
pub mod clock;
pub mod fleet;
pub mod fleets;
#[cfg(feature = "github")]
pub mod github;
pub mod identity;
pub mod ids;
pub mod launches;
pub mod people;
pub mod pool_volumes;
pub mod presigned;
pub mod providers;
pub mod queue;
pub mod secrets;
#[cfg(feature = "sim")]
pub mod sim;
pub mod upstreams;
pub mod vault;
pub mod volumes;

use std::sync::Arc;

pub use absent::Absent;
pub use clock::{Clock, SystemClock};
pub use fleet::{Attempt, Fleet, FleetError, Nowhere, Order, Provisioned, Sighting, Tagged};
pub use fleets::Fleets;
#[cfg(feature = "github")]
pub use github::GithubKeys;
pub use identity::{AwsCredentials, Identity, IdentityError};
pub use ids::{Ids, OsIds};
pub use launches::{Launches, TaskToken};
pub use people::{People, PeopleError};
pub use pool_volumes::PoolVolumes;
pub use presigned::{LoginRules, NotPresigned, Presigned, Rejected};
pub use providers::Providers;
#[cfg(feature = "providers")]
pub use providers::{HttpProviders, ProviderUrls};
pub use queue::Queue;
pub use secrets::{FixedSecrets, InstallationSecrets, Secrets};
#[cfg(feature = "upstreams")]
pub use upstreams::HttpUpstreams;
pub use upstreams::{Answer, Question, Upstream, UpstreamError, Upstreams};
pub use vault::{KeyVault, SealContext, Vault, VaultError};
pub use volumes::{
    Attacher, Attachment, DiskRef, SnapshotOrder, SnapshotState, TaggedSnapshot, TaggedVolume, VolumeError,
    VolumeOrder, Volumes,
};

/// Every port together, as a plane is given them.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Identifiers and secrets.
    pub ids: Arc<dyn Ids>,
    /// Messages to workers.
    pub queue: Arc<dyn Queue>,
    /// The launch state machine.
    pub launches: Arc<dyn Launches>,
    /// Machines, pods or processes.
    pub fleet: Arc<dyn Fleet>,
    /// What disks are made of.
    pub volumes: Arc<dyn Volumes>,
    /// Who AWS credentials belong to.
    pub identity: Arc<dyn Identity>,
    /// Sealing what is secret at rest.
    pub vault: Arc<dyn Vault>,
    /// People's public keys.
    pub people: Arc<dyn People>,
    /// The clouds that tenants store keys for.
    pub providers: Arc<dyn Providers>,
    /// The model servers on the nodes.
    pub upstreams: Arc<dyn Upstreams>,
}

/// The world did not do what it was asked, and may do so later. Whether anything happened is not known: every call can be repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Asked too often.
    #[error("throttled")]
    Throttled,
    /// No answer, or one that says to come again.
    #[error("unavailable: {0}")]
    Unavailable(String),
}
