//! `DELETE /v1/disks/{disk_name}`

use axum::{Json, extract::State};
use domain::disk::Action;
use web::{Command, DetailRefusals, Error, Id, Member, Nothing, Plane};

use crate::{
    act::{Requested, act},
    name::Named,
};

/// Delete a persistent disk: it is kept for 30 days, in which it can be had back.
#[utoipa::path(delete, path = "/v1/disks/{disk_name}", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "It is marked for deletion.", body = Requested), DetailRefusals))]
pub(crate) async fn delete_disk(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
    command: Command<Nothing>,
) -> Result<Json<Requested>, Error> {
    let done = act(&plane, &member, &name, &command, |disk, now| {
        let operation = plane.ports.ids.operation(now);
        let change = disk.delete(operation, now)?;
        let day = change.disk.delete_on().unwrap_or_default();
        let words = format!("Disk deletion request queued successfully. Will be deleted on {day}");
        Ok((change, Requested::new((&disk.name, operation), Action::Delete, words, now)))
    });
    Ok(Json(done.await?.1))
}
