//! What owners do with disks, as the API does it.

use domain::{
    Disk, DiskId, OperationId, TenantId, Timestamp, UserName, Workload, WorkloadId,
    disk::{self, DiskChange, DiskRefusal, DiskState},
    gpu::instance_type,
    job::{DiskUse, Hours, Spec},
    lifecycle::State,
    names::{DiskName, ImageName, JobName},
    workload::Submission,
};
use store::{
    Plane, StoreError, WhichDisk,
    workloads::{DiskWrite, Write},
};

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// A new disk.
    Create(&'static str),
    /// A job with the disk of this name, which is made where there is none; for so many tenths of an hour.
    Submit {
        disk: &'static str,
        tenths: u32,
    },
    Rename(DiskId, &'static str),
    Delete(DiskId),
    Undelete(DiskId),
    Snapshot(DiskId),
    /// The oldest of its complete snapshots becomes what it is.
    Restore(DiskId),
    /// A new disk of this name that begins as the newest of its complete snapshots.
    Branch(DiskId, &'static str),
}

impl Ask {
    /// What it is called.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Submit { .. } => "submit",
            Self::Rename(..) => "rename",
            Self::Delete(_) => "delete",
            Self::Undelete(_) => "undelete",
            Self::Snapshot(_) => "snapshot",
            Self::Restore(_) => "restore",
            Self::Branch(..) => "branch",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// It is done, or is being done, as this operation.
    Done(Option<OperationId>),
    /// The job was taken.
    Taken(WorkloadId),
    /// It cannot be done.
    Refused(String),
    /// Nobody knows.
    Failed(String),
}

/// What somebody asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: TenantId,
    pub(crate) owner: UserName,
    pub(crate) ask: Ask,
    pub(crate) asked_at: Timestamp,
    /// `Some(None)` where whoever was asked died.
    pub(crate) said: Option<Option<Said>>,
}

/// Why something was not done.
enum Why {
    Refused(String),
    Failed(String),
}

impl From<StoreError> for Why {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NameTaken
            | StoreError::TooManyDisks
            | StoreError::TooManyCredentials
            | StoreError::TooManyJobs => Self::Refused(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<DiskRefusal> for Why {
    fn from(refusal: DiskRefusal) -> Self {
        Self::Refused(refusal.to_string())
    }
}

fn gone() -> Why {
    Why::Refused("there is no such disk".to_owned())
}

fn named(name: &str) -> DiskName {
    DiskName::parse(name).expect("a disk's name")
}

/// Does what is asked.
pub(crate) async fn carry_out(plane: Plane, (tenant, owner): (TenantId, UserName), ask: Ask) -> Said {
    let of = (&tenant, &owner);
    let done = match ask {
        Ask::Create(name) => create(&plane, of, name).await.map(Said::Done),
        Ask::Submit { disk, tenths } => submit(&plane, of, (disk, tenths)).await.map(Said::Taken),
        Ask::Rename(id, name) => {
            change(&plane, of, id, |disk, _, now| disk.rename(named(name), now)).await.map(|()| Said::Done(None))
        }
        Ask::Delete(id) => told(&plane, of, id, Disk::delete).await,
        Ask::Undelete(id) => told(&plane, of, id, Disk::undelete).await,
        Ask::Snapshot(id) => snapshot(&plane, of, id).await.map(Said::Done),
        Ask::Restore(id) => restore(&plane, of, id).await.map(Said::Done),
        Ask::Branch(id, name) => branch(&plane, of, id, name).await.map(Said::Done),
    };
    match done {
        Ok(said) => said,
        Err(Why::Refused(why)) => Said::Refused(why),
        Err(Why::Failed(why)) => Said::Failed(why),
    }
}

type Of<'a> = (&'a TenantId, &'a UserName);

fn new_disk(plane: &Plane, (tenant, owner): Of<'_>, (name, size_gb): (DiskName, u32), now: Timestamp) -> disk::Asked {
    disk::Asked { id: plane.ports.ids.disk(now), tenant: tenant.clone(), owner: owner.clone(), name, size_gb }
}

async fn create(plane: &Plane, of: Of<'_>, name: &str) -> Result<Option<OperationId>, Why> {
    let now = plane.ports.clock.now();
    let operation = plane.ports.ids.operation(now);
    let change = new_disk(plane, of, (named(name), 10), now).create(operation, now);
    plane.store.write_disk(&change, None, Some(plane.settings.policy.disks_per_user)).await?;
    plane.tend(&change.disk).await;
    Ok(Some(operation))
}

/// Writes what is decided about a disk, and tells its worker.
async fn change(
    plane: &Plane,
    (tenant, owner): Of<'_>,
    id: DiskId,
    decide: impl Fn(&Disk, OperationId, Timestamp) -> Result<DiskChange, DiskRefusal>,
) -> Result<(), Why> {
    let decide = &decide;
    let decided = plane.decide_disk((tenant, owner, WhichDisk::Id(id)), |disk, now| {
        let change = decide(&disk.ok_or_else(gone)?, plane.ports.ids.operation(now), now)?;
        let disk = change.disk.clone();
        Ok::<_, Why>((Some((change, None)), disk))
    });
    let disk = decided.await?;
    plane.tend(&disk).await;
    Ok(())
}

/// As [`change`], of which the operation is told.
async fn told(
    plane: &Plane,
    of: Of<'_>,
    id: DiskId,
    decide: fn(&Disk, OperationId, Timestamp) -> Result<DiskChange, DiskRefusal>,
) -> Result<Said, Why> {
    let operation = plane.ports.ids.operation(plane.ports.clock.now());
    change(plane, of, id, |disk, _, now| decide(disk, operation, now)).await?;
    Ok(Said::Done(Some(operation)))
}

/// A snapshot now. Where a job has the disk, its agent is told to hold still.
async fn snapshot(plane: &Plane, (tenant, owner): Of<'_>, id: DiskId) -> Result<Option<OperationId>, Why> {
    let now = plane.ports.clock.now();
    let operation = plane.ports.ids.operation(now);
    let disk = plane.store.disk(tenant, owner, id).await?.ok_or_else(gone)?;
    let holder = match (disk.holder, disk.state) {
        (Some(holder), DiskState::Attached) => plane.store.workload(tenant, holder).await?,
        _ => None,
    };
    let freeze = holder.and_then(|holder| holder.freeze(disk.taken + 1, now));
    let change = disk.snapshot_now(operation, freeze.is_some(), now)?;
    match freeze {
        Some(freeze) => {
            let write = Write { disk: Some(DiskWrite::of(change.clone())), ..Write::of(freeze) };
            plane.commit(&write).await?;
        }
        None => plane.store.write_disk(&change, None, None).await?,
    }
    plane.tend(&change.disk).await;
    Ok(Some(operation))
}

async fn restore(plane: &Plane, of: Of<'_>, id: DiskId) -> Result<Option<OperationId>, Why> {
    let snapshots = plane.store.disk_snapshots(of.0, id).await?;
    let oldest = snapshots.iter().rev().find(|one| one.completed_at.is_some());
    let oldest = oldest.ok_or_else(|| Why::Refused("there is no complete snapshot".to_owned()))?;
    let operation = plane.ports.ids.operation(plane.ports.clock.now());
    change(plane, of, id, |disk, _, now| disk.restore(oldest, operation, now)).await?;
    Ok(Some(operation))
}

async fn branch(plane: &Plane, of: Of<'_>, id: DiskId, name: &str) -> Result<Option<OperationId>, Why> {
    let now = plane.ports.clock.now();
    let origin = plane.store.disk(of.0, of.1, id).await?.ok_or_else(gone)?;
    let snapshots = plane.store.disk_snapshots(of.0, id).await?;
    let newest = snapshots.iter().find(|one| one.completed_at.is_some());
    let newest = newest.ok_or_else(|| Why::Refused("there is no complete snapshot".to_owned()))?;
    let operation = plane.ports.ids.operation(now);
    let asked = new_disk(plane, of, (named(name), newest.size_gb), now);
    let change = asked.branch(&origin, newest, operation, now)?;
    plane.store.write_disk(&change, None, Some(plane.settings.policy.disks_per_user)).await?;
    Ok(Some(operation))
}

async fn submit(plane: &Plane, of: Of<'_>, (name, tenths): (&str, u32)) -> Result<WorkloadId, Why> {
    let now = plane.ports.clock.now();
    let name = named(name);
    let found = plane.store.disk_named(of.0, of.1, &name).await?;
    let (id, made) = match found {
        Some(disk) if disk.is_deleted() => return Err(Why::Refused("it is marked for deletion".to_owned())),
        Some(disk) => (disk.id, None),
        None => {
            let change = new_disk(plane, of, (name.clone(), 10), now).create_at_once(now);
            let most = Some(plane.settings.policy.disks_per_user);
            (change.disk.id, Some(DiskWrite { change, most }))
        }
    };
    let workload = plane.ports.ids.workload(now);
    let kind = instance_type("p5.48xlarge").expect("a machine type");
    let job = JobName::parse(&format!("{}-{}", name.as_str(), workload.short())).expect("a job's name");
    let spec = Spec {
        image: ImageName::parse("image:1").expect("an image"),
        instance_type: kind.name.to_owned(),
        gpu: kind.gpu,
        gpu_count: 1,
        pool: domain::PoolId::new("local/h100"),
        name: Some(job),
        github_user: None,
        priority: 50,
        gpu_hour: domain::price::Price::default(),
        end_on_exit: false,
        disk: Some(DiskUse { id, name, size_gb: 0 }),
        serve: None,
    };
    let duration = Some(Hours::from_number(f64::from(tenths) / 10.0).expect("a duration"));
    let (tenant, owner) = (of.0.clone(), of.1.clone());
    let submission = Submission { id: workload, tenant, owner, spec, duration, sealed_jupyter_token: None };
    let change = Workload::submit(submission, now);
    let doorbell = change.workload.doorbell();
    let change = change.sending(plane.ports.ids.message(now), vec![doorbell]);
    let most_live = Some(plane.settings.policy.jobs_per_user);
    plane.commit(&Write { most_live, disk: made, ..Write::of(change) }).await?;
    Ok(workload)
}

/// Whether a job has its disk, or is about to.
pub(crate) fn goes_on(row: &Workload) -> bool {
    row.state != State::Ended
}
