//! Scenes in which what was made for a disk is left behind, and found.

use std::time::Duration;

use cloud::{DiskRef, SnapshotOrder, VolumeOrder};
use domain::{disk::DiskState, names::DiskName};
use futures::executor::block_on;

use super::{Law, asks::Ask, rest};
use crate::laws::inventory::a_machine;
use crate::laws::{
    agents::{Agents, Temper},
    harness::{Harness, broken},
    mutants::Bug,
    people,
};

/// A volume of a disk that nobody knows, fixed to a machine that nobody knows, is deleted when that machine has been ended.
pub(crate) fn an_unknown_volume_goes(seed: u64, bug: Option<Bug>) -> Law {
    let mut h = Harness::new(seed, bug);
    let users = people::users(&mut h);
    h.agents = Agents::seeded(seed, Some(Temper::Mute));
    h.world.set(|settings| settings.boot = Duration::ZERO..=Duration::ZERO);
    let (now, ports) = (h.world.now(), h.world.ports());
    let order = a_machine(&ports, &users[0].tenant);
    let attempt = order.of();
    h.strays.insert(order.workload);
    let of = DiskRef { tenant: order.tenant.clone(), owner: users[0].name.clone(), disk: ports.ids.disk(now) };
    let name = DiskName::parse("data").expect("a disk's name");
    let wanted = VolumeOrder { of, uses: 1, name, size_gb: 10, from: None, attempt: attempt.clone() };
    block_on(ports.fleet.provision(&order)).expect("a machine");
    let volume = block_on(ports.volumes.create(&wanted)).expect("a volume").expect("where the machine is");
    drop(block_on(ports.volumes.attach(&volume, &attempt)));
    // Two lists that are late, the machine's end, the volume's, and the sweeps between them.
    h.sweep_disks_from_now_on();
    h.pass(120 + 60 + 30 + 20 + 180)?;
    match h.world.volumes().iter().find(|one| one.is_there()) {
        Some(one) => broken("I3", format!("{} is still there for nobody", one.id)),
        None => Ok(()),
    }
}

/// A second snapshot of one operation, whose first answer was lost, goes when the one that is known is complete.
pub(crate) fn a_second_snapshot_goes(seed: u64, bug: Option<Bug>) -> Law {
    let mut h = Harness::new(seed, bug);
    h.agents = Agents::seeded(seed, Some(Temper::Good));
    h.world.set(|settings| settings.snapshot = Duration::from_secs(400)..=Duration::from_secs(500));
    let users = people::users(&mut h);
    let of = (users[0].tenant.clone(), users[0].name.clone());
    h.ask_of_disks(of, Ask::Submit { disk: "data", tenths: 10 });
    for _ in 0..1_000 {
        let found = h.disks.rows.values().find(|disk| disk.state == DiskState::BackingUp);
        let begun = found.and_then(|disk| Some((disk.clone(), disk.pending.clone()?, disk.volume.clone()?)));
        let Some((disk, pending, volume)) = begun.filter(|(_, pending, _)| pending.snapshot.is_some()) else {
            let far = h.world.now().plus(Duration::from_secs(2 * 3_600));
            h.skip(far)?;
            continue;
        };
        let of = DiskRef { tenant: disk.tenant, owner: disk.owner, disk: disk.id };
        let order = SnapshotOrder { of, operation: pending.operation, name: disk.name, volume };
        // As when the list does not show the first one yet.
        h.world.set(|settings| settings.forgets_tokens = true);
        block_on(h.world.ports().volumes.snapshot(&order)).expect("a second snapshot");
        h.world.set(|settings| settings.forgets_tokens = false);
        h.calm();
        h.pass(1_000)?;
        return rest::check(&h);
    }
    broken("goal", "the disk was never backed up")
}
