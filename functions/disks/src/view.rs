//! A disk as its owner sees it.

use domain::{Timestamp, UserName, WorkloadId, names::DiskName};
use serde::Serialize;
use utoipa::ToSchema;

/// A disk.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "disk_name": "my-training-data",
    "user_id": "jschmidt@meta.com",
    "size_gb": 500,
    "created_at": "2026-01-15T10:00:00Z",
    "last_used": "2026-01-20T18:00:00Z",
    "in_use": true,
    "reservation_id": "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11",
    "is_backing_up": false,
    "is_deleted": false,
    "snapshot_count": 3
}))]
pub(crate) struct Disk {
    #[schema(value_type = String)]
    disk_name: DiskName,
    /// Its owner.
    #[schema(value_type = String)]
    user_id: UserName,
    size_gb: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When a job last began or ended to use it.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used: Option<Timestamp>,
    /// A job has it, or has not quite given it back.
    in_use: bool,
    /// That job.
    #[schema(value_type = Option<String>, format = Uuid)]
    reservation_id: Option<WorkloadId>,
    /// A snapshot of it is being made, or is about to be.
    is_backing_up: bool,
    /// It is marked for deletion, and can be had back.
    is_deleted: bool,
    /// Its complete snapshots.
    snapshot_count: u32,
}

impl From<domain::Disk> for Disk {
    fn from(disk: domain::Disk) -> Self {
        Self {
            user_id: disk.owner.clone(),
            size_gb: disk.size_gb,
            created_at: disk.created_at,
            last_used: disk.last_used,
            in_use: disk.in_use(),
            reservation_id: disk.holder,
            is_backing_up: disk.is_backing_up(),
            is_deleted: disk.is_deleted(),
            snapshot_count: disk.complete,
            disk_name: disk.name,
        }
    }
}
