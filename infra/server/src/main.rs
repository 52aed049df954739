//! Every surface in one long-running process over the same AWS services, for those who outgrow a function a request: for ECS or EKS.
//!
//! It takes the settings of the functions, from the same environment variables, and credentials from wherever the SDK's default chain
//! finds them (a task's role, a pod's identity). What is called by queues, clocks and launches stays with the functions.
//!
//! **Invariants.**
//! - The API's port answers only what came in by the edge, as the functions do; probes have a port of their own.
//! - When it is told to stop it is no longer ready, takes no new connections, and gives the answers that are under way.

mod probes;
mod server;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use aws_core::{Chain, NoCredentials};
use cloud::{HttpUpstreams, SystemClock};
use runtime::{Config, Outside, StartError};
use server::{Ports, Server};

/// It does not start, or it stops by itself.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There are no credentials to be had.
    #[error(transparent)]
    Credentials(#[from] NoCredentials),
    /// A port cannot be had.
    #[error("{0} cannot be listened on ({1}): set PORT or PROBES_PORT")]
    Listen(SocketAddr, std::io::Error),
    /// The system said no.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    runtime::start_logs();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "server.stopped");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), ServerError> {
    let variable = |name: &str| std::env::var(name).ok();
    let ports = Ports::read(variable)?;
    let chain = Chain::find().await?;
    let config = Config::read(|name| chain.variable(name).or_else(|| variable(name))).map_err(StartError::from)?;
    let sdk = chain.sdk(config.aws.clone(), Arc::new(SystemClock));
    let clouds = runtime::other_clouds(config.clone(), sdk.clone()).await?;
    let outside = Outside { upstreams: Arc::new(HttpUpstreams::new()), ..clouds };
    let plane = runtime::plane(&config, &sdk, outside);
    Server::bind(plane, config.cors_origins, ports).await?.run(server::told_to_stop()?).await
}
