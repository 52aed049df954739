//! `POST /v1/disks/{disk_name}/rename`

use std::time::Duration;

use axum::{Json, extract::State};
use domain::{Disk, disk::Naming, names::DiskName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{Command, DetailRefusals, Error, Id, Input, Member, Plane};

use crate::{act::act, name::Named};

/// How often it is looked whether the worker has tagged the snapshots: after a first pause, and then after pauses that double, six seconds
/// in all.
const LOOKS: (u32, Duration) = (6, Duration::from_millis(100));

/// What it is to be called.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"new_name": "new-disk-name"}))]
pub(crate) struct NewName {
    /// Letters, digits, hyphens and underscores; unique among the caller's.
    #[schema(value_type = String, min_length = 1, max_length = 63)]
    new_name: DiskName,
}

impl Input for NewName {
    const SECRET: &'static [&'static str] = &[];
}

/// A disk was renamed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "message": "Disk renamed from 'old-disk-name' to 'new-disk-name' (3 snapshots updated)",
    "old_name": "old-disk-name",
    "new_name": "new-disk-name",
    "snapshots_updated": 3
}))]
pub(crate) struct Renamed {
    message: String,
    #[schema(value_type = String)]
    old_name: DiskName,
    #[schema(value_type = String)]
    new_name: DiskName,
    /// How many of its snapshots carry the name already.
    snapshots_updated: u32,
    /// Why others do not, each as `snapshot: reason`; they are tried again by themselves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<String>,
}

impl Renamed {
    fn of(old_name: DiskName, new_name: DiskName, naming: Option<&Naming>) -> Self {
        let (updated, total) = naming.map_or((0, 0), |naming| (naming.updated, naming.total));
        let snapshots = match (updated, total) {
            (_, 0) => "no snapshots found".to_owned(),
            (updated, total) if updated >= total => format!("{updated} snapshots updated"),
            (updated, total) => format!("{updated}/{total} snapshots updated"),
        };
        let message = format!("Disk renamed from '{}' to '{}' ({snapshots})", old_name.as_str(), new_name.as_str());
        let errors = naming.map(|naming| naming.errors.clone()).unwrap_or_default();
        Self { message, old_name, new_name, snapshots_updated: updated, errors }
    }
}

/// Rename a persistent disk. The name changes at once and altogether; the tags of its snapshots follow.
#[utoipa::path(post, path = "/v1/disks/{disk_name}/rename", tag = "disks", security(("user_key" = [])),
    params(("disk_name" = String, Path, description = "The disk."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = NewName,
    responses((status = 200, description = "It has its new name; the message says how many snapshots have it too.", body = Renamed), DetailRefusals))]
pub(crate) async fn rename_disk(
    State(plane): State<Plane>,
    member: Member,
    Id(name): Id<Named>,
    command: Command<NewName>,
) -> Result<Json<Renamed>, Error> {
    let new_name = &command.input.new_name;
    let done = act(&plane, &member, &name, &command, |disk, now| {
        let change = disk.rename(new_name.clone(), now)?;
        // What a repetition is told: by then the tags have followed, or are on their way.
        let naming = change.disk.naming.clone().map(|naming| Naming { updated: naming.total, ..naming });
        let answer = Renamed::of(disk.name.clone(), new_name.clone(), naming.as_ref());
        Ok((change, answer))
    });
    let (disk, _) = done.await?;
    let naming = tagged(&plane, &disk).await?;
    Ok(Json(Renamed::of(name.0, new_name.clone(), naming.as_ref())))
}

/// Waits until the worker, who may speak to the cloud, has tagged the snapshots. What takes longer goes on by itself.
async fn tagged(plane: &Plane, renamed: &Disk) -> Result<Option<Naming>, Error> {
    let Some(asked) = &renamed.naming else { return Ok(None) };
    let (looks, pause) = LOOKS;
    for look in 0..looks {
        plane.ports.clock.sleep(pause.saturating_mul(1 << look)).await;
        let disk = plane.store.disk_named(&renamed.tenant, &renamed.owner, &renamed.name).await?;
        let disk = disk.filter(|disk| disk.id == renamed.id);
        let naming = disk.and_then(|disk| disk.naming).filter(|naming| naming.version == asked.version);
        match naming {
            Some(naming) if !naming.tried => {}
            // It has another name by now, and other tags with it: these were overtaken.
            naming => return Ok(naming.or_else(|| Some(asked.clone()))),
        }
    }
    Ok(Some(asked.clone()))
}
