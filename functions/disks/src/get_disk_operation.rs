//! `GET /v1/disks/{disk_name}/operations/{operation_id}`

use axum::{Json, extract::State};
use domain::{OperationId, Timestamp, disk::Status, names::DiskName};
use serde::Serialize;
use utoipa::ToSchema;
use web::{DetailRefusals, Error, Id, Identified, Member, Plane};

use crate::{
    act::read,
    name::{Named, OperationOf},
};

/// How far something is that was asked of a disk.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "operation_id": "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11",
    "disk_name": "my-training-data",
    "status": "completed",
    "error": null,
    "is_deleted": false,
    "delete_date": null,
    "created_at": "2026-01-20T18:30:00Z",
    "last_updated": "2026-01-20T18:35:00Z",
    "completed": true
}))]
pub(crate) struct OperationStatus {
    #[schema(value_type = String, format = Uuid)]
    operation_id: OperationId,
    #[schema(value_type = String)]
    disk_name: DiskName,
    /// `queued`, `running`, `completed` or `failed`.
    status: &'static str,
    /// Why it failed.
    error: Option<String>,
    /// The disk is marked for deletion.
    is_deleted: bool,
    /// The day on which it is gone for good.
    delete_date: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_updated: Timestamp,
    /// It is over, well or badly.
    completed: bool,
}

/// Poll the status of a disk operation.
#[utoipa::path(get, path = "/v1/disks/{disk_name}/operations/{operation_id}", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk."), ("operation_id" = String, Path, format = Uuid, description = "The operation.")),
    responses((status = 200, description = "The operation as it is now.", body = OperationStatus), DetailRefusals))]
pub(crate) async fn get_disk_operation(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
    Id(OperationOf(operation)): Id<OperationOf>,
) -> Result<Json<OperationStatus>, Error> {
    let disk = read(&plane, &member, &name).await?;
    let found = plane.store.disk_operation(&disk.tenant, disk.id, operation).await?;
    let found = found.ok_or(Error::NotFound(OperationOf::UNKNOWN))?;
    Ok(Json(OperationStatus {
        operation_id: found.id,
        status: found.status.name(),
        error: found.error,
        is_deleted: disk.is_deleted(),
        delete_date: disk.delete_on(),
        created_at: found.created_at,
        last_updated: found.updated_at,
        completed: matches!(found.status, Status::Completed | Status::Failed),
        disk_name: disk.name,
    }))
}
