//! What every operation on a member's disk has in common.

use domain::{
    Disk, OperationId, Timestamp,
    disk::{DiskChange, DiskState, Snapshot},
    names::DiskName,
    policy::DISK_GB,
};
use serde::Serialize;
use serde_json::json;
use store::StoreError;
use utoipa::ToSchema;
use web::{Command, Error, Identified, Member, Plane};

use crate::name::Named;

/// How often something is decided anew while others are faster.
const DECISIONS: u32 = 8;

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

/// The member's disk of this name. An unknown one and somebody else's look the same (trap T1), and so does one that is gone for good.
pub(crate) async fn read(plane: &Plane, member: &Member, name: &Named) -> Result<Disk, Error> {
    let disk = plane.store.disk_named(&member.tenant, &member.user, &name.0).await?;
    disk.filter(|disk| disk.state != DiskState::Deleted).ok_or(Error::NotFound(Named::UNKNOWN))
}

/// Decides upon the member's disk, writes the decision with the request's claim, and tells the disk's worker.
pub(crate) async fn act<T, A>(
    plane: &Plane,
    member: &Member,
    name: &Named,
    command: &Command<T>,
    decide: impl Fn(&Disk, Timestamp) -> Result<(DiskChange, A), Error> + Send + Sync,
) -> Result<(Disk, A), Error>
where
    T: Sync,
    A: Serialize + Send,
{
    for _ in 0..DECISIONS {
        let disk = read(plane, member, name).await?;
        let now = plane.ports.clock.now();
        let (change, answer) = decide(&disk, now)?;
        let stored = serde_json::to_string(&answer).map_err(|error| StoreError::Broken(error.to_string()))?;
        let claim = command.claim(format!("disk '{}'", name.0.as_str()), Some(stored), now);
        match plane.store.write_disk(&change, claim.as_ref(), None).await {
            Ok(()) => {
                plane.tend(&change.disk).await;
                return Ok((change.disk, answer));
            }
            Err(StoreError::Moved) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Contended.into())
}

/// Checks a size that was asked for.
pub(crate) fn checked_size(size_gb: u32) -> Result<u32, Error> {
    if DISK_GB.contains(&size_gb) {
        return Ok(size_gb);
    }
    let words = format!("A disk has from {} to {} GB", DISK_GB.start(), DISK_GB.end());
    Err(Error::field("size_gb", words, Some(json!(size_gb))))
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
        (None, None) => Err(domain::disk::DiskRefusal::Empty(disk.name.as_str().to_owned()).into()),
    }
}
