//! What owners ask of disks, and the disks' part of the sweep.

use domain::{TenantId, UserName};

use super::{Harness, Purpose};
use crate::laws::{
    disks::asks::{Ask, Asked, Said, carry_out},
    mutants::Bug,
};

/// How many sweeps go by between two looks for what nobody knows: in a world that comes to rest, and before.
const ORPHANS_EVERY: (u32, u32) = (2, 5);

impl Harness {
    /// Asks something of disks; what is said is kept in [`crate::laws::disks::Disks::asked`].
    pub(crate) fn ask_of_disks(&mut self, of: (TenantId, UserName), ask: Ask) -> usize {
        let number = self.disks.asked.len();
        let (tenant, owner) = of.clone();
        self.disks.owners.insert(of.clone());
        let asked = Asked { tenant, owner, ask: ask.clone(), asked_at: self.world.now(), said: None };
        self.disks.asked.push(asked);
        let name = format!("{ask:?}");
        let task = self.executor.spawn(name.clone(), carry_out(self.plane.clone(), of, ask));
        self.names.insert(task, name);
        self.tasks.insert(task, Purpose::Ask(number));
        number
    }

    /// Whoever asked hears what was said, or that nobody says anything any more.
    pub(super) fn said(&mut self, number: usize, said: Option<Said>) {
        if let Some(asked) = self.disks.asked.get_mut(number) {
            asked.said = Some(said);
        }
    }

    /// The disks' sweep finds nothing while nobody has asked for a disk, and is left out until then.
    pub(crate) fn sweep_disks_from_now_on(&mut self) {
        self.disks.swept = true;
    }

    pub(super) fn sweep_disks(&mut self) {
        if !self.disks.any() && !self.disks.swept {
            return;
        }
        self.disk_sweeps += 1;
        let plane = self.sweeper.clone();
        let task = self.executor.spawn("disks", async move { disk_worker::sweep(&plane).await.map(drop) });
        self.names.insert(task, "the disks' sweep".to_owned());
        self.tasks.insert(task, Purpose::Sweep);
        let (calm, before) = ORPHANS_EVERY;
        let every = if self.calm_since.is_some() { calm } else { before };
        if self.bug == Some(Bug::OrphansLive) || !self.disk_sweeps.is_multiple_of(every) {
            return;
        }
        let plane = self.sweeper.clone();
        let task = self.executor.spawn("volumes", async move { disk_worker::end_orphans(&plane).await.map(drop) });
        self.names.insert(task, "the disks' orphans".to_owned());
        self.tasks.insert(task, Purpose::Sweep);
    }
}
