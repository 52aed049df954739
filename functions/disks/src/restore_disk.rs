//! `POST /v1/disks/{disk_name}/restore`

use axum::{Json, extract::State};
use domain::disk::Action;
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Command, DetailRefusals, Error, Id, Input, Member, Plane};

use crate::{
    act::{Requested, act, read, snapshot_of},
    name::Named,
};

/// Which snapshot.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"snapshot_id": "snap-1234567890abcdef"}))]
pub(crate) struct Earlier {
    /// One of the disk's own.
    snapshot_id: String,
}

impl Input for Earlier {
    const SECRET: &'static [&'static str] = &[];
}

/// Make an earlier snapshot what the disk is from now on. The later ones stay, and can be had back in the same way.
#[utoipa::path(post, path = "/v1/disks/{disk_name}/restore", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = Earlier,
    responses((status = 200, description = "The next job begins with it.", body = Requested), DetailRefusals))]
pub(crate) async fn restore_disk(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
    command: Command<Earlier>,
) -> Result<Json<Requested>, Error> {
    let wanted = command.input.snapshot_id.as_str();
    let known = read(&plane, &member, &name).await?;
    let snapshot = snapshot_of(&plane, &known, Some(wanted)).await?;
    let done = act(&plane, &member, &name, &command, |disk, now| {
        // Snapshots are let go only with a change of the disk: as long as there was none, this one is there.
        if (disk.id, disk.version) != (known.id, known.version) {
            return Err(store::StoreError::Moved.into());
        }
        let operation = plane.ports.ids.operation(now);
        let words = format!("Disk restored from snapshot {}", snapshot.id);
        let answer = Requested::new((&disk.name, operation), Action::Restore, words, now);
        Ok((disk.restore(&snapshot, operation, now)?, answer))
    });
    Ok(Json(done.await?.1))
}
