//! Disks of one machine: folders below the data directory, and copies of them.
//!
//! A volume is `disks/volumes/ID`, a snapshot `disks/snapshots/ID`: in each lie the files themselves, in `files`, and what we know about
//! them, in `tags.json`. Either is made under another name, written out, and then renamed, so that whatever has its own name is whole; what
//! has not is removed at the next start. Whose files they are decides what is in them: nothing in them is followed or believed.

mod copying;
mod making;
mod manifest;
mod tags;
#[cfg(test)]
mod tests;
mod way;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use cloud::{
    Attacher, Attachment, Attempt, PortError, SnapshotOrder, SnapshotState, TaggedSnapshot, TaggedVolume, VolumeError,
    VolumeOrder, Volumes,
};
use domain::{SnapshotId, VolumeId, agent::Device, names::DiskName};
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, watch};

pub(crate) use self::way::Way;
use self::{
    making::{FILES, build, discard_aside, restored, taken},
    tags::{Holder, SnapshotTags, VolumeTags},
};
use crate::{StartError, data};

/// Small copies are waited for; larger ones are asked about again.
const SOON: Duration = Duration::from_secs(2);

/// Where attempts are known: what runs there may write to a disk.
#[async_trait]
pub(crate) trait Attempts: Send + Sync {
    /// Whether anything of an attempt runs or may come to run; `None` while nobody knows it.
    async fn lives(&self, attempt: &Attempt) -> Option<bool>;
}

/// Why something was not made.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    /// It never will be.
    #[error("{0}")]
    Refused(String),
    /// The operating system would not do it now.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl From<rustix::io::Errno> for MakeError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Failed(error.into())
    }
}

impl From<MakeError> for VolumeError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Refused(why) => Self::Refused(why),
            MakeError::Failed(error) => Self::Port(unavailable(&error)),
        }
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> PortError {
    PortError::Unavailable(format!("the folder of disks: {error}"))
}

/// This machine's disks; a clone is the same.
#[derive(Clone)]
pub(crate) struct LocalVolumes(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    way: Way,
    attempts: Arc<dyn Attempts>,
    /// Held while tags are read and written again.
    tags: Mutex<()>,
    going: Mutex<BTreeMap<String, Going>>,
}

/// Something that is being made.
#[derive(Clone)]
struct Going {
    /// What it is made of, which must stay meanwhile.
    reads: Option<PathBuf>,
    over: watch::Receiver<Option<Result<(), VolumeError>>>,
}

impl Going {
    /// How it went, once it is over.
    fn result(&self) -> Option<Result<(), VolumeError>> {
        self.over.borrow().clone().or_else(|| self.over.has_changed().err().map(|_died| Err(died())))
    }
}

/// Whoever made it is gone without a word.
fn died() -> VolumeError {
    unavailable(&"what made it has died").into()
}

impl LocalVolumes {
    /// Opens the folder of disks, finds out how copies are made in it, and removes what was never finished.
    pub(crate) fn open(folder: &Path, attempts: Arc<dyn Attempts>) -> Result<Self, StartError> {
        let mut left = Vec::new();
        for of in [VOLUMES, SNAPSHOTS] {
            let folder = folder.join(of);
            data::make_dir(&folder).map_err(StartError::file("making", &folder))?;
            left.extend(making::unfinished(&folder).map_err(StartError::file("reading", &folder))?);
        }
        let way = Way::probed(folder).map_err(StartError::file("using", folder))?;
        if !left.is_empty() {
            tracing::info!(folders = left.len(), "disks.unfinished_removed");
        }
        left.into_iter().for_each(discard_aside);
        Ok(Self::over(folder, way, attempts))
    }

    fn over(folder: &Path, way: Way, attempts: Arc<dyn Attempts>) -> Self {
        let (tags, going) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { folder: folder.to_owned(), way, attempts, tags, going }))
    }

    /// How copies are made.
    pub(crate) fn way(&self) -> Way {
        self.0.way
    }

    fn volume(&self, id: &VolumeId) -> PathBuf {
        self.0.folder.join(VOLUMES).join(plain(id.as_str()))
    }

    fn snapshot_folder(&self, id: &SnapshotId) -> PathBuf {
        self.0.folder.join(SNAPSHOTS).join(plain(id.as_str()))
    }

    /// Makes `folder` by having `work` fill another one, which then gets its name. Answers how that went, unless it takes longer.
    async fn made(
        &self,
        folder: PathBuf,
        reads: Option<PathBuf>,
        work: impl FnOnce(&Path) -> Result<(), MakeError> + Send + 'static,
    ) -> Option<Result<(), VolumeError>> {
        let name = folder.to_string_lossy().into_owned();
        let mut going = {
            let mut all = self.0.going.lock().await;
            // What went well is there.
            all.retain(|_, going| going.result() != Some(Ok(())));
            match all.get(&name) {
                Some(going) => going.clone(),
                None if folder.exists() => return Some(Ok(())),
                None => {
                    let (tell, over) = watch::channel(None);
                    tokio::task::spawn_blocking(move || {
                        tell.send_replace(Some(build(&folder, work).map_err(VolumeError::from)));
                    });
                    all.entry(name.clone()).or_insert(Going { reads, over }).clone()
                }
            }
        };
        if tokio::time::timeout(SOON, going.over.wait_for(Option::is_some)).await.is_err() {
            return None;
        }
        self.forget(&name).await;
        going.result()
    }

    /// Forgets that something failed: whoever asks again tries again.
    async fn forget(&self, name: &str) {
        let mut all = self.0.going.lock().await;
        if all.get(name).is_some_and(|going| going.result().is_some()) {
            all.remove(name);
        }
    }

    /// Removes a folder, if nothing is being made of it.
    async fn removed(&self, folder: PathBuf) -> Result<(), PortError> {
        let all = self.0.going.lock().await;
        let is_read = |going: &Going| going.reads.as_ref() == Some(&folder) && going.result().is_none();
        if all.values().any(is_read) {
            return Err(unavailable(&"it is being copied"));
        }
        if let Some(aside) = making::put_aside(&folder).map_err(|error| unavailable(&error))? {
            discard_aside(aside);
        }
        Ok(())
    }

    /// Whether the one that a volume was given to may still write to it.
    async fn is_held(&self, tags: &VolumeTags) -> bool {
        match &tags.attempt {
            Some(holder) => self.0.attempts.lives(&holder.clone().into()).await == Some(true),
            None => false,
        }
    }

    /// Everything of a kind, by its name.
    fn all<T: DeserializeOwned>(&self, of: &str) -> Result<Vec<(String, T)>, PortError> {
        let folder = self.0.folder.join(of);
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| unavailable(&error))? {
            let Ok(name) = entry.map_err(|error| unavailable(&error))?.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            if let Some(tags) = tags::read(&folder.join(&name)).map_err(|error| unavailable(&error))? {
                found.push((name, tags));
            }
        }
        Ok(found)
    }
}

const VOLUMES: &str = "volumes";
const SNAPSHOTS: &str = "snapshots";

/// A name of ours as it is, and any other as one that nothing has.
fn plain(id: &str) -> &str {
    let ours = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if ours { id } else { "-" }
}

#[async_trait]
impl Attacher for LocalVolumes {
    async fn create(&self, order: &VolumeOrder) -> Result<Option<VolumeId>, VolumeError> {
        let id = VolumeId::new(format!("vol-{}-{}", order.of.disk, order.uses));
        let source = order.from.as_ref().map(|snapshot| self.snapshot_folder(snapshot));
        let tags = VolumeTags {
            of: (&order.of).into(),
            uses: order.uses,
            name: order.name.clone(),
            size_gb: order.size_gb,
            from: order.from.clone(),
            attempt: None,
        };
        let way = self.0.way;
        let work = {
            let source = source.clone();
            move |fresh: &Path| {
                match source {
                    None => way.empty(&fresh.join(FILES))?,
                    Some(source) => restored(way, &source, &fresh.join(FILES))?,
                }
                Ok(tags::write(fresh, &tags)?)
            }
        };
        self.made(self.volume(&id), source, work).await.transpose().map(|made| made.map(|()| id))
    }

    async fn attach(&self, volume: &VolumeId, attempt: &Attempt) -> Result<Attachment, VolumeError> {
        let folder = self.volume(volume);
        let _alone = self.0.tags.lock().await;
        let Some(mut tags) = tags::read::<VolumeTags>(&folder)? else {
            return Err(VolumeError::Refused("its volume is not there".to_owned()));
        };
        match self.0.attempts.lives(attempt).await {
            None => return Ok(Attachment::Coming),
            Some(false) => return Err(VolumeError::Refused("what it was for has ended".to_owned())),
            Some(true) => {}
        }
        let holder = Some(Holder::from(attempt));
        if tags.attempt != holder {
            if self.is_held(&tags).await {
                return Ok(Attachment::Coming);
            }
            // It is written down before anybody is told of it, so that after a crash it is known who may write to it.
            tags.attempt = holder;
            tags::write(&folder, &tags).map_err(|error| unavailable(&error))?;
        }
        Ok(Attachment::There(Device::Folder(folder.join(FILES).to_string_lossy().into_owned())))
    }
}

#[async_trait]
impl Volumes for LocalVolumes {
    async fn detach(&self, volume: &VolumeId) -> Result<bool, PortError> {
        let _alone = self.0.tags.lock().await;
        let tags = tags::read::<VolumeTags>(&self.volume(volume)).map_err(|error| unavailable(&error))?;
        match tags {
            Some(tags) => Ok(!self.is_held(&tags).await),
            None => Ok(true),
        }
    }

    async fn snapshot(&self, order: &SnapshotOrder) -> Result<SnapshotId, VolumeError> {
        let id = SnapshotId::new(format!("snap-{}", order.operation));
        let (folder, volume) = (self.snapshot_folder(&id), self.volume(&order.volume));
        if !folder.exists() && !volume.exists() {
            return Err(VolumeError::Refused("there is no such volume".to_owned()));
        }
        let (way, source, order) = (self.0.way, volume.clone(), order.clone());
        let work = move |fresh: &Path| {
            let manifest = taken(way, &source.join(FILES), fresh)?;
            let SnapshotOrder { of, operation, name, volume } = order;
            Ok(tags::write(fresh, &SnapshotTags { of: (&of).into(), operation, name, volume, way, manifest })?)
        };
        match self.made(folder, Some(volume), work).await {
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(id),
        }
    }

    async fn snapshot_state(&self, snapshot: &SnapshotId) -> Result<SnapshotState, PortError> {
        let folder = self.snapshot_folder(snapshot);
        let name = folder.to_string_lossy().into_owned();
        let going = self.0.going.lock().await.get(&name).map(Going::result);
        if folder.exists() {
            return Ok(SnapshotState::Completed);
        }
        match going {
            Some(None) => Ok(SnapshotState::Pending),
            Some(Some(Err(error))) => {
                self.forget(&name).await;
                Ok(SnapshotState::Failed(error.to_string()))
            }
            Some(Some(Ok(()))) | None => {
                Ok(SnapshotState::Failed("it was not finished before the plane ended".to_owned()))
            }
        }
    }

    async fn tag(&self, snapshot: &SnapshotId, name: &DiskName) -> Result<(), VolumeError> {
        let folder = self.snapshot_folder(snapshot);
        let _alone = self.0.tags.lock().await;
        let Some(mut tags) = tags::read::<SnapshotTags>(&folder)? else {
            return Err(VolumeError::Refused("there is no such snapshot".to_owned()));
        };
        tags.name = name.clone();
        Ok(tags::write(&folder, &tags).map_err(|error| unavailable(&error))?)
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), PortError> {
        let folder = self.volume(volume);
        let _alone = self.0.tags.lock().await;
        if let Some(tags) = tags::read::<VolumeTags>(&folder).map_err(|error| unavailable(&error))?
            && self.is_held(&tags).await
        {
            return Err(unavailable(&"something may still write to it"));
        }
        self.removed(folder).await
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), PortError> {
        self.removed(self.snapshot_folder(snapshot)).await
    }

    async fn volumes(&self) -> Result<Vec<TaggedVolume>, PortError> {
        let all = self.all::<VolumeTags>(VOLUMES)?.into_iter();
        let tagged = |(name, tags): (String, VolumeTags)| TaggedVolume {
            volume: VolumeId::new(name),
            of: tags.of.into(),
            uses: tags.uses,
        };
        Ok(all.map(tagged).collect())
    }

    async fn snapshots(&self) -> Result<Vec<TaggedSnapshot>, PortError> {
        let all = self.all::<SnapshotTags>(SNAPSHOTS)?.into_iter();
        let tagged = |(name, tags): (String, SnapshotTags)| TaggedSnapshot {
            snapshot: SnapshotId::new(name),
            of: tags.of.into(),
            operation: tags.operation,
            volume: tags.volume,
        };
        Ok(all.map(tagged).collect())
    }
}
