//! Snapshots of a disk, and how long they are kept.

use serde::{Deserialize, Serialize};

use super::Head;
use crate::{DiskId, OperationId, SnapshotId, Timestamp, VolumeId, policy};

/// A snapshot that we know by its id. Whatever else there is in the account, with whatever tags, is nobody's business (trap T18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What the cloud calls it. Several disks may have the same one: a branch begins with its origin's.
    pub id: SnapshotId,
    /// Its number among the disk's: the newest has the highest.
    pub number: u64,
    /// The operation that made it.
    pub operation: OperationId,
    /// The volume that it was made of. A copy that somebody else makes of it is of another, whatever its tags say.
    pub volume: VolumeId,
    /// The disk that it was made of and its number there: under these its agent listed what it holds. A branch's first snapshot has those
    /// of the disk that it began with.
    pub listed_as: (DiskId, u64),
    /// The size of the volume that it was made of, in GB.
    pub size_gb: u32,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it was seen to be complete. Until then nothing is restored from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

/// Those of a disk's snapshots that need not be kept any more: complete, a week old, neither among the newest three complete ones nor what
/// the disk is made of (invariant I13).
#[must_use]
pub fn expired(snapshots: &[Snapshot], head: Option<&Head>, now: Timestamp) -> Vec<Snapshot> {
    let (kept_for, least) = policy::SNAPSHOT_RETENTION;
    let mut complete = snapshots.iter().filter(|snapshot| snapshot.completed_at.is_some()).collect::<Vec<_>>();
    complete.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.number));
    let old = |snapshot: &&&Snapshot| snapshot.completed_at.is_some_and(|at| at.plus(kept_for) <= now);
    let spare = |snapshot: &&&Snapshot| head.is_none_or(|head| head.number != snapshot.number);
    complete.iter().skip(least).filter(old).filter(spare).map(|snapshot| (*snapshot).clone()).collect()
}
