//! A disk with a past: what was done with it is decided and asked of the cloud as ever, but by nobody, in no time, and unwatched.

use std::time::Duration;

use cloud::{Attempt, DiskRef, Ports, SnapshotOrder, VolumeOrder};
use domain::{
    Disk, TenantId, UserName, VolumeId,
    disk::{self, DiskChange},
    names::DiskName,
};
use futures::executor::block_on;

use crate::laws::{harness::Harness, inventory::a_machine};

fn written(h: &Harness, change: DiskChange) -> Disk {
    block_on(h.truth.write_disk(&change, None, Some(100))).expect("the tables are written");
    change.disk
}

impl Harness {
    /// Gives an owner a disk that was used so many times, each time with a snapshot in the end.
    pub(crate) fn a_used_disk(&mut self, of: &(TenantId, UserName), uses: u32) {
        let at_once = Duration::ZERO..=Duration::ZERO;
        self.world.set(|settings| {
            for span in [&mut settings.boot, &mut settings.stop, &mut settings.attach, &mut settings.detach] {
                *span = at_once.clone();
            }
            (settings.snapshot, settings.list_lag) = (at_once.clone(), at_once.clone());
        });
        let (now, (tenant, owner)) = (self.world.now(), of.clone());
        let (id, name) = (self.world.ports().ids.disk(now), DiskName::parse("data").expect("a disk's name"));
        let asked = disk::Asked { id, tenant, owner, name, size_gb: 10 };
        let mut disk = written(self, asked.create_at_once(now));
        for _ in 0..uses {
            disk = self.one_use(&disk);
        }
        self.disks.owners.insert(of.clone());
        self.adopt_disks();
    }

    fn one_use(&mut self, disk: &Disk) -> Disk {
        let (now, ports) = (self.world.now(), self.world.ports());
        let order = a_machine(&ports, &disk.tenant);
        let workload = order.workload;
        self.strays.insert(workload);
        let machine = block_on(ports.fleet.provision(&order)).expect("a machine").instance;
        let held = written(self, disk.hold(workload, 0, now).expect("a disk that is free"));
        let volume = self.a_volume(&ports, &held, &order.of());
        let made = held.volume_made(workload, held.uses, volume.clone()).expect("a disk that is held");
        let made = written(self, made);
        self.world.write(workload);
        self.world.stop_instance(&machine);
        let over = written(self, made.release(workload, now).expect("a disk that is held"));
        assert_eq!(block_on(ports.volumes.detach(&volume)), Ok(true), "its machine is gone");
        let operation = ports.ids.operation(now);
        let begun = written(self, over.back_up(operation, now).expect("a volume that is free"));
        let wanted = SnapshotOrder { of: tags(disk), operation, name: disk.name.clone(), volume: volume.clone() };
        let snapshot = block_on(ports.volumes.snapshot(&wanted)).expect("a snapshot");
        let begun = written(self, begun.snapshot_begun(snapshot, now).expect("a snapshot that is wanted"));
        let kept = written(self, begun.snapshot_completed(now).expect("a snapshot that is under way"));
        block_on(ports.volumes.delete_volume(&volume)).expect("a volume that is free");
        block_on(self.truth.forget_volume(&volume)).expect("the tables are written");
        kept
    }

    fn a_volume(&self, ports: &Ports, disk: &Disk, attempt: &Attempt) -> VolumeId {
        let from = disk.head.as_ref().map(|head| head.snapshot.clone());
        let (uses, name, size_gb) = (disk.uses, disk.name.clone(), disk.size_gb);
        let order = VolumeOrder { of: tags(disk), uses, name, size_gb, from, attempt: attempt.clone() };
        let volume = block_on(ports.volumes.create(&order)).expect("a volume").expect("where its machine is");
        drop(block_on(ports.volumes.attach(&volume, attempt)));
        self.world.write(attempt.workload);
        volume
    }
}

fn tags(disk: &Disk) -> DiskRef {
    DiskRef { tenant: disk.tenant.clone(), owner: disk.owner.clone(), disk: disk.id }
}
