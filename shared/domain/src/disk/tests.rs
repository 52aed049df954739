//! Lives of disks, step by step.

use super::*;
use crate::{Refusal, names::DiskName};

const NOW: Timestamp = Timestamp::from_seconds(1_768_933_800);
const A_DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

fn operation(number: u8) -> OperationId {
    OperationId::new(NOW, &[number; 32])
}

fn workload(number: u8) -> WorkloadId {
    WorkloadId::new(NOW, &[number; 32])
}

fn asked(name: &str, size_gb: u32) -> Asked {
    Asked {
        id: DiskId::new(NOW, &[1; 32]),
        tenant: TenantId::new("t"),
        owner: UserName::new("ann"),
        name: DiskName::parse(name).unwrap(),
        size_gb,
    }
}

fn available() -> Disk {
    asked("data", 100).create(operation(1), NOW).disk.made(NOW).unwrap().disk
}

/// A disk whose use by job 1 wrote to a volume.
fn used(disk: &Disk) -> Disk {
    let held = disk.hold(workload(1), 0, NOW).unwrap().disk;
    held.volume_made(workload(1), held.uses, VolumeId::new("vol-1")).unwrap().disk
}

/// A disk after a use that ended with a completed snapshot of this name, and what was written last.
fn backed_up(disk: &Disk, snapshot: &str, at: Timestamp) -> DiskChange {
    let over = used(disk).release(workload(1), at).unwrap().disk;
    let backing_up = over.back_up(operation(9), at).unwrap().disk;
    backing_up.snapshot_begun(SnapshotId::new(snapshot), at).unwrap().disk.snapshot_completed(at).unwrap()
}

#[test]
fn a_use_ends_with_a_completed_snapshot() {
    let change = backed_up(&available(), "snap-1", NOW);
    let disk = &change.disk;
    assert_eq!(
        (disk.state, disk.complete, disk.in_use(), disk.is_backing_up()),
        (DiskState::Available, 1, false, false)
    );
    assert_eq!(disk.head, Some(Head { snapshot: SnapshotId::new("snap-1"), number: 1 }));
    assert_eq!(
        (&disk.volume, &change.spent),
        (&None, &Some(VolumeId::new("vol-1"))),
        "it is known until the snapshot is complete"
    );
    assert_eq!(change.snapshots[0].completed_at, Some(NOW));
    assert_eq!(change.operations[0].status, Status::Completed);
}

#[test]
fn a_volume_is_kept_until_its_snapshot_is_complete() {
    let over = used(&available()).release(workload(1), NOW).unwrap().disk;
    assert!(over.in_use() && over.is_backing_up() && over.unused(NOW).is_err(), "something may be written on it");
    let failed = over.back_up(operation(2), NOW).unwrap().disk.snapshot_failed("internal error", NOW).unwrap();
    assert_eq!((failed.disk.state, failed.disk.volume.is_some()), (DiskState::Detaching, true));
    assert_eq!(failed.operations[0].error.as_deref(), Some("internal error"));
    assert!(failed.disk.hold(workload(2), 0, NOW).is_err());
    let again = failed.disk.back_up(operation(3), NOW).unwrap().disk;
    assert_eq!(again.pending.as_ref().map(|pending| pending.number), Some(2));
}

#[test]
fn what_was_never_attached_is_given_back_at_once() {
    let held = available().hold(workload(1), 0, NOW).unwrap().disk;
    assert!(held.release(workload(2), NOW).is_err(), "it is not that job's");
    let back = held.release(workload(1), NOW).unwrap().disk.unused(NOW).unwrap().disk;
    assert_eq!((back.state, back.holder, back.uses), (DiskState::Available, None, 1));
    assert!(
        back.volume_made(workload(1), 1, VolumeId::new("late")).is_err(),
        "a launch that was slow to die is too late"
    );
}

#[test]
fn a_snapshot_of_a_disk_in_use() {
    assert!(used(&available()).snapshot_now(operation(4), false, NOW).is_err(), "there may be no file system yet");
    let asked = used(&available()).snapshot_now(operation(4), true, NOW).unwrap().disk;
    assert!(matches!(asked.snapshot_now(operation(5), true, NOW), Err(DiskRefusal::Busy { .. })));
    let begun = asked.snapshot_begun(SnapshotId::new("snap-1"), NOW).unwrap().disk;
    assert!(begun.snapshot_begun(SnapshotId::new("snap-2"), NOW).is_err(), "one is recorded");
    // Its job ends meanwhile.
    let over = begun.release(workload(1), NOW).unwrap().disk;
    assert!(over.back_up(operation(6), NOW).is_err(), "one after the other");
    let live = over.snapshot_completed(NOW).unwrap();
    assert_eq!((live.disk.state, live.disk.volume.is_some(), live.spent), (DiskState::Detaching, true, None));
    assert_eq!(live.disk.back_up(operation(6), NOW).unwrap().disk.taken, 2);
    assert!(matches!(available().snapshot_now(operation(7), true, NOW), Err(DiskRefusal::Empty(_))));
    let kept = backed_up(&available(), "snap-1", NOW).disk.snapshot_now(operation(8), true, NOW).unwrap();
    assert_eq!(kept.operations[0].status, Status::Completed, "nothing was written since the last one");
}

#[test]
fn deleted_and_had_back_within_thirty_days() {
    let marked = available().delete(operation(2), NOW).unwrap().disk;
    let at = NOW.plus(A_DAY * 30);
    assert_eq!((marked.delete_at, marked.is_deleted()), (Some(at), true));
    let refusal = DiskRefusal::Deleted { name: "data".to_owned(), at };
    assert_eq!(marked.delete(operation(3), NOW).unwrap_err(), refusal);
    assert_eq!(refusal.to_string(), "Disk 'data' is marked for deletion on 2026-02-19; undelete it first");
    assert!(marked.purge(at.minus(A_DAY)).is_err() && marked.undelete(operation(3), at).is_err());
    assert_eq!(marked.undelete(operation(3), at.minus(A_DAY)).unwrap().disk.state, DiskState::Available);
    let gone = marked.deleted(NOW).unwrap().disk.purge(at).unwrap().disk;
    assert!(gone.undelete(operation(3), at.minus(A_DAY)).is_err(), "its snapshots are going");
    let early = asked("data", 10).create(operation(1), NOW).disk.delete(operation(2), NOW).unwrap();
    assert_eq!(early.operations.iter().map(|one| one.status).collect::<Vec<_>>(), [Status::Completed, Status::Queued]);
}

#[test]
fn a_disk_in_use_is_nobody_elses() {
    let in_use = used(&available());
    let name = DiskName::parse("other").unwrap();
    let refusals = [
        in_use.rename(name.clone(), NOW).unwrap_err(),
        in_use.delete(operation(2), NOW).unwrap_err(),
        backed_up(&available(), "snap-1", NOW)
            .snapshots
            .first()
            .map(|snapshot| in_use.restore(snapshot, operation(2), NOW).unwrap_err())
            .unwrap(),
    ];
    for refusal in refusals {
        assert_eq!(refusal, DiskRefusal::InUse("data".to_owned()));
        assert!(Refusal::from(refusal).to_string().contains("'data' is in use"));
    }
    assert_eq!(in_use.keeps_waiting(), Some("is in use by another job"));
}

#[test]
fn a_name_and_its_tags() {
    let disk = backed_up(&available(), "snap-1", NOW).disk;
    let renamed = disk.rename(DiskName::parse("other").unwrap(), NOW).unwrap().disk;
    assert_eq!(renamed.naming.as_ref().map(|naming| (naming.total, naming.tried)), Some((1, false)));
    assert_eq!(renamed.due_at(), Some(NOW.plus(policy::SECOND_TRY)));
    let partly = renamed.tagged(0, vec!["snap-1: Access denied".to_owned()], NOW).disk;
    assert_eq!(partly.due_at(), Some(NOW.plus(policy::TAGS_AGAIN)), "it is repaired later");
    assert_eq!(partly.tagged(1, vec![], NOW).disk.due_at(), None);
    assert_eq!(available().rename(DiskName::parse("other").unwrap(), NOW).unwrap().disk.naming, None);
}

#[test]
fn a_branch_is_as_large_as_what_it_begins_with() {
    let change = backed_up(&available(), "snap-1", NOW);
    let (origin, snapshot) = (&change.disk, &change.snapshots[0]);
    let small = asked("branch", 99).branch(origin, snapshot, operation(5), NOW).unwrap_err();
    assert_eq!(small, DiskRefusal::TooSmall { name: "data".to_owned(), has: 100 });
    let branch = asked("branch", 200).branch(origin, snapshot, operation(5), NOW).unwrap();
    assert_eq!(branch.disk.head, Some(Head { snapshot: SnapshotId::new("snap-1"), number: 1 }));
    assert_eq!((branch.disk.state, branch.disk.size_gb, branch.snapshots.len()), (DiskState::Available, 200, 1));
    let pending = Snapshot { completed_at: None, ..snapshot.clone() };
    assert!(asked("branch", 200).branch(origin, &pending, operation(5), NOW).is_err());
}

#[test]
fn retention_keeps_the_newest_and_what_the_disk_is_made_of() {
    let days = |days: u32| NOW.minus(A_DAY * days);
    let snapshot = |number: u64, age: u32, complete: bool| Snapshot {
        id: SnapshotId::new(format!("snap-{number}")),
        number,
        operation: operation(1),
        volume: VolumeId::new("vol-1"),
        listed_as: (DiskId::new(NOW, &[1; 32]), number),
        size_gb: 10,
        created_at: days(age),
        completed_at: complete.then(|| days(age)),
    };
    let check = |ages: &[(u32, bool)], head: u64, gone: &[u64]| {
        let all = ages.iter().zip(1..).map(|(&(age, complete), number)| snapshot(number, age, complete));
        let head = Head { snapshot: SnapshotId::new(format!("snap-{head}")), number: head };
        let expired = expired(&all.collect::<Vec<_>>(), Some(&head), NOW);
        assert_eq!(expired.iter().map(|one| one.number).rev().collect::<Vec<_>>(), gone, "{ages:?}");
    };
    check(&[(90, true)], 1, &[]);
    check(&[(90, true), (80, true), (70, true)], 3, &[]);
    check(&[(90, true), (80, true), (70, true), (60, true)], 4, &[1]);
    check(&[(90, true), (80, true), (70, true), (60, true)], 1, &[]);
    check(&[(9, true), (6, true), (5, true), (4, true), (3, true)], 5, &[1]);
    // One that is not complete does not stand for one that is.
    check(&[(90, true), (80, true), (70, true), (60, false)], 3, &[]);
}
