//! What the two copies of the agent say to each other: JSON lines over a Unix socket.
//!
//! The outer copy trusts nothing that comes from the sandbox beyond its meaning: lines are bounded, and no message can make it do
//! more than report.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    pin::pin,
};

use domain::{
    Secret, WorkloadId,
    agent::{JupyterState, LogLine, MainProcess, ModelServer, Notice, Serve, User},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::{AgentError, idle::Doing};

/// The longest line that is read: more than any honest message has.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Everything that the inner copy must know to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) workload: WorkloadId,
    pub(crate) host_key: Secret,
    pub(crate) listen: String,
    pub(crate) ssh_port: u16,
    /// The address that JupyterLab listens on.
    pub(crate) jupyter_listen: String,
    pub(crate) jupyter_port: u16,
    pub(crate) start: Start,
    pub(crate) image: String,
    pub(crate) gpus: Vec<u32>,
    pub(crate) gpus_simulated: bool,
    /// Where the job finds its disk, if it has one.
    pub(crate) disk: Option<PathBuf>,
    pub(crate) command: Option<Secret>,
    /// The model that is served in place of a command, and where on this node's address.
    pub(crate) model: Option<Model>,
    pub(crate) model_port: Option<u16>,
    /// The inner copy looks whether the GPUs are at work: the outer one cannot see them.
    pub(crate) watch_gpus: bool,
    pub(crate) env: BTreeMap<String, Secret>,
}

/// A model, and with what it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) serve: Serve,
    /// Its files are named as the job's processes see them.
    pub(crate) server: ModelServer,
}

/// What the environment of the job's processes starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub(crate) enum Start {
    /// Nothing but these: what a sandbox's inner copy finds in its own environment may be this machine's.
    Nothing { path: String, home: PathBuf },
    /// The inner copy's own environment: it is the container's first program, and so that is what the image sets.
    Image,
}

/// From the outer copy to the inner one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub(crate) enum ToInner {
    /// The first message, once.
    Setup(Box<Setup>),
    /// Everything that should be true from now on.
    Apply { version: u64, users: Vec<User>, jupyter: Option<Secret>, notices: Vec<Notice> },
    /// Ask everything to end.
    Stop,
    /// End everything.
    Kill,
}

/// From the inner copy to the outer one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub(crate) enum FromInner {
    /// The SSH server listens.
    Listening,
    /// This version of the desired state has been applied.
    Applied { version: u64 },
    /// The main process's state changed.
    Main { main: MainProcess },
    /// Something new of the model's server, in the order of its start.
    Model { news: ModelNews },
    /// The model's server cannot be had, or not any more, with why.
    ModelFailed { error: String },
    /// Whether something is going on changed.
    Doing { doing: Doing },
    /// JupyterLab's state changed.
    Jupyter { jupyter: JupyterState },
    /// A line of the main process's output.
    Log { line: LogLine },
    /// After a stop or a kill: nothing of the job runs any more.
    Ended,
    /// The inner copy cannot go on.
    Failed { error: String },
}

/// What happens to a model's server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub(crate) enum ModelNews {
    /// A fact for the timeline, and how far within the present phase that is, in percent.
    Note { text: String, percent: Option<u8> },
    /// It is about to be started, and loads.
    Loads,
    /// It answers, on loopback.
    Answers,
}

/// Reads one message; `None` at the end.
pub(crate) async fn read<T: DeserializeOwned>(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<T>, AgentError> {
    let mut line = Vec::new();
    let length = from.take(LONGEST).read_until(b'\n', &mut line).await.map_err(AgentError::system("the socket"))?;
    if length == 0 {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| AgentError::Link(error.to_string()))
}

/// Writes what comes in at `messages` until the senders are gone, the other copy is, or `closing` is over: then nothing more is taken,
/// and what was taken is written.
pub(crate) async fn write_all<T: Serialize>(
    mut to: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<T>,
    closing: impl Future<Output = ()>,
) {
    let mut closing = pin!(closing);
    let mut closed = false;
    loop {
        let message = tokio::select! {
            // Closing first: a writer that is held up by its reader would else take messages, and its senders go on, for ever.
            biased;
            () = &mut closing, if !closed => {
                closed = true;
                messages.close();
                continue;
            }
            message = messages.recv() => message,
        };
        let Some(message) = message else { return };
        let mut line = match serde_json::to_vec(&message) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "a message could not be written as JSON");
                continue;
            }
        };
        line.push(b'\n');
        if let Err(error) = to.write_all(&line).await {
            tracing::debug!(%error, "the other copy of the agent is gone");
            return;
        }
    }
}

/// A path for `socket` that is short enough for a socket's address (108 bytes) wherever the file is: through the open folder that
/// comes with it, which must be kept for as long as the path is used.
pub(crate) fn short_path(socket: &Path) -> io::Result<(File, PathBuf)> {
    let (Some(parent), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path of a socket"));
    };
    let folder = File::open(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((folder, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_survive_the_socket() {
        let (near, far) = tokio::io::duplex(64);
        let (send, messages) = mpsc::channel(4);
        let writer = tokio::spawn(write_all(near, messages, std::future::pending()));
        for version in [1, 2] {
            send.send(FromInner::Applied { version }).await.unwrap();
        }
        drop(send);
        let mut far = tokio::io::BufReader::new(far);
        assert_eq!(read(&mut far).await.unwrap(), Some(FromInner::Applied { version: 1 }));
        assert_eq!(read(&mut far).await.unwrap(), Some(FromInner::Applied { version: 2 }));
        assert_eq!(read::<FromInner>(&mut far).await.unwrap(), None);
        writer.await.unwrap();
        assert!(read::<FromInner>(&mut &b"{\"say\":\"nonsense\"}\n"[..]).await.is_err());
    }

    #[tokio::test]
    async fn what_was_taken_before_closing_is_written() {
        // Far too small for what is said, and read only after the close.
        let (near, far) = tokio::io::duplex(4);
        let (send, messages) = mpsc::channel(8);
        for version in 0..8 {
            send.try_send(FromInner::Applied { version }).unwrap();
        }
        let writer = tokio::spawn(write_all(near, messages, std::future::ready(())));
        send.closed().await;
        let mut far = tokio::io::BufReader::new(far);
        for version in 0..8 {
            assert_eq!(read(&mut far).await.unwrap(), Some(FromInner::Applied { version }));
        }
        assert_eq!(read::<FromInner>(&mut far).await.unwrap(), None, "though a sender is still there");
        writer.await.unwrap();
    }
}
