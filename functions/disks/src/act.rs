//! What every operation on a member's disk has in common.

use axum::Json;
use domain::{
    Disk, OperationId, Timestamp,
    disk::{Action, DiskChange, DiskRefusal, DiskState, Snapshot},
    names::DiskName,
};
use serde::Serialize;
use store::WhichDisk;
use utoipa::ToSchema;
use web::{Command, Error, Identified, Member, Plane};

use crate::name::Named;

/// Something was asked of a disk, and takes its time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "operation_id": "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11",
    "disk_name": "my-training-data",
    "action": "create",
    "message": "Disk creation request queued successfully",
    "requested_at": "2026-01-20T18:30:00Z"
}))]
pub(crate) struct Requested {
    /// To be asked about at `/v1/disks/{disk_name}/operations/{operation_id}`.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) operation_id: OperationId,
    /// The disk.
    #[schema(value_type = String)]
    pub(crate) disk_name: DiskName,
    /// What was asked: `create`, `delete`, `undelete`, `snapshot`, `branch` or `restore`.
    pub(crate) action: &'static str,
    /// The same in words.
    pub(crate) message: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) requested_at: Timestamp,
}

impl Requested {
    /// What was asked of the disk of this name, in words.
    pub(crate) fn new(
        of: (&DiskName, OperationId),
        action: Action,
        message: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        let (disk_name, operation_id) = of;
        Self {
            operation_id,
            disk_name: disk_name.clone(),
            action: action.name(),
            message: message.into(),
            requested_at: now,
        }
    }
}

/// The member's disk of this name. An unknown one and somebody else's look the same (trap T1), and so does one that is gone for good.
pub(crate) async fn read(plane: &Plane, member: &Member, name: &Named) -> Result<Disk, Error> {
    there(plane.store.disk_named(&member.tenant, &member.user, &name.0).await?)
}

fn there(disk: Option<Disk>) -> Result<Disk, Error> {
    disk.filter(|disk| disk.state != DiskState::Deleted).ok_or(Error::NotFound(Named::UNKNOWN))
}

/// Decides upon the member's disk, writes the decision with the request's claim, and tells the disk's worker.
pub(crate) async fn act<T, A: Serialize>(
    plane: &Plane,
    member: &Member,
    Named(name): &Named,
    command: &Command<T>,
    decide: impl Fn(&Disk, Timestamp) -> Result<(DiskChange, A), Error>,
) -> Result<(Disk, A), Error> {
    let decided = plane.decide_disk((&member.tenant, &member.user, WhichDisk::Named(name)), |disk, now| {
        let (change, answer) = decide(&there(disk)?, now)?;
        let (disk, claim) = (change.disk.clone(), command.claim(resource(name), &answer, now)?);
        Ok::<_, Error>((Some((change, claim)), (disk, answer)))
    });
    let (disk, answer) = decided.await?;
    plane.tend(&disk).await;
    Ok((disk, answer))
}

/// What a repetition that cannot be answered is told.
pub(crate) fn resource(name: &DiskName) -> String {
    format!("disk '{}'", name.as_str())
}

/// Makes the disk that a request asks for, and answers it.
pub(crate) async fn make<T>(
    plane: &Plane,
    command: &Command<T>,
    change: DiskChange,
    answer: Requested,
) -> Result<Json<Requested>, Error> {
    let claim = command.claim(resource(&change.disk.name), &answer, answer.requested_at)?;
    plane.store.write_disk(&change, claim.as_ref(), Some(plane.settings.policy.disks_per_user)).await?;
    // A branch is there at once: nothing is left to do.
    if change.disk.due_at().is_some() {
        plane.tend(&change.disk).await;
    }
    Ok(Json(answer))
}

/// A disk's snapshot by its id, or its newest that is complete and that the disk is made of.
pub(crate) async fn snapshot_of(plane: &Plane, disk: &Disk, wanted: Option<&str>) -> Result<Snapshot, Error> {
    let mut snapshots = plane.store.disk_snapshots(&disk.tenant, disk.id).await?.into_iter();
    match (wanted, &disk.head) {
        (Some(id), _) => {
            snapshots.find(|snapshot| snapshot.id.as_str() == id).ok_or(Error::NotFound("Snapshot not found"))
        }
        (None, Some(head)) => {
            snapshots.find(|snapshot| snapshot.number == head.number).ok_or(Error::NotFound("Snapshot not found"))
        }
        (None, None) => Err(DiskRefusal::Empty(disk.name.as_str().to_owned()).into()),
    }
}
