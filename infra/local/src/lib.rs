//! The whole plane on one machine, in one process.
//!
//! It is the same code as on AWS: the same routers over the same tables, the same workers behind the same queues, the same launch
//! document. Only the ports differ: the queues and the launches are kept in the tables of an embedded DynamoDB, the fleet runs
//! processes of this machine under the real agent, and the identity service believes whoever can reach loopback.
//!
//! **Invariants.**
//! - Whatever was acknowledged is in the data directory: `kill -9` at any moment loses nothing, and the next start goes on with it.
//! - One process at a time uses a data directory.
//! - Nothing of an attempt runs that is not written down in the data directory, so that the next start can end it.
//! - No credential that an AWS account would accept is asked for, and the identity service is closed to other machines.

mod cli;
mod data;
mod error;
mod fleet;
mod identity;
mod launches;
pub mod machine;
mod nodes;
mod queue;
mod run;
pub mod settings;
mod volumes;
mod work;

pub use cli::main;
pub use error::StartError;
pub use run::{Local, surfaces};
pub use settings::Settings;
