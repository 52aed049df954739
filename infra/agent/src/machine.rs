//! A machine that was bought for one job: it stays when the agent has enrolled, and goes when the job has ended.
//!
//! At its first boot it planned to power itself off (`shared/aws-ec2/src/node/limits.sh`), for the case that no agent ever comes.

use std::{fs, path::PathBuf, process::Stdio};

use crate::{AgentError, orphans};

/// The program that plans, takes back and does it.
const SHUTDOWN: &str = "shutdown";

/// The machine, if it is one that goes with its job.
#[derive(Debug)]
pub(crate) struct Machine {
    etc: PathBuf,
}

impl Machine {
    /// This machine, with `etc` as the folder that its boot file is in.
    pub(crate) fn new(etc: PathBuf) -> Self {
        Self { etc }
    }

    /// It serves somebody now: its planned end is taken back, also for its next boot.
    ///
    /// # Errors
    /// When that fails: the job would be ended in the middle of its time.
    pub(crate) async fn enrolled(&self) -> Result<(), AgentError> {
        let mark = self.etc.join("enrolled");
        fs::write(&mark, "").map_err(AgentError::file("making", &mark))?;
        shutdown(&["-c"]).await
    }

    /// Ends it, and with it what it costs.
    ///
    /// # Errors
    /// When that fails; its own timer ends it later.
    pub(crate) async fn power_off(&self) -> Result<(), AgentError> {
        tracing::info!("this machine is powered off");
        shutdown(&["-P", "now"]).await
    }
}

async fn shutdown(words: &[&str]) -> Result<(), AgentError> {
    let failed = |why: String| AgentError::Machine(format!("{SHUTDOWN} {}: {why}", words.join(" ")));
    let mut command = tokio::process::Command::new(SHUTDOWN);
    let mut child = command
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    orphans::awaited(child.id());
    let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}
