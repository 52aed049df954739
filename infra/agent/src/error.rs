//! Why an agent ends other than as it was told.

use std::{io, path::PathBuf};

/// Why an agent ends other than as it was told.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// What the agent was started with is not a `Boot`.
    #[error("the orders are not readable: {0}")]
    Boot(#[source] serde_json::Error),
    /// A file or folder of ours cannot be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Something else of the operating system's failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The SSH host key can not be read or made.
    #[error("the SSH host key: {0}")]
    HostKey(String),
    /// The HTTP client can not be made.
    #[error("the HTTP client: {0}")]
    Http(#[source] reqwest::Error),
    /// The control plane does not want this agent.
    #[error("the control plane refused the agent with status {status}")]
    Refused {
        /// Its HTTP status.
        status: u16,
    },
    /// The control plane could not be reached in time.
    #[error("the control plane could not be reached: {last}")]
    Unreachable {
        /// What the last attempt met.
        last: String,
    },
    /// The sandbox that was asked for cannot be had.
    #[error("the sandbox cannot be made: {0}")]
    Sandbox(String),
    /// The sandbox ended before it was told to.
    #[error("the sandbox ended by itself: {0}")]
    SandboxDied(String),
    /// No container engine can be used on this machine.
    #[error("there is no container engine to be used: {0}")]
    Engine(String),
    /// The job's image cannot be had, in the container engine's words.
    #[error("the image cannot be pulled: {0}")]
    Image(String),
    /// The machine did not do what it must be able to do for a job to run on it.
    #[error("the machine: {0}")]
    Machine(String),
    /// The job's disk cannot be had as it should be.
    #[error("its disk: {0}")]
    Disk(String),
    /// The model cannot be served.
    #[error("the model's server: {0}")]
    Model(String),
    /// The other copy of the agent said something that is no message.
    #[error("the socket between the two copies of the agent: {0}")]
    Link(String),
}

impl AgentError {
    /// Says what was tried with `path` when the operating system refused.
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    /// Says what was tried when the operating system refused.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
