use std::time::Duration;

use domain::{DiskId, OperationId, SnapshotId, UserName, VolumeId, names::DiskName};
use futures::executor::block_on;

use super::*;
use crate::{
    Attachment, DiskRef, PortError, Ports, SnapshotOrder, SnapshotState, VolumeError, VolumeOrder,
    sim::{Fault, FaultPlan},
};

const SECOND: Duration = Duration::from_secs(1);

/// A world where everything about volumes takes its time: ten seconds to fix one, five to take it off, a minute for a snapshot, and a
/// minute until a list shows anything. Workload 1 runs there.
fn world() -> (World, Ports) {
    let world = World::new(5);
    world.set(|settings| {
        settings.boot = SECOND..=SECOND;
        settings.stop = SECOND..=SECOND;
        settings.attach = 10 * SECOND..=10 * SECOND;
        settings.detach = 5 * SECOND..=5 * SECOND;
        settings.snapshot = 60 * SECOND..=60 * SECOND;
        settings.list_lag = 60 * SECOND..=60 * SECOND;
    });
    let ports = world.ports();
    block_on(ports.fleet.provision(&order(1, 1))).unwrap();
    world.move_to(later(&world, 1));
    (world, ports)
}

fn disk() -> DiskRef {
    DiskRef { tenant: tenant(), owner: UserName::new("ann"), disk: DiskId::new(Timestamp::default(), &[1; 32]) }
}

fn name(text: &str) -> DiskName {
    DiskName::parse(text).unwrap()
}

fn wanted(uses: u64, from: Option<SnapshotId>) -> VolumeOrder {
    VolumeOrder { of: disk(), uses, name: name("data"), size_gb: 10, from, attempt: attempt(1, 1) }
}

fn operation(number: u8) -> OperationId {
    OperationId::new(Timestamp::default(), &[number; 32])
}

fn backed_up(number: u8, volume: &VolumeId) -> SnapshotOrder {
    SnapshotOrder { of: disk(), operation: operation(number), name: name("data"), volume: volume.clone() }
}

/// A volume that workload 1 has.
fn attached(world: &World, ports: &Ports, order: &VolumeOrder) -> VolumeId {
    let volume = block_on(ports.volumes.create(order)).unwrap().unwrap();
    assert_eq!(block_on(ports.volumes.attach(&volume, &attempt(1, 1))), Ok(Attachment::Coming));
    world.move_to(later(world, 10));
    assert!(matches!(block_on(ports.volumes.attach(&volume, &attempt(1, 1))), Ok(Attachment::There(_))));
    volume
}

fn contents(world: &World, volume: &VolumeId) -> Vec<u64> {
    world.volumes().into_iter().find(|one| one.id == *volume).unwrap().contents
}

#[test]
fn what_is_written_comes_back_from_a_snapshot() {
    let (world, ports) = world();
    world.write(workload(1));
    let volume = attached(&world, &ports, &wanted(1, None));
    world.write(workload(1));
    world.write(workload(2));
    assert_eq!(contents(&world, &volume), [1], "nobody writes before it is there, nor who does not have it");
    let snapshot = block_on(ports.volumes.snapshot(&backed_up(1, &volume))).unwrap();
    world.write(workload(1));
    let state = || block_on(ports.volumes.snapshot_state(&snapshot)).unwrap();
    assert_eq!(state(), SnapshotState::Pending);
    let early = block_on(ports.volumes.create(&wanted(2, Some(snapshot.clone()))));
    assert!(matches!(early, Err(VolumeError::Refused(_))), "nothing is made of what is not complete");
    world.move_to(later(&world, 60));
    assert_eq!(state(), SnapshotState::Completed);
    let second = block_on(ports.volumes.create(&wanted(2, Some(snapshot.clone())))).unwrap().unwrap();
    assert_eq!((contents(&world, &volume), contents(&world, &second)), (vec![1, 2], vec![1]));
    block_on(ports.volumes.delete_snapshot(&snapshot)).unwrap();
    assert!(matches!(state(), SnapshotState::Failed(_)));
}

#[test]
fn a_disk_and_its_use_are_the_token() {
    let (world, ports) = world();
    let create = |order: &VolumeOrder| block_on(ports.volumes.create(order));
    let first = create(&wanted(1, None)).unwrap();
    assert_eq!(create(&wanted(1, None)).unwrap(), first);
    let larger = VolumeOrder { size_gb: 20, ..wanted(1, None) };
    assert!(matches!(create(&larger), Err(VolumeError::Refused(_))));
    assert_ne!(create(&wanted(2, None)).unwrap(), first);
    let unknown = VolumeOrder { attempt: attempt(2, 1), ..wanted(3, None) };
    assert_eq!(create(&unknown), Ok(None), "where that machine is, nobody knows");
    assert_eq!(world.volumes().len(), 2);
    // One that arrives late is made all the same, once.
    world.follow(FaultPlan::Nth { n: world.calls() + 1, fault: Fault::TimeoutLate });
    assert!(matches!(create(&wanted(4, None)), Err(VolumeError::Port(_))));
    assert_eq!(world.volumes().len(), 2);
    world.move_to(world.next_volume_arrival().unwrap());
    assert_eq!(create(&wanted(4, None)).unwrap(), Some(world.volumes()[2].id.clone()));
}

#[test]
fn a_volume_comes_off_in_its_own_time() {
    let (world, ports) = world();
    let volume = attached(&world, &ports, &wanted(1, None));
    let deleted = || block_on(ports.volumes.delete_volume(&volume));
    let free = || block_on(ports.volumes.detach(&volume)).unwrap();
    assert!(matches!(deleted(), Err(PortError::Unavailable(_))), "it is in use");
    block_on(ports.fleet.terminate(&attempt(1, 1))).unwrap();
    world.move_to(later(&world, 1));
    world.write(workload(1));
    assert!(contents(&world, &volume).is_empty() && world.is_fixed(&volume), "what has stopped writes no more");
    assert!(!free() && deleted().is_err());
    let again = block_on(ports.volumes.attach(&volume, &attempt(1, 1)));
    assert!(matches!(again, Err(VolumeError::Refused(_))), "that machine is gone");
    world.move_to(later(&world, 5));
    assert!(free() && !world.is_fixed(&volume));
    assert_eq!((deleted(), deleted()), (Ok(()), Ok(())));
    assert!(free() && block_on(ports.volumes.snapshot(&backed_up(1, &volume))).is_err());
}

#[test]
fn lists_are_late_and_strangers_are_in_them() {
    let (world, ports) = world();
    world.set(|settings| settings.strangers = 1_000);
    let volume = attached(&world, &ports, &wanted(1, None));
    let order = backed_up(1, &volume);
    let ask = || block_on(ports.volumes.snapshot(&order)).unwrap();
    let first = ask();
    assert_ne!(ask(), first, "what the list does not show yet is made again");
    let listed = || {
        let snapshots = block_on(ports.volumes.snapshots()).unwrap();
        (block_on(ports.volumes.volumes()).unwrap().len(), snapshots)
    };
    assert_eq!((listed().0, listed().1.len()), (0, 0));
    world.move_to(later(&world, 60));
    assert_eq!((listed().0, listed().1.len(), ask()), (1, 2, first.clone()));
    world.move_to(later(&world, 60));
    let foreign = listed().1.into_iter().filter(|one| one.volume != volume).collect::<Vec<_>>();
    assert!(foreign.len() == 2 && foreign.iter().all(|one| one.operation == order.operation && one.of == order.of));
    let copies = world.snapshots().into_iter().filter(|one| one.foreign).map(|one| one.id).collect::<Vec<_>>();
    assert!(copies.len() == 2 && !copies.contains(&first));
}

#[test]
fn what_fails_says_so() {
    let (world, ports) = world();
    world.set(|settings| (settings.failing_snapshots, settings.failing_tags) = (1_000, 1_000));
    let volume = attached(&world, &ports, &wanted(1, None));
    let snapshot = block_on(ports.volumes.snapshot(&backed_up(1, &volume))).unwrap();
    assert_eq!(block_on(ports.volumes.snapshot_state(&snapshot)), Ok(SnapshotState::Pending));
    world.move_to(later(&world, 60));
    assert!(matches!(block_on(ports.volumes.snapshot_state(&snapshot)), Ok(SnapshotState::Failed(_))));
    let tag = |text| block_on(ports.volumes.tag(&snapshot, &name(text)));
    assert_eq!(tag("other"), Err(VolumeError::Refused("Access denied".into())));
    world.set(|settings| settings.failing_tags = 0);
    assert_eq!((tag("other"), world.snapshots()[0].name.clone()), (Ok(()), name("other")));
}
