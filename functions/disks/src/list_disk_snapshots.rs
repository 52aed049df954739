//! `GET /v1/disks/{disk_name}/snapshots`

use axum::{Json, extract::State};
use domain::{SnapshotId, Timestamp, names::DiskName};
use serde::Serialize;
use utoipa::ToSchema;
use web::{DetailRefusals, Error, Id, Member, Plane};

use crate::{act::read, name::Named};

/// A disk's snapshots.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Snapshots {
    #[schema(value_type = String)]
    disk_name: DiskName,
    /// Newest first.
    snapshots: Vec<Snapshot>,
    total: usize,
}

/// A snapshot.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "snapshot_id": "snap-1234567890abcdef", "number": 3, "size_gb": 500, "created_at": "2026-01-20T18:30:00Z",
    "completed_at": "2026-01-20T18:35:00Z", "is_complete": true, "is_head": true
}))]
pub(crate) struct Snapshot {
    #[schema(value_type = String)]
    snapshot_id: SnapshotId,
    /// Counts the disk's snapshots.
    number: u64,
    /// The size of the disk that it was taken of.
    size_gb: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    completed_at: Option<Timestamp>,
    /// Something can be made of it.
    is_complete: bool,
    /// The next job that uses the disk begins with it.
    is_head: bool,
}

/// List a disk's snapshots. They are kept for a week, and the newest three for as long as the disk is there.
#[utoipa::path(get, path = "/v1/disks/{disk_name}/snapshots", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk.")),
    responses((status = 200, description = "Newest first.", body = Snapshots), DetailRefusals))]
pub(crate) async fn list_disk_snapshots(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
) -> Result<Json<Snapshots>, Error> {
    let disk = read(&plane, &member, &name).await?;
    let head = disk.head.as_ref().map(|head| head.number);
    let known = plane.store.disk_snapshots(&disk.tenant, disk.id).await?;
    let snapshots = known.into_iter().map(|known| Snapshot {
        snapshot_id: known.id,
        number: known.number,
        size_gb: known.size_gb,
        created_at: known.created_at,
        completed_at: known.completed_at,
        is_complete: known.completed_at.is_some(),
        is_head: head == Some(known.number),
    });
    let snapshots = snapshots.collect::<Vec<_>>();
    Ok(Json(Snapshots { disk_name: disk.name, total: snapshots.len(), snapshots }))
}
