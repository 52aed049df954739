//! The step that brings a workload's disk to it. Its undo is that the disk is given back when the workload ends ([`crate::wind_down`]).

use cloud::{Attachment, Attempt, DiskRef, VolumeError, VolumeOrder};
use domain::{
    Disk, TenantId, VolumeId, Workload, WorkloadId,
    agent::{Device, Mount},
    lifecycle::Stage,
};
use serde_json::{Value, json};
use store::{Plane, WhichDisk, workloads::Write};

use crate::{StepError, present};

/// Makes the volume of a workload's disk and fixes it to its machine. The answer says whether it is there, or has to be waited for.
pub(crate) async fn attach(plane: &Plane, tenant: &TenantId, id: WorkloadId) -> Result<Value, StepError> {
    let workload = present(plane, tenant, id).await?;
    if matches!(workload.state.stage(), Stage::Ending | Stage::Over) {
        return Err(StepError::ending());
    }
    if workload.spec.disk.is_none() || workload.disk.is_some() {
        return Ok(json!({"ready": true}));
    }
    let disk = held(plane, &workload).await?;
    let Some(volume) = volume(plane, &workload, &disk).await? else { return Ok(json!({"ready": false})) };
    match plane.ports.volumes.attach(&volume, &Attempt::of(&workload)).await {
        Ok(Attachment::Coming) => Ok(json!({"ready": false})),
        Ok(Attachment::There(device)) => record(plane, &workload, mount(&disk, volume, device)).await,
        Err(error) => Err(refused(error)),
    }
}

/// The disk, which the placement gave to this workload.
async fn held(plane: &Plane, workload: &Workload) -> Result<Disk, StepError> {
    let gone = || StepError::new("Disk.Gone", "its disk is not there");
    let id = workload.spec.disk.as_ref().ok_or_else(gone)?.id;
    let disk = plane.store.disk(&workload.tenant, &workload.owner, id).await?.ok_or_else(gone)?;
    if disk.holder == Some(workload.id) { Ok(disk) } else { Err(gone()) }
}

/// The volume of the disk's present use. It is recorded before it is fixed to anything, so that whatever is written to it is known.
async fn volume(plane: &Plane, workload: &Workload, disk: &Disk) -> Result<Option<VolumeId>, StepError> {
    if let Some(volume) = &disk.volume {
        return Ok(Some(volume.clone()));
    }
    let order = VolumeOrder {
        of: DiskRef { tenant: disk.tenant.clone(), owner: disk.owner.clone(), disk: disk.id },
        uses: disk.uses,
        name: disk.name.clone(),
        size_gb: disk.size_gb,
        from: disk.head.as_ref().map(|head| head.snapshot.clone()),
        attempt: Attempt::of(workload),
    };
    let Some(volume) = plane.ports.volumes.create(&order).await.map_err(refused)? else { return Ok(None) };
    let (made, uses) = (&volume, disk.uses);
    let recorded = plane.decide_disk((&disk.tenant, &disk.owner, WhichDisk::Id(disk.id)), |disk, _| {
        let disk = disk.ok_or_else(StepError::ending)?;
        if disk.volume.as_ref() == Some(made) {
            return Ok((None, ()));
        }
        // It was given back meanwhile. The volume holds nothing, and the sweep ends it.
        let change = disk.volume_made(workload.id, uses, made.clone()).map_err(|_late| StepError::ending())?;
        Ok((Some((change, None)), ()))
    });
    let recorded: Result<(), StepError> = recorded.await;
    recorded.map(|()| Some(volume))
}

/// What the agent is told. A file system is made on the volume of a disk that was never written to, and on no other.
fn mount(disk: &Disk, volume: VolumeId, device: Device) -> Mount {
    Mount { volume, device, blank: disk.head.is_none(), next: disk.taken + 1, freeze: None }
}

async fn record(plane: &Plane, workload: &Workload, mount: Mount) -> Result<Value, StepError> {
    let mount = &mount;
    plane
        .decide((&workload.tenant, workload.id), |workload, now| async move {
            let workload = workload.ok_or_else(StepError::gone)?;
            if workload.disk.is_some() {
                return Ok((None, json!({"ready": true})));
            }
            let change = workload.attached(mount.clone(), now).map_err(|_refused| StepError::ending())?;
            Ok((Some(Write::of(change)), json!({"ready": true})))
        })
        .await
}

/// A disk that cannot be restored is a failed launch, and never an empty disk (invariant I15).
fn refused(error: VolumeError) -> StepError {
    match error {
        VolumeError::Refused(why) => StepError::new("Volume.Refused", format!("its disk cannot be had: {why}")),
        VolumeError::Port(error) => error.into(),
    }
}
