//! State, in DynamoDB, concretely.
//!
//! **Invariant:** this is the only crate that contains a table's name, a key or an expression. There is no repository trait and no
//! in-memory twin: locally and in every test the SDK's HTTP connector is replaced by an embedded DynamoDB (`embedded`, a feature).
//!
//! The rules, for every table:
//! - the tenant begins every key of a row that a tenant owns, and a caller's tenant comes from its credential alone;
//! - every read-modify-write is conditional on what was read; a failed condition returns the old item, so it costs no second read;
//! - decisions read base tables, strongly; indexes serve lists and sweeps; nothing scans;
//! - a transaction carries a write id, so that a repetition after a lost answer finds its own work and says so.

pub mod capacity;
mod changes;
mod clusters;
pub mod credentials;
pub mod disks;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
pub mod identities;
mod items;
pub mod launches;
mod leaving;
pub mod limits;
#[cfg(feature = "embedded")]
pub mod mailbox;
pub mod memory;
mod metering;
pub mod models;
mod passage;
pub mod plane;
mod requests;
mod routes;
pub mod streams;
pub mod tables;
pub mod tenants;
mod transaction;
mod tries;
mod usage;
pub mod workloads;

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use cloud::{Clock, Ids};

pub use changes::Changes;
pub use error::StoreError;
pub use memory::Memory;
pub use plane::{Plane, Pool, Settings, WhichDisk, WorkError};
pub use requests::DueMark;
pub use tables::{Index, Table};

/// The tables, and what a store needs of the world: time to wait between retries, and randomness for write ids.
#[derive(Clone)]
pub struct Store {
    client: Client,
    prefix: Arc<str>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// `None` where others write to the tables as well.
    unchanged: Option<Arc<changes::Unchanged>>,
}

impl Store {
    /// A store over `client`, whose tables' names begin with `prefix`.
    #[must_use]
    pub fn new(client: Client, prefix: &str, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { client, prefix: prefix.into(), clock, ids, unchanged: None }
    }

    /// The same store, over a database that this process alone writes to: keys are not read again while nothing is written.
    #[must_use]
    pub fn with_changes(self, changes: Changes) -> Self {
        Self { unchanged: Some(Arc::new(changes::Unchanged::new(changes))), ..self }
    }

    fn name(&self, table: Table) -> String {
        format!("{}{}", self.prefix, table.name())
    }

    /// A fresh id for a transaction.
    fn write_id(&self) -> String {
        self.ids.random()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether the tables answer, for the health check.
    pub async fn healthy(&self) -> bool {
        self.get_row(Table::Capacity, ("health", "-")).await.is_ok()
    }
}
