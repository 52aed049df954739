//! `POST /v1/disks/{disk_name}/branches`

use axum::{Json, extract::State};
use domain::{disk::Action, names::DiskName};
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Command, DetailRefusals, Error, Id, Input, Member, Plane, disk};

use crate::{
    act::{Requested, make, read, snapshot_of},
    name::Named,
};

/// What disk, and what it begins as.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "my-experiment"}))]
pub(crate) struct NewBranch {
    /// Letters, digits, hyphens and underscores; unique among the caller's.
    #[schema(value_type = String, min_length = 1, max_length = 63)]
    name: DiskName,
    /// One of the disk's own snapshots; what the disk is made of now when left out.
    snapshot_id: Option<String>,
    /// From the snapshot's size to 10,000 GB; the disk's own when left out.
    #[schema(minimum = 10, maximum = 10000)]
    size_gb: Option<u32>,
}

impl Input for NewBranch {
    const SECRET: &'static [&'static str] = &[];
}

/// Make a new disk that begins as this one is: at once, however large it is, since the two share what neither has changed.
#[utoipa::path(post, path = "/v1/disks/{disk_name}/branches", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk to begin with."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = NewBranch,
    responses((status = 200, description = "The new disk is there.", body = Requested), DetailRefusals))]
pub(crate) async fn branch_disk(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
    command: Command<NewBranch>,
) -> Result<Json<Requested>, Error> {
    let NewBranch { name: disk_name, snapshot_id, size_gb } = &command.input;
    let origin = read(&plane, &member, &name).await?;
    let snapshot = snapshot_of(&plane, &origin, snapshot_id.as_deref()).await?;
    let now = plane.ports.clock.now();
    let size_gb = size_gb.map_or(Ok(origin.size_gb), |size| disk::checked_size("size_gb", size))?;
    let operation = plane.ports.ids.operation(now);
    let change = disk::asked(&plane, &member, disk_name, size_gb, now).branch(&origin, &snapshot, operation, now)?;
    let words = format!("Disk '{}' begins as '{}' is", disk_name.as_str(), origin.name.as_str());
    make(&plane, &command, change, Requested::new((disk_name, operation), Action::Branch, words, now)).await
}
