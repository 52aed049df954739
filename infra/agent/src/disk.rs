//! The job's disk on its node: brought to its place, held still for a snapshot, listed, and let go at the end.
//!
//! Where it is a folder already, of this machine or of the pod's, that is its place. A block device is mounted here, which is what root on
//! a machine that was bought for the job may do.

mod contents;
mod device;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use cloud::Clock;
use domain::agent::{Contents, Device, FREEZE, LARGEST_PART, Mount, Room};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};

use self::device::Mounted;
pub(crate) use self::device::Tools;
use crate::{
    AgentError,
    plane::{Backoff, CallError, Plane},
    sync::Seen,
};

/// Where the job finds its disk, wherever we can choose.
pub(crate) const PLACE: &str = "/disk";

/// How long listing a disk and sending the list may take, together: a snapshot waits for that (`domain::policy::FREEZE_WITHIN`), and so does
/// the end of the job.
const LISTED_WITHIN: Duration = Duration::from_secs(40);
/// How long writing everything out may take.
const SYNCED_WITHIN: Duration = Duration::from_secs(120);

/// What is needed to say something about a disk.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) plane: Arc<Plane>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seen: Arc<watch::Sender<Seen>>,
}

/// The job's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    /// What we mounted there, if it was us.
    mounted: Option<Mounted>,
    /// What the control plane wants of it: the freeze, and the number of the snapshot that comes next.
    wanted: watch::Sender<(Option<u64>, u64)>,
}

impl Disk {
    /// Brings a disk to its place, in the job's folder on a bought machine.
    ///
    /// # Errors
    /// When it cannot be had as it should be. A disk that was written to before is never made anew.
    pub(crate) async fn there(mount: &Mount, room: Room, work_dir: &Path, tools: Tools) -> Result<Self, AgentError> {
        let (path, mounted) = match (&mount.device, room) {
            (Device::Folder(path), _) => (PathBuf::from(path), None),
            (Device::Serial(serial), Room::Container) => {
                let place = work_dir.join("disk");
                let mounted = Mounted::at(&place, serial, mount.blank, tools).await?;
                (place, Some(mounted))
            }
            (Device::Serial(_), Room::Sandbox | Room::Pod) => {
                return Err(AgentError::Disk("a device can be mounted on a machine of its own alone".to_owned()));
            }
        };
        // In a pod it is the other container's; ours may do without.
        if room != Room::Pod && !fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            return Err(AgentError::Disk(format!("there is no folder {}", path.display())));
        }
        Ok(Self { path, mounted, wanted: watch::Sender::new((None, mount.next)) })
    }

    /// The folder with its files, out here.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the job's owner should know about it.
    pub(crate) fn note(&self) -> Option<&str> {
        self.mounted.as_ref()?.note.as_deref()
    }

    /// Takes what the control plane wants of it.
    pub(crate) fn want(&self, mount: &Mount) {
        self.wanted.send_if_modified(|now| {
            let wanted = (mount.freeze, mount.next);
            std::mem::replace(now, wanted) != wanted
        });
    }

    /// Holds the file system still whenever that is wanted, until it is aborted.
    pub(crate) fn kept(self: &Arc<Self>, means: Means) -> JoinHandle<()> {
        let (disk, mut wanted) = (Arc::clone(self), self.wanted.subscribe());
        tokio::spawn(async move {
            let mut done = None;
            loop {
                let (freeze, next) = *wanted.borrow_and_update();
                match freeze {
                    Some(number) if done != Some(number) => {
                        disk.told(next, &means).await;
                        disk.held(number, &mut wanted, &means).await;
                        done = Some(number);
                    }
                    Some(_) | None => {
                        if wanted.changed().await.is_err() {
                            return;
                        }
                    }
                }
            }
        })
    }

    /// Holds the file system still until that is not wanted any more, or for as long as it may be held.
    async fn held(&self, number: u64, wanted: &mut watch::Receiver<(Option<u64>, u64)>, means: &Means) {
        if wanted.borrow().0 != Some(number) {
            return;
        }
        self.synced().await;
        // It runs before anything is held.
        let limit = means.clock.sleep(Duration::from_secs(FREEZE));
        let held = async {
            if let Some(mounted) = &self.mounted
                && let Err(error) = mounted.freeze().await
            {
                tracing::warn!(%error, "the disk is not held still: its snapshot is as after a power cut");
                return;
            }
            means.seen.send_modify(|seen| seen.frozen = Some(number));
            if wanted.wait_for(|(freeze, _)| *freeze != Some(number)).await.is_err() {
                tracing::debug!("nobody wants anything of the disk any more");
            }
        };
        tokio::select! {
            biased;
            () = limit => tracing::warn!("the disk was held still for as long as it may be"),
            () = held => {}
        }
        self.thaw().await;
        means.seen.send_modify(|seen| seen.frozen = None);
    }

    async fn thaw(&self) {
        if let Some(mounted) = &self.mounted {
            mounted.thaw().await;
        }
    }

    /// Writes everything out.
    async fn synced(&self) {
        let path = self.path.clone();
        let synced = spawn_blocking(move || Ok::<_, std::io::Error>(rustix::fs::syncfs(&File::open(path)?)?));
        match tokio::time::timeout(SYNCED_WITHIN, synced).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the disk could not be written out"),
            Ok(Err(error)) => tracing::warn!(%error, "the disk could not be written out"),
            Err(_late) => tracing::warn!("the disk was not written out in time"),
        }
    }

    /// Sends the list of what is on it. Without the list the snapshot is as good; so nothing waits for it for long.
    async fn told(&self, snapshot: u64, means: &Means) {
        let (path, clock) = (self.path.clone(), Arc::clone(&means.clock));
        let sent = async {
            let list = spawn_blocking(move || contents::listed(&path, &*clock)).await;
            let list = list.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            send(&list, snapshot, means).await.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(LISTED_WITHIN, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error, "what is on the disk could not be listed"),
            Err(_late) => tracing::warn!("what is on the disk was not listed in time"),
        }
    }

    /// Lists it for the last time, writes it out and lets it go. Nothing of the job runs any more.
    pub(crate) async fn closed(&self, means: &Means) {
        self.thaw().await;
        self.synced().await;
        let next = self.wanted.borrow().1;
        self.told(next, means).await;
        if let Some(mounted) = &self.mounted {
            mounted.unmount(&*means.clock).await;
        }
    }
}

/// Sends a list in its parts.
async fn send(list: &[u8], snapshot: u64, means: &Means) -> Result<(), CallError> {
    let parts: Vec<&[u8]> = list.chunks(LARGEST_PART).collect();
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    for (part, bytes) in (0..).zip(parts) {
        let contents = Contents { snapshot, part, parts: count, data: STANDARD.encode(bytes) };
        let mut backoff = Backoff::default();
        while let Err(error) = means.plane.contents(&contents).await {
            match error {
                CallError::Unavailable(error) => tracing::debug!(error, "part of the list of the disk was not taken"),
                CallError::Refused(_) | CallError::Rejected(_) => return Err(error),
            }
            means.clock.sleep(backoff.next()).await;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "disk/tests.rs"]
mod tests;
