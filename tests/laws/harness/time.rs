//! How time passes.

use std::{sync::atomic::Ordering, time::Duration};

use domain::{Timestamp, Workload, lifecycle::Stage, message::QueueName};
use futures::executor::block_on;
use store::{disks::DueDisk, workloads::DueRow};

use super::{A_SWEEP, Harness, MOST_STEPS, Violation, broken};
use crate::laws::invariants;

impl Harness {
    /// Runs until nobody can go on at this instant.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        if self.run(MOST_STEPS)? {
            return Ok(());
        }
        broken("livelock", format!("{:?}", self.executor.unfinished()))
    }

    /// Lets time pass until `to`.
    pub(crate) fn advance(&mut self, to: Timestamp) -> Result<(), Violation> {
        self.settle()?;
        while let Some(at) = self.next_event().filter(|at| *at <= to) {
            self.move_to(at)?;
        }
        self.move_to(to)
    }

    /// As [`Harness::advance`], by a number of seconds.
    pub(crate) fn pass(&mut self, seconds: u64) -> Result<(), Violation> {
        self.advance(self.world.now().plus(Duration::from_secs(seconds)))
    }

    /// Lets time pass towards `to`: a minute, or while nothing moves, as far as something is due. Sweeps and idle agents' reports on the
    /// way would find nothing to do, so they are left out. This is what keeps thousands of schedules with jobs of two days within
    /// a test's time.
    pub(crate) fn skip(&mut self, to: Timestamp) -> Result<(), Violation> {
        self.settle()?;
        let due = self.rows.workloads.values().filter_map(Workload::due_at).min();
        let news = self.agents.next_news(&self.rows.workloads);
        let disks = self.disks.next_news().map(|at| at.max(self.world.now().plus(A_SWEEP)));
        let to = [due, news, disks].into_iter().flatten().fold(to, Timestamp::min);
        let moving =
            self.rows.workloads.values().any(|row| matches!(row.state.stage(), Stage::Launching | Stage::Ending));
        let queued = QueueName::ALL.into_iter().any(|queue| !self.world.messages(queue).is_empty());
        if moving || queued || !self.tasks.is_empty() || to <= self.next_sweep || self.sweep_has_work() {
            return self.pass(60);
        }
        self.next_sweep = to;
        self.agents.sleep_until(to, &self.rows.workloads);
        self.advance(to)
    }

    /// Whether the next sweep sends what was not sent, or rings for somebody who could be placed.
    fn sweep_has_work(&self) -> bool {
        let soon = self.world.now().plus(A_SWEEP);
        let (due, _) = block_on(self.truth.due(soon, None)).expect("the tables are read");
        let unsent = due.iter().any(|row| matches!(row, DueRow::Outbox(_)));
        let (disks, _) = block_on(self.truth.due_disks(soon, None)).expect("the tables are read");
        let spare = disks.iter().any(|row| !matches!(row, DueDisk::Disk(..)));
        unsent || spare || invariants::nobody_waits_for_nothing(self).is_err()
    }

    /// As [`Harness::skip`], again and again, for so many seconds altogether.
    pub(crate) fn rest(&mut self, seconds: u64) -> Result<(), Violation> {
        let until = self.world.now().plus(Duration::from_secs(seconds));
        while self.world.now() < until {
            self.skip(until)?;
        }
        Ok(())
    }

    fn move_to(&mut self, at: Timestamp) -> Result<(), Violation> {
        self.world.move_to(at);
        self.fleet_moved.store(true, Ordering::Relaxed);
        self.look()?;
        self.settle()
    }

    /// When something happens by itself next.
    fn next_event(&self) -> Option<Timestamp> {
        let now = self.world.now();
        let visible = QueueName::ALL.into_iter().flat_map(|queue| self.world.messages(queue)).map(|one| one.visible_at);
        let alone = [
            self.world.next_timer(),
            self.world.next_arrival(),
            self.world.next_volume_arrival(),
            self.world.next_delivery().filter(|at| *at > now),
            visible.filter(|at| *at > now).min(),
            self.agents.next_event(),
            self.flights.next_event(),
            Some(self.next_sweep),
        ];
        alone.into_iter().flatten().filter(|at| *at > now).min()
    }
}
