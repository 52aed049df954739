//! Disks over EBS: a volume for each use, made of the disk's newest snapshot, and a snapshot of it afterwards.
//!
//! **Asked twice, made once.** `CreateVolume` has a client token. `CreateSnapshot` and `AttachVolume` have none: what is there is looked at
//! first, each is sent once, and what an answer that was lost has made is found at the next look. So a volume is fixed once, and an operation has a
//! second snapshot only when it is asked for again within the moment in which EC2 does not list the first.
//!
//! **Whose it is.** Everything is tagged from the first moment, and found again by the installation's tag. Of snapshots only this account's own
//! count, and of an operation's only those that are made of its volume: a copy that somebody made carries the tags as well.
//!
//! A volume survives its machine: `AttachVolume` leaves `DeleteOnTermination` false, and nothing here sets it.

mod marks;
mod meaning;

use async_trait::async_trait;
use aws_core::{Sdk, errors::code, port_error};
use aws_sdk_ec2::{
    Client,
    error::SdkError,
    operation::attach_volume::AttachVolumeError,
    types::{Filter, Instance, InstanceStateName, Snapshot, Volume, VolumeAttachmentState, VolumeState, VolumeType},
};
use cloud::{
    Attacher, Attachment, Attempt, PortError, SnapshotOrder, SnapshotState, TaggedSnapshot, TaggedVolume, VolumeError,
    VolumeOrder, Volumes,
};
use domain::{SnapshotId, VolumeId, agent::Device, names::DiskName};

use crate::{
    fleet,
    request::{instances, of_attempt, once},
};
use meaning::failed;

/// What a machine is told that its disk's device is called. It calls it otherwise: the agent finds it by its serial number.
const DEVICE: &str = "/dev/sdf";
/// How much is listed at once.
const PAGE: i32 = 500;

/// Volumes and snapshots of EBS.
#[derive(Clone)]
pub struct EbsVolumes {
    client: Client,
    deployment: String,
    /// The zone of every volume, where Kubernetes' driver fixes them to nodes.
    zone: Option<String>,
}

/// Whether what is done to a volume has to be waited for.
enum Held {
    /// It is fixed to this machine.
    Here,
    /// It is fixed to another.
    Elsewhere,
    /// It is on its way to something or from it.
    Moving,
    /// Nothing has it.
    Free,
}

/// What a volume is fixed to, seen from a machine.
fn held(volume: &Volume, machine: &str) -> Held {
    let has = |state: &VolumeAttachmentState| *state != VolumeAttachmentState::Detached;
    let mut held = volume.attachments().iter().filter(|one| one.state().is_none_or(has));
    match held.next() {
        None if volume.state() == Some(&VolumeState::Available) => Held::Free,
        Some(one) if one.state() == Some(&VolumeAttachmentState::Attached) => {
            if one.instance_id() == Some(machine) {
                Held::Here
            } else {
                Held::Elsewhere
            }
        }
        None | Some(_) => Held::Moving,
    }
}

/// The serial number that the machine's device has (EBS user guide, "Map Amazon EBS volumes to NVMe device names").
fn serial(volume: &VolumeId) -> Device {
    Device::Serial(volume.as_str().replace('-', ""))
}

fn is_over(machine: &Instance) -> bool {
    let state = machine.state().and_then(|state| state.name());
    matches!(state, Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated))
}

fn is_running(machine: &Instance) -> bool {
    machine.state().and_then(|state| state.name()) == Some(&InstanceStateName::Running)
}

fn is_leaving(volume: &Volume) -> bool {
    matches!(volume.state(), Some(VolumeState::Deleting | VolumeState::Deleted))
}

fn gone() -> VolumeError {
    VolumeError::Refused("its machine is gone".to_owned())
}

impl EbsVolumes {
    /// The disks of an installation, where its machines are. Nothing is asked yet.
    #[must_use]
    pub fn new(sdk: &Sdk, deployment: &str) -> Self {
        Self { client: fleet::client(sdk), deployment: deployment.to_owned(), zone: None }
    }

    /// The same disks for a cluster whose nodes are in `zone`: it is Kubernetes' driver that fixes them and takes them away.
    #[must_use]
    pub fn in_zone(&self, zone: &str) -> Self {
        Self { zone: Some(zone.to_owned()), ..self.clone() }
    }

    /// The machine of an attempt. A second, which should not be, holds no agent: the older one counts, as it does for the fleet.
    async fn machine(&self, attempt: &Attempt) -> Result<Option<Instance>, VolumeError> {
        let found = instances(&self.client, of_attempt(&self.deployment, attempt)).await?;
        let (over, mut live): (Vec<_>, Vec<_>) = found.into_iter().partition(is_over);
        let first = |machine: &Instance| {
            let launched = machine.launch_time().and_then(|at| at.to_millis().ok());
            (launched, machine.instance_id().map(str::to_owned))
        };
        live.sort_by_key(first);
        match live.into_iter().next() {
            None if !over.is_empty() => Err(gone()),
            machine => Ok(machine),
        }
    }

    /// Where the volume of an order must be; `None` while that is not known.
    async fn place(&self, order: &VolumeOrder) -> Result<Option<String>, VolumeError> {
        if let Some(zone) = &self.zone {
            return Ok(Some(zone.clone()));
        }
        let machine = self.machine(&order.attempt).await?;
        let placement = machine.as_ref().and_then(Instance::placement);
        let zone = placement.and_then(|placement| placement.availability_zone());
        Ok(zone.filter(|zone| !zone.is_empty()).map(str::to_owned))
    }

    /// A volume; `None` when EC2 knows none of this id.
    async fn volume(&self, volume: &VolumeId) -> Result<Option<Volume>, PortError> {
        match self.client.describe_volumes().volume_ids(volume.as_str()).send().await {
            Ok(found) => Ok(found.volumes.unwrap_or_default().into_iter().next()),
            Err(error) if code(&error) == Some("InvalidVolume.NotFound") => Ok(None),
            Err(error) => Err(port_error(&error)),
        }
    }

    /// Every volume that `filters` find, through all pages.
    async fn look(&self, filters: Vec<Filter>) -> Result<Vec<Volume>, PortError> {
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let request = self.client.describe_volumes().set_filters(Some(filters.clone())).max_results(PAGE);
            let page = request.set_next_token(next).send().await.map_err(|error| port_error(&error))?;
            found.extend(page.volumes.unwrap_or_default());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// Every snapshot of this account that `filters` find, through all pages.
    async fn look_for_snapshots(&self, filters: Vec<Filter>) -> Result<Vec<Snapshot>, PortError> {
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let request = self.client.describe_snapshots().owner_ids("self").set_filters(Some(filters.clone()));
            let request = request.max_results(PAGE).set_next_token(next);
            let page = request.send().await.map_err(|error| port_error(&error))?;
            found.extend(page.snapshots.unwrap_or_default());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// The volume that an order made when it was worded otherwise: its disk was renamed meanwhile, or its machine is another.
    async fn made_otherwise(&self, order: &VolumeOrder, zone: &str) -> Result<Option<VolumeId>, VolumeError> {
        let found = self.look(marks::volumes_of(&self.deployment, order)).await?;
        let is_there = |volume: &&Volume| !is_leaving(volume) && volume.availability_zone() == Some(zone);
        let here = found.iter().find(is_there);
        match here.and_then(Volume::volume_id) {
            Some(id) => Ok(Some(VolumeId::new(id))),
            None => Err(VolumeError::Refused("its volume was made for another place".to_owned())),
        }
    }
}

/// What a refusal to fix a volume means. What is not there yet, and what changes just now, is looked at again.
fn not_attached(error: &SdkError<AttachVolumeError>) -> Result<Attachment, VolumeError> {
    match code(error) {
        Some(
            "IncorrectState"
            | "IncorrectInstanceState"
            | "InvalidInstanceID.NotFound"
            | "InvalidVolume.NotFound"
            | "VolumeInUse",
        ) => Ok(Attachment::Coming),
        _ => Err(failed(error)),
    }
}

#[async_trait]
impl Attacher for EbsVolumes {
    async fn create(&self, order: &VolumeOrder) -> Result<Option<VolumeId>, VolumeError> {
        let Some(zone) = self.place(order).await? else { return Ok(None) };
        let too_large = |_wide| VolumeError::Refused("it is larger than any volume".to_owned());
        let request = self
            .client
            .create_volume()
            .client_token(marks::client_token(&self.deployment, order))
            .availability_zone(&zone)
            .volume_type(VolumeType::Gp3)
            .encrypted(true)
            .size(i32::try_from(order.size_gb).map_err(too_large)?)
            .set_snapshot_id(order.from.as_ref().map(|from| from.as_str().to_owned()))
            .tag_specifications(marks::volume(&self.deployment, order, self.zone.is_some()));
        match request.send().await {
            Ok(made) => Ok(made.volume_id().map(VolumeId::new)),
            Err(error) if code(&error) == Some("IdempotentParameterMismatch") => {
                self.made_otherwise(order, &zone).await
            }
            Err(error) => Err(failed(&error)),
        }
    }

    async fn attach(&self, volume: &VolumeId, attempt: &Attempt) -> Result<Attachment, VolumeError> {
        let Some(machine) = self.machine(attempt).await? else { return Ok(Attachment::Coming) };
        // Lists are late: one that was just made may not be known yet.
        let Some(known) = self.volume(volume).await? else { return Ok(Attachment::Coming) };
        let id = machine.instance_id().unwrap_or_default();
        match held(&known, id) {
            Held::Here => return Ok(Attachment::There(serial(volume))),
            Held::Elsewhere => return Err(VolumeError::Refused("another machine has its volume".to_owned())),
            Held::Moving if known.state() == Some(&VolumeState::Error) => {
                return Err(VolumeError::Refused("its volume could not be made".to_owned()));
            }
            Held::Moving => return Ok(Attachment::Coming),
            Held::Free => {}
        }
        if !is_running(&machine) {
            return Ok(Attachment::Coming);
        }
        let request = self.client.attach_volume().volume_id(volume.as_str()).instance_id(id).device(DEVICE);
        match request.customize().config_override(once()).send().await {
            Ok(made) if made.state() == Some(&VolumeAttachmentState::Attached) => Ok(Attachment::There(serial(volume))),
            Ok(_) => Ok(Attachment::Coming),
            Err(error) => not_attached(&error),
        }
    }
}

#[async_trait]
impl Volumes for EbsVolumes {
    async fn detach(&self, volume: &VolumeId) -> Result<bool, PortError> {
        let Some(known) = self.volume(volume).await? else { return Ok(true) };
        match known.state() {
            Some(VolumeState::Available | VolumeState::Deleting | VolumeState::Deleted | VolumeState::Error) => {
                return Ok(true);
            }
            Some(VolumeState::InUse) => {}
            _ => return Ok(false),
        }
        let fixed = |state: &VolumeAttachmentState| *state == VolumeAttachmentState::Attached;
        let fixed = known.attachments().iter().any(|one| one.state().is_some_and(fixed));
        // Taken from under the driver, a volume would be torn from a file system that is still mounted.
        if !fixed || marks::is_the_drivers(&known) {
            return Ok(false);
        }
        match self.client.detach_volume().volume_id(volume.as_str()).send().await {
            Err(error) if code(&error) == Some("InvalidVolume.NotFound") => Ok(true),
            // It has been taken from its machine meanwhile.
            Err(error) if matches!(code(&error), Some("IncorrectState" | "InvalidAttachment.NotFound")) => Ok(false),
            Err(error) => Err(port_error(&error)),
            Ok(_) => Ok(false),
        }
    }

    async fn snapshot(&self, order: &SnapshotOrder) -> Result<SnapshotId, VolumeError> {
        let mut found = self.look_for_snapshots(marks::snapshots_of(&self.deployment, order)).await?;
        // One that failed is none: the operation is tried again.
        found.retain(|one| !matches!(meaning::state(one), SnapshotState::Failed(_)));
        let begun = |one: &Snapshot| {
            let at = one.start_time().and_then(|at| at.to_millis().ok());
            (meaning::state(one) != SnapshotState::Completed, at, one.snapshot_id().map(str::to_owned))
        };
        if let Some(id) = found.iter().min_by_key(|one| begun(one)).and_then(Snapshot::snapshot_id) {
            return Ok(SnapshotId::new(id));
        }
        let request = self
            .client
            .create_snapshot()
            .volume_id(order.volume.as_str())
            .description(format!("Slipway disk {}", order.name.as_str()))
            .tag_specifications(marks::snapshot(&self.deployment, order));
        let made = request.customize().config_override(once()).send().await.map_err(|error| failed(&error))?;
        let nameless = || PortError::Unavailable("an answer without a snapshot".to_owned());
        Ok(made.snapshot_id().map(SnapshotId::new).ok_or_else(nameless)?)
    }

    async fn snapshot_state(&self, snapshot: &SnapshotId) -> Result<SnapshotState, PortError> {
        let gone = || SnapshotState::Failed("it is not there any more".to_owned());
        match self.client.describe_snapshots().snapshot_ids(snapshot.as_str()).send().await {
            Ok(found) => Ok(found.snapshots().first().map_or_else(gone, meaning::state)),
            Err(error) if code(&error) == Some("InvalidSnapshot.NotFound") => Ok(gone()),
            Err(error) => Err(port_error(&error)),
        }
    }

    async fn tag(&self, snapshot: &SnapshotId, name: &DiskName) -> Result<(), VolumeError> {
        let request = self.client.create_tags().resources(snapshot.as_str()).tags(marks::named(name));
        request.send().await.map(drop).map_err(|error| failed(&error))
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), PortError> {
        let answer = self.client.delete_volume().volume_id(volume.as_str()).send().await;
        meaning::gone_is_fine(answer, "InvalidVolume.NotFound")
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), PortError> {
        let answer = self.client.delete_snapshot().snapshot_id(snapshot.as_str()).send().await;
        meaning::gone_is_fine(answer, "InvalidSnapshot.NotFound")
    }

    async fn volumes(&self) -> Result<Vec<TaggedVolume>, PortError> {
        let mut found = self.look(marks::all_volumes(&self.deployment)).await?;
        found.retain(|one| !is_leaving(one));
        let tagged = |one: &Volume| {
            let tagged = marks::tagged_volume(one);
            if tagged.is_none() {
                tracing::warn!(volume = one.volume_id(), "volumes.strange_tags");
            }
            tagged
        };
        Ok(found.iter().filter_map(tagged).collect())
    }

    async fn snapshots(&self) -> Result<Vec<TaggedSnapshot>, PortError> {
        let found = self.look_for_snapshots(marks::all_snapshots(&self.deployment)).await?;
        let tagged = |one: &Snapshot| {
            let tagged = marks::tagged_snapshot(one);
            if tagged.is_none() {
                tracing::warn!(snapshot = one.snapshot_id(), "snapshots.strange_tags");
            }
            tagged
        };
        Ok(found.iter().filter_map(tagged).collect())
    }
}
