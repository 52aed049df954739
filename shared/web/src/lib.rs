//! What every HTTP surface has in common: who is calling, what a body may be, how refusals look in each dialect, idempotency, the API
//! document, and the outermost layers.
//!
//! A handler takes what it needs as extractors: [`Member`] says who may call, [`Command`] is a checked body with its idempotency key,
//! [`Id`] is a path's id. Everything that can be refused before the handler runs is refused there.

pub mod act;
pub mod admin;
pub mod body;
pub mod caller;
pub mod dialect;
pub mod disk;
pub mod error;
pub mod id;
pub mod launch_log;
pub mod limits;
pub mod nodes;
pub mod openapi;
pub mod query;
pub mod serve;
pub mod service;
pub mod stream;
pub mod surface;
pub mod tenant;
pub mod usage;

pub use act::act;
pub use admin::Admin;
pub use body::{Command, Input, Nothing};
pub use caller::{AgentCaller, Member, Principal};
pub use error::{Error, Problem};
pub use id::{Id, Identified, OfWorkload};
pub use limits::LimitsBody;
pub use openapi::{DetailRefusals, Document, TypedRefusals};
pub use query::Checked;
pub use service::Service;
pub use store::Plane;
pub use surface::Surface;
pub use tenant::{Any, Asker, Pro, Tenant};
