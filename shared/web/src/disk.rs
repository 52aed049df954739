//! What surfaces have in common that let members ask for disks.

use domain::{Timestamp, disk::Asked, names::DiskName, policy::DISK_GB};
use serde_json::json;
use store::Plane;

use crate::{Error, Member};

/// A disk of the member's, as it is asked for.
#[must_use]
pub fn asked(plane: &Plane, member: &Member, name: &DiskName, size_gb: u32, now: Timestamp) -> Asked {
    Asked {
        id: plane.ports.ids.disk(now),
        tenant: member.tenant.clone(),
        owner: member.user.clone(),
        name: name.clone(),
        size_gb,
    }
}

/// Checks the size that stands in the body's field `field`, in GB.
///
/// # Errors
/// When no disk has that size.
pub fn checked_size(field: &str, size_gb: u32) -> Result<u32, Error> {
    if DISK_GB.contains(&size_gb) {
        return Ok(size_gb);
    }
    let words = format!("A disk has from {} to {} GB", DISK_GB.start(), DISK_GB.end());
    Err(Error::field(field, words, Some(json!(size_gb))))
}
