//! What holds of disks in a world at rest.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use cloud::sim::{Snapshot, Volume};
use domain::{
    Disk,
    disk::{DiskState, Status},
};
use futures::executor::block_on;
use store::disks::DueDisk;

use super::{
    Law,
    asks::{Asked, Said, goes_on},
    rules::SLACK,
};
use crate::laws::harness::{Harness, broken};

/// Everything that is checked of disks when nothing moves any more.
pub(crate) fn check(h: &Harness) -> Law {
    for disk in h.disks.rows.values() {
        i24_state(h, disk)?;
        i14_name(h, disk)?;
    }
    for one in h.disks.volumes.iter().filter(|one| one.is_there()) {
        i24_volume(h, one)?;
    }
    for one in h.disks.snapshots.iter().filter(|one| one.deleted_at.is_none() && !one.foreign) {
        i24_snapshot(h, one)?;
    }
    for asked in &h.disks.asked {
        i8_operation(h, asked)?;
    }
    i24_nothing_due(h)?;
    i22_counts(h)
}

/// I24: whatever is being done with a disk is waited for, or its time has come just now.
fn i24_state(h: &Harness, disk: &Disk) -> Law {
    let now = h.world.now();
    let waits = disk.pending.as_ref().is_some_and(|pending| {
        let snapshot = pending.snapshot.as_ref().and_then(|id| h.disks.snapshot(id));
        snapshot.is_some_and(|one| now < one.ends_at.plus(SLACK))
    });
    // A snapshot that fails is believed to after a while, and removed; then another one is begun.
    let failed_just_now = disk.pending.is_none()
        && h.disks
            .snapshots
            .iter()
            .any(|one| one.fails && one.of.disk == disk.id && one.deleted_at.is_some_and(|at| now < at.plus(SLACK)));
    let holder = disk.holder.and_then(|holder| h.rows.workloads.get(&holder));
    let fine = match disk.state {
        DiskState::Creating | DiskState::Deleted => false,
        DiskState::Available => disk.volume.is_none() && disk.pending.is_none() && disk.holder.is_none(),
        DiskState::Attached => holder.is_some_and(goes_on) && (disk.pending.is_none() || waits),
        // A job may have come to its end just now.
        DiskState::Detaching | DiskState::BackingUp => waits || failed_just_now || now < disk.since.plus(SLACK),
        DiskState::Deleting => disk.operation.is_none() && disk.delete_at.is_some_and(|at| now < at.plus(SLACK)),
    };
    if fine {
        return Ok(());
    }
    let (holder, pending) = (disk.holder, &disk.pending);
    broken("I24", format!("{} is {} since {}: {holder:?} {pending:?}", disk.id, disk.state.name(), disk.since))
}

/// I14: it is found under its id, and its snapshots carry its name, or it is said why not.
fn i14_name(h: &Harness, disk: &Disk) -> Law {
    let found = block_on(h.truth.disk(&disk.tenant, &disk.owner, disk.id)).expect("the tables are read");
    if found.as_ref() != Some(disk) {
        return broken("I14", format!("{} is not found by its id", disk.id));
    }
    let Some(naming) = &disk.naming else { return Ok(()) };
    if !naming.tried && disk.state == DiskState::Available {
        return broken("I14", format!("{} was renamed, and nobody has changed the tags", disk.id));
    }
    if !naming.tried || !naming.errors.is_empty() {
        return Ok(());
    }
    let known = h.disks.known.get(&disk.id).into_iter().flatten();
    let mine = known.filter_map(|one| h.disks.snapshot(&one.id)).filter(|one| one.of.disk == disk.id);
    // What a branch has in common with its origin carries the name that was written last.
    let shared = |id| h.disks.known.values().filter(|known| known.iter().any(|one| one.id == id)).count() > 1;
    match mine.filter(|one| one.name != disk.name).find(|one| !shared(one.id.clone())) {
        Some(one) => broken("I14", format!("{} of {} is called {:?}", one.id, disk.id, one.name)),
        None => Ok(()),
    }
}

/// I24: no volume is there but of a disk in use.
fn i24_volume(h: &Harness, one: &Volume) -> Law {
    let row = h.disks.rows.get(&one.order.of.disk);
    if row.is_some_and(|row| row.volume.as_ref() == Some(&one.id)) {
        return Ok(());
    }
    broken("I24", format!("{} is there and no disk has it", one.id))
}

/// I24: no snapshot of ours is there but of a disk that has it.
fn i24_snapshot(h: &Harness, one: &Snapshot) -> Law {
    let has = h.disks.known.values().flatten().any(|known| known.id == one.id);
    // A second one of a snapshot that is still being made goes when that is complete.
    let row = h.disks.rows.get(&one.of.disk);
    let waits = row.is_some_and(|row| row.volume.as_ref() == Some(&one.volume));
    if has || waits || h.world.now() < one.ends_at.plus(SLACK) {
        return Ok(());
    }
    broken("I24", format!("{} of {} is there and no disk has it", one.id, one.of.disk))
}

/// I8: what was acknowledged came to its end, or is being done.
fn i8_operation(h: &Harness, asked: &Asked) -> Law {
    let Some(Some(Said::Done(Some(id)))) = asked.said else { return Ok(()) };
    for disk in h.disks.rows.values().filter(|disk| disk.tenant == asked.tenant && disk.owner == asked.owner) {
        let found = block_on(h.truth.disk_operation(&disk.tenant, disk.id, id)).expect("the tables are read");
        let Some(found) = found else { continue };
        let waits = disk.pending.as_ref().is_some_and(|pending| pending.operation == id);
        if matches!(found.status, Status::Completed | Status::Failed) != waits {
            return Ok(());
        }
        return broken("I8", format!("{:?} of {} is {}", asked.ask, disk.id, found.status.name()));
    }
    Ok(())
}

/// I24: nothing is due that nobody does.
fn i24_nothing_due(h: &Harness) -> Law {
    let (due, _) = block_on(h.truth.due_disks(h.world.now().minus(SLACK), None)).expect("the tables are read");
    match due.iter().find(|row| !matches!(row, DueDisk::Disk(..))) {
        Some(row) => broken("I24", format!("{row:?} is due for long")),
        None => Ok(()),
    }
}

/// I22: an owner has as many disks as are counted.
fn i22_counts(h: &Harness) -> Law {
    let mut rows = BTreeMap::<_, usize>::new();
    for disk in h.disks.rows.values() {
        *rows.entry((disk.tenant.clone(), disk.owner.clone())).or_default() += 1;
    }
    for of in &h.disks.owners {
        let (tenant, owner) = of;
        let key = |name: &str| AttributeValue::S(name.to_owned());
        let get = h.books.get_item().table_name("disks").consistent_read(true);
        let get = get.key("pk", key(&format!("{tenant}#{owner}"))).key("sk", key("counts"));
        let item = block_on(get.send()).expect("the tables are read").item.unwrap_or_default();
        let counted = item.get("disks").and_then(|value| value.as_n().ok()).map_or("0", String::as_str).to_owned();
        let there = rows.get(of).copied().unwrap_or(0);
        if counted != there.to_string() {
            return broken("I22", format!("{owner} has {there} disks, and {counted} are counted"));
        }
    }
    Ok(())
}
