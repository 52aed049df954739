//! `POST /v1/disks/{disk_name}/undelete`

use axum::{Json, extract::State};
use domain::disk::Action;
use web::{Command, DetailRefusals, Error, Id, Member, Nothing, Plane};

use crate::{
    act::{Requested, act},
    name::Named,
};

/// Have a disk back that is marked for deletion.
#[utoipa::path(post, path = "/v1/disks/{disk_name}/undelete", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "It is available again.", body = Requested), DetailRefusals))]
pub(crate) async fn undelete_disk(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
    command: Command<Nothing>,
) -> Result<Json<Requested>, Error> {
    let done = act(&plane, &member, &name, &command, |disk, now| {
        let operation = plane.ports.ids.operation(now);
        let words = "Disk is not marked for deletion any more";
        let answer = Requested::new((&disk.name, operation), Action::Undelete, words, now);
        Ok((disk.undelete(operation, now)?, answer))
    });
    Ok(Json(done.await?.1))
}
