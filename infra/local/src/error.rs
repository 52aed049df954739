//! Why the plane does not start.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{
    machine::Unsupported,
    settings::{BadSetting, NoGpus},
};

/// Why the plane does not start. Each says what can be done about it, where something can.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A variable has a value that cannot be used.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// This machine's own GPUs are wanted, and there are none.
    #[error(transparent)]
    NoGpus(#[from] NoGpus),
    /// Another process uses the data directory.
    #[error(
        "another slipway (process {owner}) uses {}: stop it, or choose another folder with SLIPWAY_DATA_DIR", path.display()
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The other process, as it wrote it down.
        owner: String,
    },
    /// The key of what is sealed is lost.
    #[error(
        "{} is missing although there is a database: put it back, or remove the data folder to begin anew", path.display()
    )]
    KeyLost {
        /// The key file.
        path: PathBuf,
    },
    /// What is kept was sealed with another key than this start has.
    #[error("{}: {problem} SKYPILOT_CREDENTIAL_ENCRYPTION_KEY, or remove the data folder to begin anew", path.display())]
    OtherKey {
        /// The file that tells.
        path: PathBuf,
        /// What to do with the variable.
        problem: String,
    },
    /// A file that we keep was changed.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file or folder cannot be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The port is taken, or the address is not this machine's.
    #[error("cannot listen on {address} ({source}): choose another port with PORT")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused something else.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database file cannot be opened.
    #[error(transparent)]
    Database(#[from] store::embedded::OpenError),
    /// The tables fail.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// What an earlier life left could not be passed on.
    #[error(transparent)]
    Port(#[from] cloud::PortError),
    /// The HTTP client cannot be made.
    #[error("the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// The launch document cannot be run.
    #[error("infra/launch.asl.json: {0}")]
    Document(#[from] Unsupported),
    /// The launch document calls handlers that there are not, or leaves some out.
    #[error("infra/launch.asl.json calls {called:?}, and the launcher has {known:?}")]
    Handlers {
        /// What the document calls.
        called: Vec<String>,
        /// What there is.
        known: Vec<String>,
    },
}

impl StartError {
    /// Says what was tried with `path` when the operating system refused.
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
