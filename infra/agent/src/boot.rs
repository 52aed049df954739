//! What the outer copy needs before it can begin: its orders and the SSH host key.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
};

use domain::{Secret, agent::Boot};
use russh::keys::{Algorithm, PrivateKey, key::safe_rng, ssh_key::LineEnding};
use tokio::sync::oneshot;

use crate::AgentError;

/// Reads the one line that the fleet writes to standard input; what follows, and its end, mean nothing.
pub(crate) async fn read() -> Result<Boot, AgentError> {
    // A thread of its own, because a blocking read in the runtime's pool would hold up the program's end.
    let (done, line) = oneshot::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line).map(|_length| line);
        if done.send(read).is_err() {
            tracing::debug!("nobody waits for the start line any more");
        }
    });
    let line = line.await.map_err(|_lost| AgentError::Link("the reader of standard input is gone".into()))?;
    let line = line.map_err(AgentError::system("reading the start line"))?;
    serde_json::from_str(&line).map_err(AgentError::Boot)
}

/// Reads the orders from a file.
pub(crate) fn read_file(path: &Path) -> Result<Boot, AgentError> {
    let text = fs::read_to_string(path).map_err(AgentError::file("reading", path))?;
    serde_json::from_str(&text).map_err(AgentError::Boot)
}

/// The SSH host key in OpenSSH's format, made first if the file is missing.
///
/// One key is kept for all jobs of a fleet: a port that is used again with another key frightens SSH clients.
pub(crate) fn host_key(path: &Path) -> Result<Secret, AgentError> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(Secret::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(AgentError::file("reading", path)(error)),
    }
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)
        .and_then(|key| key.to_openssh(LineEnding::LF))
        .map_err(|error| AgentError::HostKey(error.to_string()))?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(AgentError::file("making", parent))?;
    }
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(AgentError::file("making", &fresh))?;
    let written = file.write_all(key.as_bytes()).and_then(|()| file.sync_all());
    // A link never replaces: of two agents that start at once, the second one's link is refused and it reads the first one's key.
    let linked = written.and_then(|()| match fs::hard_link(&fresh, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&fresh).map_err(AgentError::file("removing", &fresh))?;
    linked.map_err(AgentError::file("writing", path))?;
    fs::read_to_string(path).map(Secret::new).map_err(AgentError::file("reading", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_host_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/host_key");
        let first = host_key(&path).unwrap();
        assert_eq!(host_key(&path).unwrap(), first);
        assert!(PrivateKey::from_openssh(first.reveal()).is_ok());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
    }
}
