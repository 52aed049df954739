//! slipway

mod data;
mod error;
mod fleet;
mod identity;
mod launches;
pub mod machine;
mod people;
mod queue;
pub mod settings;

pub use error::StartError;
