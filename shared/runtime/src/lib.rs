//! What makes a function of our code on Lambda: HTTP surfaces, consumers of queues, steps of the launch, the clock's workers.
//!
//! A surface's `main` is one line, [`serve`]; a worker's names its handlers, [`Worker`]. `_HANDLER`, which Lambda sets from the function's
//! `Handler` property, picks the operation, so that every endpoint is a function of its own with its own role while a surface is
//! built and uploaded once.
//!
//! **Invariant:** this is the only crate that names the Lambda crates. It makes no network call before the first event.

mod config;
mod http;
mod logs;
mod metrics;
mod plane;
mod worker;

#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError};
pub use http::{serve, serve_with};
pub use logs::start as start_logs;
#[cfg(feature = "upstreams")]
pub use plane::model_servers;
#[cfg(feature = "providers")]
pub use plane::other_clouds;
pub use plane::{Outside, Setup, plane};
pub use worker::{Failure, Worker};

/// The variable in which Lambda says which function this is.
const HANDLER: &str = "_HANDLER";

/// A function could not start, or its runtime ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing here is called so.
    #[error("_HANDLER is {0}, and nothing in this program is called so: set the function's Handler to one of {1}")]
    UnknownHandler(String, String),
    /// What lies outside AWS's own services could not be set up.
    #[error("the function cannot be set up: {0}")]
    Outside(String),
    /// The runtime's own interface failed.
    #[error("the runtime ended: {0}")]
    Runtime(String),
}

/// Runs a function's `work` to its end, on one thread, which is what a Lambda has.
fn run(work: impl Future<Output = Result<(), StartError>>) -> std::process::ExitCode {
    logs::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(StartError::Runtime(error.to_string())),
    };
    match ended {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "function.not_started");
            std::process::ExitCode::FAILURE
        }
    }
}
