//! The agent: the one program of ours on a node.
//!
//! It runs twice. The *outer* copy ([`outer`]) runs on the host: it holds the session with the control plane, makes the sandbox,
//! and ends everything when time is up. The *inner* copy ([`inner`]) runs in the sandbox beside the user's code: it serves SSH,
//! runs the main process and JupyterLab, and talks to the outer over a Unix socket.
//!
//! **Invariants.**
//! - The inner copy never has the session secret: user code may become root beside it.
//! - User code is data: every process is started from an argument array and an environment map.
//! - A job with an end is ended by this node's own timer, whether or not anybody can be reached; an outage neither extends nor
//!   ends it. A job without an end that hears nothing for an hour ends itself.
//! - When the outer is killed, nothing of the job stays: bubblewrap ends the sandbox with its parent, and without bubblewrap the
//!   inner copy ends the processes when its socket closes.
//! - Every process that we start for a job carries `SLIPWAY_WORKLOAD=<id>`, by which [`end_leftovers`] finds what a killed fleet
//!   left behind. One that has thrown that away is still a child of one copy or the other, which adopt what is orphaned, and is
//!   ended by them. Without bubblewrap such a process is missed when both copies are killed at once.

mod boot;
mod deadlines;
mod environment;
mod error;
mod gpu;
mod inner;
mod jupyter;
mod link;
mod logs;
mod main_process;
mod node;
mod orphans;
mod outer;
mod plane;
mod processes;
mod sandbox;
mod spawn;
mod ssh;
mod sync;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use domain::agent::Boot;

pub use self::{
    error::AgentError,
    gpu::{GpuSeen, gpus},
    processes::{Leftovers, WORKLOAD_MARK, end_leftovers},
};

const USAGE: &str = "usage: slipway agent outer < boot.json\n       slipway agent inner --socket PATH";

/// Runs the copy that the arguments (those after `agent`) name, to its end: 0 when the job ended as it should.
///
/// Whoever starts `outer` writes a [`Boot`] as one line of JSON to its standard input, and sets [`WORKLOAD_MARK`] to the
/// workload's id in its environment so that it can be found again.
pub async fn run(args: impl Iterator<Item = String>) -> ExitCode {
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        ["outer"] => match boot::read().await {
            Ok(boot) => Box::pin(outer(boot)).await,
            Err(error) => Err(error),
        },
        ["inner", "--socket", socket] => Box::pin(inner(&PathBuf::from(socket))).await,
        ["--help" | "-h"] => {
            tracing::info!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            tracing::error!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the agent ended");
            ExitCode::FAILURE
        }
    }
}

/// The copy on the host: enrols, makes the sandbox, serves the desired state until the job ends, and says so.
///
/// # Errors
/// When the control plane refuses the agent, the sandbox cannot be made, or it dies before it was told to.
pub async fn outer(boot: Boot) -> Result<(), AgentError> {
    Box::pin(outer::run(boot)).await
}

/// The copy in the sandbox: serves what the outer copy at the other end of `socket` asks for, until that closes.
///
/// # Errors
/// When the socket cannot be used, or the first message on it is not the one that starts a job.
pub async fn inner(socket: &Path) -> Result<(), AgentError> {
    Box::pin(inner::run(socket)).await
}
