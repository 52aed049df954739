//! Volumes and snapshots, as the control plane sees them.

use async_trait::async_trait;
use domain::{SnapshotId, VolumeId, names::DiskName};

use super::{
    super::world::{Port, State, When},
    Request,
};
use crate::{
    Attacher, Attachment, Attempt, PortError, SnapshotOrder, SnapshotState, TaggedSnapshot, TaggedVolume, VolumeError,
    VolumeOrder, Volumes,
};

#[async_trait]
impl Attacher for Port {
    async fn create(&self, order: &VolumeOrder) -> Result<Option<VolumeId>, VolumeError> {
        let effect = |state: &mut State, when| {
            let State { shelf, fleet, settings, now, .. } = state;
            // Where it is to be is known before it is asked for.
            if when == When::Late && fleet.of_attempt(&order.attempt).is_some() {
                return shelf.late(Request::Create(order.clone()), *now, settings);
            }
            shelf.create(order, (fleet, *now, settings))
        };
        self.0.call("volumes.create", effect).await
    }

    async fn attach(&self, volume: &VolumeId, attempt: &Attempt) -> Result<Attachment, VolumeError> {
        let effect = |state: &mut State, when| {
            let State { shelf, fleet, settings, now, .. } = state;
            if when == When::Late {
                return shelf.late(Request::Attach(volume.clone(), attempt.clone()), *now, settings);
            }
            shelf.attach(volume, attempt, (fleet, *now, settings))
        };
        self.0.call("volumes.attach", effect).await
    }
}

#[async_trait]
impl Volumes for Port {
    async fn detach(&self, volume: &VolumeId) -> Result<bool, PortError> {
        let effect = |state: &mut State, _when| {
            let State { shelf, fleet, settings, now, .. } = state;
            Ok(shelf.detach(volume, (fleet, *now, settings)))
        };
        self.0.call("volumes.detach", effect).await
    }

    async fn snapshot(&self, order: &SnapshotOrder) -> Result<SnapshotId, VolumeError> {
        let effect = |state: &mut State, when| {
            let State { shelf, settings, now, .. } = state;
            if when == When::Late {
                return shelf.late(Request::Snapshot(order.clone()), *now, settings);
            }
            shelf.snapshot(order, *now, settings)
        };
        self.0.call("volumes.snapshot", effect).await
    }

    async fn snapshot_state(&self, snapshot: &SnapshotId) -> Result<SnapshotState, PortError> {
        let effect = |state: &mut State, when| {
            let at = state.shelf.moment(state.now, &state.settings, when);
            Ok(state.shelf.state_of(snapshot, at))
        };
        self.0.call("volumes.snapshot_state", effect).await
    }

    async fn tag(&self, snapshot: &SnapshotId, name: &DiskName) -> Result<(), VolumeError> {
        let effect = |state: &mut State, _when| state.shelf.tag(snapshot, name, &state.settings);
        self.0.call("volumes.tag", effect).await
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<(), PortError> {
        let effect = |state: &mut State, _when| {
            let State { shelf, fleet, now, .. } = state;
            shelf.delete_volume(volume, (fleet, *now))
        };
        self.0.call("volumes.delete_volume", effect).await
    }

    async fn delete_snapshot(&self, snapshot: &SnapshotId) -> Result<(), PortError> {
        let effect = |state: &mut State, _when| {
            state.shelf.delete_snapshot(snapshot, state.now);
            Ok(())
        };
        self.0.call("volumes.delete_snapshot", effect).await
    }

    async fn volumes(&self) -> Result<Vec<TaggedVolume>, PortError> {
        let effect = |state: &mut State, when| {
            let at = state.shelf.moment(state.now, &state.settings, when);
            Ok(state.shelf.list_volumes(at))
        };
        self.0.call("volumes.volumes", effect).await
    }

    async fn snapshots(&self) -> Result<Vec<TaggedSnapshot>, PortError> {
        let effect = |state: &mut State, when| {
            let at = state.shelf.moment(state.now, &state.settings, when);
            Ok(state.shelf.list_snapshots(at))
        };
        self.0.call("volumes.snapshots", effect).await
    }
}
