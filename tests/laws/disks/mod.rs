//! Disks: what the tables say about them, what is really there, and what their owners may expect to find.
//!
//! | Where | What |
//! |---|---|
//! | [`asks`] | what owners do with disks |
//! | [`rules`] | the laws of every step: I10 to I15 |
//! | [`rest`] | what holds of disks in a world at rest: I14, I24 |
//! | [`random`] | random schedules |
//! | [`single`] | every single fault at every call of what can be done with a disk |
//! | [`past`] | disks that were used before anybody watched |
//! | [`scenes`] | what is left behind, and found |
//! | [`bugs`] | bugs that are sown, each of which must be caught |

pub(crate) mod asks;
pub(crate) mod bugs;
mod past;
pub(crate) mod random;
pub(crate) mod rest;
mod rules;
pub(crate) mod scenes;
pub(crate) mod single;

use std::collections::{BTreeMap, BTreeSet};

use cloud::sim::{Snapshot, Volume};
use domain::{Disk, DiskId, SnapshotId, TenantId, Timestamp, UserName, VolumeId, disk};
use futures::executor::block_on;

use super::harness::{Harness, Violation, broken};
use asks::Asked;

type Law = Result<(), Violation>;

/// What is known about disks: as of the last look, but for what their owners may expect, which is kept from one use to the next.
#[derive(Default)]
pub(crate) struct Disks {
    /// Whose disks there may be.
    pub(crate) owners: BTreeSet<(TenantId, UserName)>,
    /// What the tables say.
    pub(crate) rows: BTreeMap<DiskId, Disk>,
    /// The snapshots of each, as the tables say.
    pub(crate) known: BTreeMap<DiskId, Vec<disk::Snapshot>>,
    /// Every volume that ever was.
    pub(crate) volumes: Vec<Volume>,
    /// Every snapshot that ever was.
    pub(crate) snapshots: Vec<Snapshot>,
    /// What was asked of disks, and what came of it.
    pub(crate) asked: Vec<Asked>,
    /// They are swept although nobody has asked for any.
    pub(crate) swept: bool,
    /// What is on each while nobody uses it.
    kept: BTreeMap<DiskId, Vec<u64>>,
    /// What the volume of each use is to be made of.
    begins: BTreeMap<(DiskId, u64), Option<SnapshotId>>,
}

impl Disks {
    /// Whether there is anything to look at.
    pub(crate) fn any(&self) -> bool {
        !self.owners.is_empty()
    }

    /// Whether a workload could have a disk now.
    pub(crate) fn can_be_had(&self, disk: DiskId) -> bool {
        self.rows.get(&disk).is_some_and(|disk| disk.keeps_waiting().is_none())
    }

    /// A snapshot on the ground.
    fn snapshot(&self, id: &SnapshotId) -> Option<&Snapshot> {
        self.snapshots.iter().find(|one| one.id == *id)
    }

    fn volume(&self, id: &VolumeId) -> Option<&Volume> {
        self.volumes.iter().find(|one| one.id == *id)
    }

    /// What is on a disk that nobody uses: what is on its head.
    fn on_head(&self, disk: &Disk) -> Option<&[u64]> {
        match &disk.head {
            Some(head) => self.snapshot(&head.snapshot).map(|one| one.contents.as_slice()),
            None => Some(&[]),
        }
    }

    /// When something about disks that is waited for comes to its end.
    pub(crate) fn next_news(&self) -> Option<Timestamp> {
        let awaited = |disk: &Disk| self.snapshot(disk.pending.as_ref()?.snapshot.as_ref()?).map(|one| one.ends_at);
        let waiting = self.rows.values().map(|disk| awaited(disk).or_else(|| disk.due_at()));
        waiting.flatten().min()
    }
}

impl Harness {
    /// Reads what has changed about disks, and checks the laws about them.
    pub(crate) fn look_at_disks(&mut self, rows_moved: bool) -> Law {
        let volumes = std::mem::replace(&mut self.disks.volumes, self.world.volumes());
        let snapshots = std::mem::replace(&mut self.disks.snapshots, self.world.snapshots());
        if rows_moved {
            self.read_disks()?;
        }
        rules::volumes_moved(self, &volumes)?;
        rules::snapshots_moved(self, &snapshots)?;
        rules::at_each_step(self)
    }

    /// Takes disks as they are.
    pub(crate) fn adopt_disks(&mut self) {
        (self.disks.volumes, self.disks.snapshots) = (self.world.volumes(), self.world.snapshots());
        for (tenant, owner) in self.disks.owners.clone() {
            for disk in block_on(self.truth.disks(&tenant, &owner)).expect("the tables are read") {
                let known = block_on(self.truth.disk_snapshots(&tenant, disk.id)).expect("the tables are read");
                self.disks.known.insert(disk.id, known);
                let kept = self.disks.on_head(&disk).map(<[u64]>::to_vec).unwrap_or_default();
                self.disks.kept.insert(disk.id, kept);
                self.disks.rows.insert(disk.id, disk);
            }
        }
    }

    fn read_disks(&mut self) -> Law {
        let mut found = BTreeMap::new();
        for (tenant, owner) in &self.disks.owners {
            for disk in block_on(self.truth.disks(tenant, owner)).expect("the tables are read") {
                let twice = found.insert(disk.id, disk);
                if let Some(twice) = twice {
                    return broken("I14", format!("{} is there under two names", twice.id));
                }
            }
        }
        let before = std::mem::replace(&mut self.disks.rows, found.clone());
        for disk in before.values().filter(|disk| !found.contains_key(&disk.id)) {
            rules::gone(self, disk)?;
        }
        for disk in found.values() {
            let before = before.get(&disk.id);
            if before != Some(disk) {
                let known = block_on(self.truth.disk_snapshots(&disk.tenant, disk.id)).expect("the tables are read");
                let had = self.disks.known.insert(disk.id, known).unwrap_or_default();
                rules::moved(self, before, disk)?;
                rules::dropped(self, &had, disk)?;
            }
        }
        Ok(())
    }
}
