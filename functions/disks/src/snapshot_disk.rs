//! `POST /v1/disks/{disk_name}/snapshots`

use axum::{Json, extract::State};
use domain::{
    Disk, Timestamp,
    disk::{Action, DiskChange},
};
use store::workloads::{DiskWrite, Write};
use web::{Command, DetailRefusals, Error, Id, Member, Nothing, Plane};

use crate::{
    act::{Requested, act, read, resource},
    name::Named,
};

/// Take a snapshot now. While a job has the disk, its file system is held still for a moment; what an idle disk holds is in its newest
/// snapshot already, and nothing has to be done.
#[utoipa::path(post, path = "/v1/disks/{disk_name}/snapshots", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "It is being taken.", body = Requested), DetailRefusals))]
pub(crate) async fn snapshot_disk(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
    command: Command<Nothing>,
) -> Result<Json<Requested>, Error> {
    let disk = read(&plane, &member, &name).await?;
    let holder = match disk.holder {
        Some(holder) => plane.store.workload(&disk.tenant, holder).await?,
        None => None,
    };
    let now = plane.ports.clock.now();
    let frozen = holder.and_then(|holder| holder.freeze(disk.taken + 1, now));
    let Some(frozen) = frozen else {
        let done = act(&plane, &member, &name, &command, |disk, now| taken(&plane, disk, false, now));
        return Ok(Json(done.await?.1));
    };
    let (change, answer) = taken(&plane, &disk, true, now)?;
    let claim = command.claim(resource(&disk.name), &answer, now)?;
    let tended = change.disk.clone();
    // Both are told in one transaction: the agent, that it is to hold still, and the disk, that a snapshot is wanted.
    let message = vec![frozen.workload.reconcile()];
    let frozen = frozen.leaving(plane.ports.ids.message(now), message);
    plane.commit(&Write { disk: Some(DiskWrite::of(change)), claim, ..Write::of(frozen) }).await?;
    plane.tend(&tended).await;
    Ok(Json(answer))
}

fn taken(plane: &Plane, disk: &Disk, at_work: bool, now: Timestamp) -> Result<(DiskChange, Requested), Error> {
    let operation = plane.ports.ids.operation(now);
    let words = "Snapshot request queued successfully";
    let answer = Requested::new((&disk.name, operation), Action::Snapshot, words, now);
    Ok((disk.snapshot_now(operation, at_work, now)?, answer))
}
