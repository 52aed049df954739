//! `GET /v1/disks`

use axum::{Json, extract::State};
use domain::disk::DiskState;
use serde::Serialize;
use utoipa::ToSchema;
use web::{DetailRefusals, Error, Member, Plane};

use crate::view::Disk;

/// The caller's disks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Disks {
    /// By name; those included that are marked for deletion.
    disks: Vec<Disk>,
    total: usize,
}

/// List all persistent disks for the authenticated user.
#[utoipa::path(get, path = "/v1/disks", tag = "disks", security(("user_key" = [])),
    responses((status = 200, description = "The caller's own disks.", body = Disks), DetailRefusals))]
pub(crate) async fn list_disks(State(plane): State<Plane>, member: Member) -> Result<Json<Disks>, Error> {
    let disks = plane.store.disks(&member.tenant, &member.user).await?.into_iter();
    let disks = disks.filter(|disk| disk.state != DiskState::Deleted).map(Disk::from).collect::<Vec<_>>();
    Ok(Json(Disks { total: disks.len(), disks }))
}
