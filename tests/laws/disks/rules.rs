//! The laws about disks that hold after every step.

use std::time::Duration;

use cloud::sim::{Snapshot, Volume};
use domain::{
    Disk, Workload,
    disk::{self, DiskState, DiskStep},
    lifecycle::State,
    policy,
};

use super::Law;
use crate::laws::harness::{Harness, broken};

/// A disk's row was written: what may change about it.
pub(super) fn moved(h: &mut Harness, before: Option<&Disk>, after: &Disk) -> Law {
    i13_head_is_there(h, after)?;
    let Some(before) = before else {
        let begun = h.disks.on_head(after).map(<[u64]>::to_vec).unwrap_or_default();
        h.disks.kept.insert(after.id, begun);
        return Ok(());
    };
    i10_holder(h, before, after)?;
    let step = before.state == after.state
        || DiskStep::ALL.into_iter().any(|step| before.state.after(step) == Some(after.state));
    if !step || after.version != before.version + 1 {
        let seen = format!("{} v{} -> {} v{}", before.state.name(), before.version, after.state.name(), after.version);
        return broken("I5", format!("disk {}: {seen}", after.id));
    }
    i11_volume_is_forgotten(h, before, after)?;
    i13_deletion(h, before, after)?;
    i12_head_moves(h, before, after)
}

/// I10: it goes to one workload at a time, from nobody, and back only when that one has ended and the volume is free.
fn i10_holder(h: &mut Harness, before: &Disk, after: &Disk) -> Law {
    match (before.holder, after.holder) {
        (old, new) if old == new => Ok(()),
        (None, Some(_)) if before.state == DiskState::Available && after.uses == before.uses + 1 => {
            let from = after.head.as_ref().map(|head| head.snapshot.clone());
            h.disks.begins.insert((after.id, after.uses), from);
            Ok(())
        }
        (Some(holder), None) => {
            let over = h.rows.workloads.get(&holder).is_none_or(|row| row.state == State::Ended);
            let fixed = before.volume.as_ref().is_some_and(|volume| h.world.is_fixed(volume));
            if over && !fixed {
                return Ok(());
            }
            broken("I10", format!("{} is taken from {holder}: over {over}, still fixed {fixed}", after.id))
        }
        (old, new) => broken("I10", format!("{} goes from {old:?} to {new:?}", after.id)),
    }
}

/// I11: a volume is forgotten only for a snapshot that is complete and has all that is on it.
fn i11_volume_is_forgotten(h: &mut Harness, before: &Disk, after: &Disk) -> Law {
    if after.state == DiskState::Available && matches!(before.state, DiskState::Detaching | DiskState::BackingUp) {
        let mut mine =
            h.disks.volumes.iter().filter(|one| one.order.of.disk == after.id && one.order.uses == after.uses);
        let written = mine.find(|one| one.is_written()).map(|one| one.contents.clone());
        let expected = written.unwrap_or_else(|| h.disks.kept.get(&after.id).cloned().unwrap_or_default());
        if h.disks.on_head(after) != Some(&expected) {
            let has = h.disks.on_head(after);
            return broken("I11", format!("{} was left with {expected:?} and has {has:?}", after.id));
        }
        h.disks.kept.insert(after.id, expected);
    }
    let Some(volume) = before.volume.as_ref().filter(|_| after.volume.is_none()) else { return Ok(()) };
    let of_it = after.head.as_ref().and_then(|head| h.disks.snapshot(&head.snapshot));
    if of_it.is_some_and(|one| one.volume == *volume) {
        return Ok(());
    }
    broken("I11", format!("{} forgets {volume}, of which its head is no snapshot", after.id))
}

/// I12: what a disk is made of changes with a snapshot of it that was seen to be complete, or because its owner restored an earlier one.
fn i12_head_moves(h: &mut Harness, before: &Disk, after: &Disk) -> Law {
    let Some(head) = after.head.as_ref().filter(|_| after.head != before.head) else { return Ok(()) };
    let awaited = before.pending.as_ref().and_then(|pending| pending.snapshot.as_ref()) == Some(&head.snapshot);
    if awaited {
        return Ok(());
    }
    let known = h.disks.known.get(&after.id).into_iter().flatten();
    let mut complete = known.filter(|one| one.completed_at.is_some());
    let restored = before.state == DiskState::Available && after.state == DiskState::Available;
    if !restored || !complete.any(|one| one.id == head.snapshot && one.number == head.number) {
        return broken("I12", format!("{} is made of {head:?}, which is no complete snapshot of it", after.id));
    }
    let contents = h.disks.on_head(after).map(<[u64]>::to_vec).unwrap_or_default();
    h.disks.kept.insert(after.id, contents);
    Ok(())
}

/// I13: what is deleted can be had back for thirty days.
fn i13_deletion(h: &Harness, before: &Disk, after: &Disk) -> Law {
    let now = h.world.now();
    let marked = after.state == DiskState::Deleting && before.state != DiskState::Deleting;
    // It counts from when that was decided, which is a moment before it is written.
    let least = now.plus(policy::DISK_RETENTION).minus(h.skew + Duration::from_secs(60));
    if marked && after.delete_at.is_none_or(|at| at < least) {
        return broken("I13", format!("{} is deleted and gone at {:?}", after.id, after.delete_at));
    }
    let purged = after.state == DiskState::Deleted && before.state != DiskState::Deleted;
    if purged && before.delete_at.is_none_or(|at| at > now.plus(h.skew)) {
        return broken("I13", format!("{} is gone before {:?}", after.id, before.delete_at));
    }
    Ok(())
}

/// I13: what a disk is made of is there and complete, and ours.
fn i13_head_is_there(h: &Harness, disk: &Disk) -> Law {
    let Some(head) = disk.head.as_ref().filter(|_| disk.state != DiskState::Deleted) else { return Ok(()) };
    match h.disks.snapshot(&head.snapshot) {
        Some(one) if one.foreign => broken("I12", format!("{} is made of a stranger's copy", disk.id)),
        Some(one) if one.is_complete(h.world.now()) => Ok(()),
        Some(one) if one.deleted_at.is_some() => {
            broken("I13", format!("{} is made of {}, which was deleted", disk.id, one.id))
        }
        _ => broken("I11", format!("{} is made of {}, which is not complete", disk.id, head.snapshot)),
    }
}

/// A disk's row is gone: only what was deleted for good may go.
pub(super) fn gone(h: &mut Harness, disk: &Disk) -> Law {
    if disk.state != DiskState::Deleted {
        return broken("I14", format!("{} was {} and has no name any more", disk.id, disk.state.name()));
    }
    h.disks.known.remove(&disk.id);
    Ok(())
}

/// I13: retention lets go what is old and spare.
pub(super) fn dropped(h: &Harness, had: &[disk::Snapshot], disk: &Disk) -> Law {
    let known = h.disks.known.get(&disk.id).map(Vec::as_slice).unwrap_or_default();
    let (kept_for, least) = policy::SNAPSHOT_RETENTION;
    let complete = known.iter().filter(|one| one.completed_at.is_some()).count();
    let gone = had.iter().filter(|one| !known.iter().any(|other| other.number == one.number));
    for one in gone.filter(|_| disk.state != DiskState::Deleted) {
        let Some(at) = one.completed_at else { continue };
        let old = at.plus(kept_for) <= h.world.now().plus(h.skew * 2);
        if !old || complete < least {
            return broken("I13", format!("{} lets {} go, complete since {at}; {complete} stay", disk.id, one.id));
        }
    }
    if usize::try_from(disk.complete) == Ok(complete) {
        return Ok(());
    }
    broken("I22", format!("{} counts {} complete snapshots, and has {complete}", disk.id, disk.complete))
}

/// Volumes were made and deleted.
pub(super) fn volumes_moved(h: &Harness, old: &[Volume]) -> Law {
    for one in h.disks.volumes.iter().skip(old.len()) {
        i12_made_of(h, one)?;
    }
    let deleted = old.iter().zip(&h.disks.volumes).filter(|(before, after)| before.is_there() && !after.is_there());
    for (_, one) in deleted.filter(|(_, one)| one.is_written()) {
        let disk = one.order.of.disk;
        let known = h.disks.known.get(&disk);
        let holds = |snapshot: &Snapshot| {
            let same = snapshot.volume == one.id && snapshot.contents == one.contents && !snapshot.foreign;
            let recorded = known
                .is_none_or(|known| known.iter().any(|known| known.id == snapshot.id && known.completed_at.is_some()));
            same && recorded && snapshot.is_complete(h.world.now())
        };
        if !h.disks.snapshots.iter().any(holds) {
            return broken("I11", format!("{} of {disk} is deleted, and no complete snapshot has all of it", one.id));
        }
    }
    Ok(())
}

/// I12, I15: a volume is made of what the disk is, and of nothing else.
fn i12_made_of(h: &Harness, one: &Volume) -> Law {
    let (disk, uses) = (one.order.of.disk, one.order.uses);
    if h.disks.begins.get(&(disk, uses)) != Some(&one.order.from) {
        let expected = h.disks.begins.get(&(disk, uses));
        return broken("I12", format!("{} of {disk} is made of {:?} and not of {expected:?}", one.id, one.order.from));
    }
    // One whose request was late may be of a use that is long over.
    let present = h.disks.rows.get(&disk).is_some_and(|row| row.uses == uses && row.state == DiskState::Attached);
    let kept = h.disks.kept.get(&disk);
    if present && kept.is_none_or(|kept| *kept != one.began_with) {
        return broken("I12", format!("{} of {disk} begins with {:?} and not with {kept:?}", one.id, one.began_with));
    }
    Ok(())
}

/// Snapshots were deleted: I12, nobody's but ours; I13, none that a disk has.
pub(super) fn snapshots_moved(h: &Harness, old: &[Snapshot]) -> Law {
    let pairs = old.iter().zip(&h.disks.snapshots);
    for (_, one) in pairs.filter(|(before, after)| before.deleted_at.is_none() && after.deleted_at.is_some()) {
        if one.foreign {
            return broken("I12", format!("{} was deleted, and is a stranger's", one.id));
        }
        let has = |(_, known): &(_, &Vec<disk::Snapshot>)| known.iter().any(|known| known.id == one.id);
        if let Some((disk, _)) = h.disks.known.iter().find(has) {
            return broken("I13", format!("{} was deleted, and {disk} has it", one.id));
        }
    }
    Ok(())
}

/// What holds between any two fault points.
pub(super) fn at_each_step(h: &Harness) -> Law {
    for disk in h.disks.rows.values() {
        i13_head_is_there(h, disk)?;
    }
    for one in h.disks.volumes.iter().filter(|one| one.is_there()) {
        i10_one_volume(h, one)?;
    }
    for row in h.rows.workloads.values().filter(|row| row.state == State::Active && row.spec.disk.is_some()) {
        i15_has_its_disk(h, row)?;
    }
    Ok(())
}

/// I10: each use has one volume, and that is fixed to nothing but to the workload that has the disk, which knows it.
fn i10_one_volume(h: &Harness, one: &Volume) -> Law {
    let (disk, uses) = (one.order.of.disk, one.order.uses);
    let same = |other: &&Volume| other.is_there() && other.order.of.disk == disk && other.order.uses == uses;
    if h.disks.volumes.iter().filter(same).count() > 1 {
        return broken("I10", format!("use {uses} of {disk} has two volumes"));
    }
    let Some(fixed) = one.fixed.as_ref().filter(|_| h.world.is_fixed(&one.id)) else { return Ok(()) };
    let row = h.disks.rows.get(&disk);
    if row.is_some_and(|row| row.holder == Some(fixed.workload) && row.volume.as_ref() == Some(&one.id)) {
        return Ok(());
    }
    let says = row.map(|row| (row.state.name(), row.holder, row.volume.clone()));
    broken("I10", format!("{} of {disk} is fixed to {}, and its row says {says:?}", one.id, fixed.workload))
}

/// I15: whoever asked for a disk has that one, and an empty one only where nothing was ever written.
fn i15_has_its_disk(h: &Harness, row: &Workload) -> Law {
    let (Some(of), Some(attached)) = (&row.spec.disk, &row.disk) else {
        return broken("I15", format!("{} is active without its disk", row.id));
    };
    let Some(disk) = h.disks.rows.get(&of.id) else {
        return broken("I15", format!("{} has a disk that is not there", row.id));
    };
    let mount = &attached.mount;
    let blank = h.disks.begins.get(&(of.id, disk.uses)).is_some_and(Option::is_none);
    let same = disk.holder == Some(row.id) && disk.volume.as_ref() == Some(&mount.volume);
    let there = h.disks.volume(&mount.volume).is_some_and(|one| one.is_there() && one.order.of.disk == of.id);
    if same && there && mount.blank == blank {
        return Ok(());
    }
    broken("I15", format!("{} has {mount:?}, and its disk says {:?} {:?}", row.id, disk.holder, disk.volume))
}

/// How long after the time when something about a disk should have moved it may still be where it was, in a calm world.
pub(super) const SLACK: Duration = Duration::from_secs(300);
