//! Ports that a process does not have: most functions launch nothing, fetch nobody's keys and ask no other cloud, and their roles would not
//! let them.

use async_trait::async_trait;
use domain::{
    SnapshotId, VolumeId,
    credential::{CloudKeys, Silence, Verdict},
    names::{DiskName, GithubName},
    ssh::PublicKey,
};

use crate::{
    Answer, Attacher, Attachment, Attempt, Fleet, FleetError, Order, People, PeopleError, PortError, Providers,
    Provisioned, Question, Sighting, SnapshotOrder, SnapshotState, Tagged, TaggedSnapshot, TaggedVolume, Upstream,
    UpstreamError, Upstreams, VolumeError, VolumeOrder, Volumes,
};

/// Answers everything with *not here*. That something asks it is a mistake in how a function was put together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Absent;

fn not_here(port: &str) -> PortError {
    PortError::Unavailable(format!("this function has no {port}"))
}

#[async_trait]
impl Fleet for Absent {
    async fn provision(&self, _: &Order) -> Result<Provisioned, FleetError> {
        Err(not_here("fleet").into())
    }

    async fn describe(&self, _: &Attempt) -> Result<Sighting, PortError> {
        Err(not_here("fleet"))
    }

    async fn terminate(&self, _: &Attempt) -> Result<(), PortError> {
        Err(not_here("fleet"))
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        Err(not_here("fleet"))
    }
}

#[async_trait]
impl People for Absent {
    async fn keys_of(&self, _: &GithubName) -> Result<Vec<PublicKey>, PeopleError> {
        Err(PeopleError::Unavailable("this function asks nobody".to_owned()))
    }
}

#[async_trait]
impl Providers for Absent {
    async fn check(&self, _: &CloudKeys) -> Verdict {
        Verdict::Unreachable(Silence::NoConnection)
    }
}

#[async_trait]
impl Upstreams for Absent {
    async fn ask(&self, _: &Upstream, _: Question) -> Result<Answer, UpstreamError> {
        Err(UpstreamError::NotReached("this function has no way to model servers".to_owned()))
    }
}

#[async_trait]
impl Attacher for Absent {
    async fn create(&self, _: &VolumeOrder) -> Result<Option<VolumeId>, VolumeError> {
        Err(not_here("volumes").into())
    }

    async fn attach(&self, _: &VolumeId, _: &Attempt) -> Result<Attachment, VolumeError> {
        Err(not_here("volumes").into())
    }
}

#[async_trait]
impl Volumes for Absent {
    async fn detach(&self, _: &VolumeId) -> Result<bool, PortError> {
        Err(not_here("volumes"))
    }

    async fn snapshot(&self, _: &SnapshotOrder) -> Result<SnapshotId, VolumeError> {
        Err(not_here("volumes").into())
    }

    async fn snapshot_state(&self, _: &SnapshotId) -> Result<SnapshotState, PortError> {
        Err(not_here("volumes"))
    }

    async fn tag(&self, _: &SnapshotId, _: &DiskName) -> Result<(), VolumeError> {
        Err(not_here("volumes").into())
    }

    async fn delete_volume(&self, _: &VolumeId) -> Result<(), PortError> {
        Err(not_here("volumes"))
    }

    async fn delete_snapshot(&self, _: &SnapshotId) -> Result<(), PortError> {
        Err(not_here("volumes"))
    }

    async fn volumes(&self) -> Result<Vec<TaggedVolume>, PortError> {
        Err(not_here("volumes"))
    }

    async fn snapshots(&self) -> Result<Vec<TaggedSnapshot>, PortError> {
        Err(not_here("volumes"))
    }
}
