//! What disks are made of: EBS volumes and snapshots, or folders of this machine.

use async_trait::async_trait;
use domain::{DiskId, OperationId, SnapshotId, TenantId, UserName, VolumeId, agent::Device, names::DiskName};

use crate::{Attempt, PortError};

/// Which disk something belongs to: what every volume and snapshot of ours is tagged with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskRef {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its owner.
    pub owner: UserName,
    /// The disk.
    pub disk: DiskId,
}

/// A volume that is asked for. Disk and use are the client token: asking twice makes one volume.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeOrder {
    /// The disk.
    pub of: DiskRef,
    /// Which of its uses, counting from 1; stored before the cloud is asked.
    pub uses: u64,
    /// Its name, for people who look at the account.
    pub name: DiskName,
    /// Its size in GB; never less than its snapshot's.
    pub size_gb: u32,
    /// What it is made of; none for an empty one. Never anything but this.
    pub from: Option<SnapshotId>,
    /// Whom it is for, and so where it must be.
    pub attempt: Attempt,
}

/// A snapshot that is asked for. Clouds have no client token for it (`CreateSnapshot`), so that what is there is looked at first: asking
/// twice gives the same one, but for an answer that is lost just then, and a second one then harms nobody.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotOrder {
    /// The disk.
    pub of: DiskRef,
    /// The operation, with whose id it is tagged.
    pub operation: OperationId,
    /// The disk's name, for people who look at the account (checklist 002#22).
    pub name: DiskName,
    /// What it is made of.
    pub volume: VolumeId,
}

/// How far a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// It is being made; that may take hours.
    Pending,
    /// All of it is there.
    Completed,
    /// It will never be complete, or is not there any more.
    Failed(String),
}

/// How a volume is fixed to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// It is there.
    There(Device),
    /// It is on its way: ask again.
    Coming,
}

/// A volume of ours, by its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedVolume {
    /// What the cloud calls it.
    pub volume: VolumeId,
    /// Its disk.
    pub of: DiskRef,
    /// Which of the disk's uses it was made for.
    pub uses: u64,
}

/// A snapshot with our tags: one of ours, or a copy that somebody else made of one of ours, tags and all (trap T18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedSnapshot {
    /// What the cloud calls it.
    pub snapshot: SnapshotId,
    /// The disk that its tags name.
    pub of: DiskRef,
    /// The operation that its tags name.
    pub operation: OperationId,
    /// What it was made of. A copy's is not a volume of ours.
    pub volume: VolumeId,
}

/// A cloud did not do what it was asked about a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// It will never do this: the snapshot is gone, the machine is gone, the account's quota is used up.
    #[error("refused: {0}")]
    Refused(String),
    /// It may have done it, or may do it later.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Brings volumes to what runs in a fleet. Every call can be repeated.
#[async_trait]
pub trait Attacher: Send + Sync {
    /// Makes a volume where its attempt can have it. The same disk and use again gives the same volume; `None` while the attempt's
    /// machine is not known well enough yet to say where that is.
    ///
    /// # Errors
    /// [`VolumeError::Refused`] when it cannot be made of its snapshot: never is it made of anything else instead.
    async fn create(&self, order: &VolumeOrder) -> Result<Option<VolumeId>, VolumeError>;

    /// Fixes a volume to the machine of an attempt.
    ///
    /// # Errors
    /// [`VolumeError::Refused`] when that machine will never have it.
    async fn attach(&self, volume: &VolumeId, attempt: &Attempt) -> Result<Attachment, VolumeError>;
}

/// Volumes and snapshots: brought to what runs, and kept. Every call can be repeated.
#[async_trait]
pub trait Volumes: Attacher {
    /// Takes a volume from whatever it is fixed to, and says whether it is free: nobody writes to it any more then. One that is gone is.
    ///
    /// # Errors
    /// When it is not known; repeating it does no harm.
    async fn detach(&self, volume: &VolumeId) -> Result<bool, PortError>;

    /// Begins a snapshot of what a volume holds at this moment.
    ///
    /// # Errors
    /// [`VolumeError::Refused`] when there is no such volume.
    async fn snapshot(&self, order: &SnapshotOrder) -> Result<SnapshotId, VolumeError>;

    /// How far a snapshot is.
    ///
    /// # Errors
    /// When it could not be looked.
    async fn snapshot_state(&self, snapshot: &SnapshotId) -> Result<SnapshotState, PortError>;

    /// Writes a disk's name on a snapshot.
    ///
    /// # Errors
    /// [`VolumeError::Refused`] with the cloud's reason.
    async fn tag(&self, snapshot: &SnapshotId, name: &DiskName) -> Result<(), VolumeError>;

    /// Removes a volume that is fixed to nothing. One that is gone is no error.
    ///
    /// # Errors
    /// When it is still fixed to something, or that is not known; repeating it does no harm.
    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), PortError>;

    /// Removes a snapshot. One that is gone is no error.
    ///
    /// # Errors
    /// When it is not known; repeating it does no harm.
    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), PortError>;

    /// Every volume with our tags; it may be late by a minute or two.
    ///
    /// # Errors
    /// When the list could not be had in full.
    async fn volumes(&self) -> Result<Vec<TaggedVolume>, PortError>;

    /// Every snapshot in our account with our tags; it may be late by a minute or two.
    ///
    /// # Errors
    /// When the list could not be had in full.
    async fn snapshots(&self) -> Result<Vec<TaggedSnapshot>, PortError>;
}
