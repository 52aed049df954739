//! The disk that a job is to have.

use domain::{
    disk::{DiskRefusal, DiskState},
    job::DiskUse,
    names::DiskName,
};
use serde_json::json;
use store::workloads::DiskWrite;
use web::{Error, Member, Plane, disk};

/// A disk that a job needs.
pub(crate) struct Needed {
    /// Which.
    pub(crate) of: DiskUse,
    /// It is made together with the job.
    pub(crate) made: Option<DiskWrite>,
}

/// Finds the disk that a submit names, or makes it ready to be made. One that somebody else is using is waited for; a name that is
/// not known is never taken for a wish to work without a disk (invariant I15).
pub(crate) async fn needed(
    plane: &Plane,
    member: &Member,
    name: Option<&DiskName>,
    size_gb: Option<u32>,
) -> Result<Option<Needed>, Error> {
    let size_gb = size_gb.map(|size| disk::checked_size("disk_size_gb", size)).transpose()?;
    let Some(name) = name else {
        let words = "A size is given for a disk: name it with disk_name";
        return size_gb.map_or(Ok(None), |size| Err(Error::field("disk_size_gb", words, Some(json!(size)))));
    };
    match plane.store.disk_named(&member.tenant, &member.user, name).await? {
        Some(found) if found.state != DiskState::Deleted => {
            if let Some(at) = found.delete_at {
                return Err(DiskRefusal::Deleted { name: name.as_str().to_owned(), at }.into());
            }
            if let Some(small) = size_gb.filter(|size| *size < found.size_gb) {
                let words = format!("Disk '{}' has {} GB: it cannot be made smaller", name.as_str(), found.size_gb);
                return Err(Error::field("disk_size_gb", words, Some(json!(small))));
            }
            let of = DiskUse { id: found.id, name: name.clone(), size_gb: size_gb.unwrap_or(0) };
            Ok(Some(Needed { of, made: None }))
        }
        _ => made(plane, member, name, size_gb).map(Some),
    }
}

fn made(plane: &Plane, member: &Member, name: &DiskName, size_gb: Option<u32>) -> Result<Needed, Error> {
    let Some(size_gb) = size_gb else {
        let words = "There is no such disk: give disk_size_gb to have it made";
        return Err(Error::field("disk_name", words, Some(json!(name.as_str()))));
    };
    let now = plane.ports.clock.now();
    let asked = disk::asked(plane, member, name, size_gb, now);
    let of = DiskUse { id: asked.id, name: name.clone(), size_gb };
    let change = asked.create_at_once(now);
    Ok(Needed { of, made: Some(DiskWrite { change, most: Some(plane.settings.policy.disks_per_user) }) })
}
