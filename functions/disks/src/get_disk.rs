//! `GET /v1/disks/{disk_name}`

use axum::{Json, extract::State};
use web::{DetailRefusals, Error, Id, Member, Plane};

use crate::{act::read, name::Named, view::Disk};

/// Get detailed information about a specific disk.
#[utoipa::path(get, path = "/v1/disks/{disk_name}", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk.")),
    responses((status = 200, description = "The disk as it is now.", body = Disk), DetailRefusals))]
pub(crate) async fn get_disk(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
) -> Result<Json<Disk>, Error> {
    Ok(Json(read(&plane, &member, &name).await?.into()))
}
