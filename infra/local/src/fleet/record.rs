//! What is written down about each attempt, before anything is done about it.
//!
//! A file per attempt, replaced as a whole. What it says is enough to answer for the attempt in every later life: that it was made and
//! where, that it was told to end, so that a late order makes nothing, and when the last of it stopped.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use cloud::{Attempt, Order, Provisioned, Sighting, Tagged};
use domain::{InstanceId, NodeId, PoolId, TenantId, Timestamp, WorkloadId, message::Message, workload::Address};
use serde::{Deserialize, Serialize};

use crate::{StartError, data};

/// What has ended is answered for as long as this; after that nobody asks any more.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// An attempt: the workload and the attempt's number.
pub(super) type Key = (WorkloadId, u32);

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) tenant: TenantId,
    pub(super) workload: WorkloadId,
    pub(super) attempt: u32,
    pub(super) pool: PoolId,
    /// What was made, or was about to be; none for one that was told to end before it was ordered.
    pub(super) made: Option<Made>,
    /// A late order must make nothing.
    pub(super) told_to_end: bool,
    /// Nothing of it runs, and nothing will.
    pub(super) ended: Option<Ended>,
    /// When this was written.
    pub(super) written_at: Timestamp,
}

/// What an order was answered with, and what it asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    pub(super) node: NodeId,
    pub(super) image: String,
    pub(super) gpus: Vec<u32>,
    pub(super) address: Address,
    /// The agent's process, once there is one. It is for people to read: processes are found by their mark.
    pub(super) process: Option<u32>,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ended {
    /// When the last of it stopped, where that is known.
    pub(super) at: Option<Timestamp>,
}

impl Record {
    /// An attempt of which nothing was made, and nothing will be.
    pub(super) fn tombstone(attempt: &Attempt, now: Timestamp) -> Self {
        let ended = Some(Ended { at: None });
        let Attempt { tenant, workload, number, pool } = attempt.clone();
        Self { tenant, workload, attempt: number, pool, made: None, told_to_end: true, ended, written_at: now }
    }

    /// An order that is about to be carried out.
    pub(super) fn ordered(order: &Order, gpus: Vec<u32>, address: Address, now: Timestamp) -> Self {
        let made = Made { node: order.node.clone(), image: order.image.clone(), gpus, address, process: None };
        let Order { tenant, workload, attempt, pool, .. } = order.clone();
        Self { tenant, workload, attempt, pool, made: Some(made), told_to_end: false, ended: None, written_at: now }
    }

    pub(super) fn key(&self) -> Key {
        (self.workload, self.attempt)
    }

    /// What the fleet calls it.
    pub(super) fn instance(&self) -> InstanceId {
        InstanceId::new(format!("local-{}-{}", self.workload.short(), self.attempt))
    }

    /// What was made and has not ended.
    pub(super) fn live(&self) -> Option<&Made> {
        self.made.as_ref().filter(|_| self.ended.is_none())
    }

    /// It ended so long ago that nobody asks about it any more.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        self.ended.is_some() && self.written_at.plus(KEEP) <= now
    }

    pub(super) fn sighting(&self) -> Sighting {
        self.ended.as_ref().map_or(Sighting::Running, |ended| Sighting::Gone { stopped_at: ended.at })
    }

    pub(super) fn tagged(&self) -> Tagged {
        let Self { tenant, workload, attempt: number, pool, .. } = self.clone();
        Tagged { instance: self.instance(), attempt: Attempt { tenant, workload, number, pool } }
    }

    /// The message that tells the launcher to look at it.
    pub(super) fn reconcile(&self) -> Message {
        Message::Reconcile { tenant: self.tenant.clone(), workload: self.workload }
    }

    pub(super) fn provisioned(&self, made: &Made) -> Provisioned {
        Provisioned { instance: self.instance(), address: made.address.clone() }
    }
}

impl Made {
    /// Whether an order is the one that this was made for.
    pub(super) fn is_for(&self, order: &Order) -> bool {
        let same =
            self.node == order.node && self.image == order.image && self.address.model_port.is_some() == order.serves;
        same && u32::try_from(self.gpus.len()) == Ok(order.gpus)
    }
}

/// Where records are, and the folders of the attempts.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) attempts: PathBuf,
    pub(super) pods: PathBuf,
}

fn name((workload, attempt): Key) -> String {
    format!("{workload}-{attempt}")
}

impl Files {
    /// The folder that an attempt's agent uses.
    pub(super) fn work_dir(&self, key: Key) -> PathBuf {
        self.pods.join(name(key))
    }

    fn path(&self, key: Key) -> PathBuf {
        self.attempts.join(format!("{}.json", name(key)))
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        data::write_whole(&self.path(record.key()), &serde_json::to_vec_pretty(record)?)
    }

    /// Every record, without those that nobody will ask for any more, which are removed.
    pub(super) fn read(&self, now: Timestamp) -> Result<Vec<Record>, StartError> {
        for folder in [&self.attempts, &self.pods] {
            data::make_dir(folder).map_err(StartError::file("making", folder))?;
        }
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.attempts).map_err(StartError::file("reading", &self.attempts))? {
            let path = entry.map_err(StartError::file("reading", &self.attempts))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = fs::read(&path).map_err(StartError::file("reading", &path))?;
            let damaged =
                |error: serde_json::Error| StartError::Damaged { path: path.clone(), problem: error.to_string() };
            let record: Record = serde_json::from_slice(&text).map_err(damaged)?;
            if record.is_old(now) {
                self.forget(&record).map_err(StartError::file("removing", &path))?;
            } else {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Removes a record, and the attempt's folder with it.
    pub(super) fn forget(&self, record: &Record) -> io::Result<()> {
        let folder = self.work_dir(record.key());
        if folder.exists() {
            remove(&folder)?;
        }
        match fs::remove_file(self.path(record.key())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes what a job left in its attempt's folder; the agent's own log stays for whoever has to find out what happened.
    pub(super) fn tidy(&self, key: Key) {
        if let Err(error) = self.wipe(key) {
            tracing::warn!(workload = %key.0, %error, "fleet.folder_not_emptied");
        }
    }

    fn wipe(&self, key: Key) -> io::Result<()> {
        let folder = self.work_dir(key);
        if !folder.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name != LOG) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// The agent's own log, in its folder.
pub(super) const LOG: &str = "agent.log";

/// Removes a file or folder, also where its owner has taken away the right to.
fn remove(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    if let Err(error) = fs::remove_dir_all(path) {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        return fs::remove_dir_all(path);
    }
    Ok(())
}
