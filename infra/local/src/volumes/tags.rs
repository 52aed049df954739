//! What lies beside a disk's files: whose they are, and what they were made of.

use std::{fs, io, path::Path};

use cloud::{Attempt, DiskRef};
use domain::{DiskId, OperationId, PoolId, SnapshotId, TenantId, UserName, VolumeId, WorkloadId, names::DiskName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{MakeError, way::Way};
use crate::data;

/// The disk that something belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    tenant: TenantId,
    owner: UserName,
    disk: DiskId,
}

impl From<&DiskRef> for Of {
    fn from(of: &DiskRef) -> Self {
        let DiskRef { tenant, owner, disk } = of.clone();
        Self { tenant, owner, disk }
    }
}

impl From<Of> for DiskRef {
    fn from(of: Of) -> Self {
        let Of { tenant, owner, disk } = of;
        Self { tenant, owner, disk }
    }
}

/// Beside a volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VolumeTags {
    pub(super) of: Of,
    pub(super) uses: u64,
    pub(super) name: DiskName,
    pub(super) size_gb: u32,
    pub(super) from: Option<SnapshotId>,
    /// Whom it was given to.
    pub(super) attempt: Option<Holder>,
}

/// An attempt that may write to a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Holder {
    tenant: TenantId,
    workload: WorkloadId,
    number: u32,
    pool: PoolId,
}

impl From<&Attempt> for Holder {
    fn from(attempt: &Attempt) -> Self {
        let Attempt { tenant, workload, number, pool } = attempt.clone();
        Self { tenant, workload, number, pool }
    }
}

impl From<Holder> for Attempt {
    fn from(holder: Holder) -> Self {
        let Holder { tenant, workload, number, pool } = holder;
        Self { tenant, workload, number, pool }
    }
}

/// Beside a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotTags {
    pub(super) of: Of,
    pub(super) operation: OperationId,
    pub(super) name: DiskName,
    pub(super) volume: VolumeId,
    pub(super) way: Way,
    /// The hash of its manifest, where it has one.
    pub(super) manifest: Option<String>,
}

const NAME: &str = "tags.json";

/// Reads what lies in this folder; `None` when there is no such folder.
pub(super) fn read<T: DeserializeOwned>(folder: &Path) -> Result<Option<T>, MakeError> {
    let text = match fs::read(folder.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => return Ok(None),
        other => other?,
    };
    let unreadable = |error| MakeError::Refused(format!("{} cannot be read: {error}", folder.join(NAME).display()));
    serde_json::from_slice(&text).map(Some).map_err(unreadable)
}

/// Writes it, whole or not at all.
pub(super) fn write<T: Serialize>(folder: &Path, tags: &T) -> io::Result<()> {
    data::write_whole(&folder.join(NAME), &serde_json::to_vec_pretty(tags)?)
}
