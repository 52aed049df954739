//! `POST /v1/disks`

use axum::{Json, extract::State};
use domain::{disk::Asked, names::DiskName};
use serde::Deserialize;
use store::StoreError;
use utoipa::ToSchema;
use web::{Command, DetailRefusals, Error, Input, Member, Plane};

use crate::act::{Requested, checked_size};

/// What disk.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"disk_name": "my-training-data", "size_gb": 500}))]
pub(crate) struct NewDisk {
    /// Letters, digits, hyphens and underscores; unique among the caller's.
    #[schema(value_type = String, min_length = 1, max_length = 63)]
    disk_name: DiskName,
    /// From 10 to 10,000 GB.
    #[schema(minimum = 10, maximum = 10000)]
    size_gb: u32,
}

impl Input for NewDisk {
    const SECRET: &'static [&'static str] = &[];
}

/// Create a new persistent disk (queued operation).
#[utoipa::path(post, path = "/v1/disks", tag = "disks", security(("user_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = NewDisk,
    responses((status = 200, description = "It is being made; nothing that happens to us loses it.", body = Requested), DetailRefusals))]
pub(crate) async fn create_disk(
    State(plane): State<Plane>,
    member: Member,
    command: Command<NewDisk>,
) -> Result<Json<Requested>, Error> {
    let now = plane.ports.clock.now();
    let NewDisk { disk_name, size_gb } = &command.input;
    let asked = Asked {
        id: plane.ports.ids.disk(now),
        tenant: member.tenant.clone(),
        owner: member.user.clone(),
        name: disk_name.clone(),
        size_gb: checked_size(*size_gb)?,
    };
    let operation_id = plane.ports.ids.operation(now);
    let change = asked.create(operation_id, now);
    let answer = Requested {
        operation_id,
        disk_name: disk_name.clone(),
        action: "create",
        message: "Disk creation request queued successfully".to_owned(),
        requested_at: now,
    };
    let stored = serde_json::to_string(&answer).map_err(|error| StoreError::Broken(error.to_string()))?;
    let claim = command.claim(format!("disk '{}'", disk_name.as_str()), Some(stored), now);
    plane.store.write_disk(&change, claim.as_ref(), Some(plane.settings.policy.disks_per_user)).await?;
    plane.tend(&change.disk).await;
    Ok(Json(answer))
}
