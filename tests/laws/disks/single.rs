//! What can be done with a disk, each to be played with every single fault at every call of it.

use std::time::Duration;

use cloud::sim::FaultPlan;
use domain::{Disk, DiskId, TenantId, UserName, Workload, disk::DiskState, lifecycle::State};

use super::asks::{Ask, Said};
use crate::laws::{
    agents::{Agents, Temper},
    at_rest,
    harness::{Harness, Violation, broken},
    people::{self, User},
    secrets,
    single::{End, Outcome, Plays, hold_to_the_record},
    turns::act_on,
};

/// What is done with a disk, and what is to come of it.
pub(crate) struct Workflow {
    /// Its name in the record.
    pub(crate) name: &'static str,
    /// What happened to the disk before.
    arrange: fn(&mut Played) -> Result<(), Violation>,
    /// What is done.
    act: fn(&mut Played) -> Result<(), Violation>,
    /// For how many seconds it is watched.
    wait: u64,
    /// What came of it.
    goal: fn(&Played) -> End,
}

pub(crate) const ALL: [Workflow; 9] = [
    Workflow { name: "disk: attach", arrange: nothing, act: submit, wait: 120, goal: is_attached },
    Workflow { name: "disk: attach again", arrange: used, act: submit, wait: 120, goal: is_attached },
    Workflow { name: "disk: detach", arrange: in_use, act: cancel, wait: 200, goal: has_two },
    Workflow { name: "disk: snapshot", arrange: in_use, act: snapshot, wait: 150, goal: has_two },
    Workflow { name: "disk: restore", arrange: used_twice, act: restore, wait: 10, goal: is_the_first },
    Workflow { name: "disk: rename", arrange: used, act: rename, wait: 70, goal: is_renamed },
    Workflow { name: "disk: delete", arrange: used, act: delete, wait: 70, goal: is_deleted },
    Workflow { name: "disk: branch", arrange: used, act: branch, wait: 10, goal: is_branched },
    Workflow { name: "disk: gone for good", arrange: deleted, act: wait_a_month, wait: 130, goal: is_gone },
];

/// One seed for all.
const SEED: u64 = 4;

/// A world in which a workflow is played; its first user owns the disk.
pub(crate) struct Played {
    h: Harness,
    users: Vec<User>,
}

fn nothing(played: &mut Played) -> Result<(), Violation> {
    played.with_a_past(0)
}

fn in_use(played: &mut Played) -> Result<(), Violation> {
    used(played)?;
    submit(played)?;
    played.until(|played| is_attached(played) == End::Goal)
}

fn used(played: &mut Played) -> Result<(), Violation> {
    played.with_a_past(1)
}

fn used_twice(played: &mut Played) -> Result<(), Violation> {
    played.with_a_past(2)
}

fn deleted(played: &mut Played) -> Result<(), Violation> {
    used(played)?;
    delete(played)?;
    played.h.pass(200)
}

fn submit(played: &mut Played) -> Result<(), Violation> {
    let jobs = played.h.rows.workloads.len();
    for _ in 0..6 {
        let said = played.ask_once(Ask::Submit { disk: "data", tenths: 10 })?;
        // One whose answer was lost may have come through.
        if matches!(said, Some(Said::Taken(_))) || played.h.rows.workloads.len() > jobs {
            return Ok(());
        }
    }
    broken("goal", "no job was ever taken")
}

fn cancel(played: &mut Played) -> Result<(), Violation> {
    let Some(id) = played.job().map(|row| row.id) else { return broken("goal", "there is no job") };
    let Some(exchange) = act_on(&played.h, &played.users, id, "cancelled") else {
        return broken("goal", "nobody can cancel");
    };
    for _ in 0..6 {
        let number = played.h.send(exchange.clone());
        played.h.pass(8)?;
        match played.h.exchanges.all[number].status() {
            None | Some(401 | 500..) => {}
            Some(_) => return Ok(()),
        }
    }
    broken("goal", "a cancel was never answered")
}

fn snapshot(played: &mut Played) -> Result<(), Violation> {
    played.ask(Ask::Snapshot)
}

fn restore(played: &mut Played) -> Result<(), Violation> {
    played.ask(Ask::Restore)
}

fn rename(played: &mut Played) -> Result<(), Violation> {
    played.ask(|id| Ask::Rename(id, "models"))
}

fn delete(played: &mut Played) -> Result<(), Violation> {
    played.ask(Ask::Delete)
}

fn branch(played: &mut Played) -> Result<(), Violation> {
    played.ask(|id| Ask::Branch(id, "models"))
}

/// Until a minute before the disk's end.
fn wait_a_month(played: &mut Played) -> Result<(), Violation> {
    let end = played.disk().and_then(|disk| disk.delete_at);
    let Some(end) = end else { return broken("goal", "it is not deleted") };
    played.h.rest(end.minus(Duration::from_secs(60)).since(played.h.world.now()).as_secs())
}

fn goal_if(reached: bool) -> End {
    if reached { End::Goal } else { End::Nothing }
}

fn is_attached(played: &Played) -> End {
    let Some(row) = played.job() else { return End::Nothing };
    let failed = row.ending.as_ref().is_some_and(|ending| ending.reason.is_some());
    match row.state {
        State::Active if row.disk.is_some() => End::Goal,
        State::Ended if failed => End::HonestFailure,
        _ => End::Nothing,
    }
}

fn has_two(played: &Played) -> End {
    let none_pending = |disk: &Disk| disk.pending.is_none() && disk.complete == 2;
    goal_if(played.disk().is_some_and(none_pending))
}

fn is_the_first(played: &Played) -> End {
    goal_if(played.disk().is_some_and(|disk| disk.head.as_ref().is_some_and(|head| head.number == 1)))
}

fn is_renamed(played: &Played) -> End {
    let named = |disk: &Disk| disk.name.as_str() == "models" && disk.naming.as_ref().is_some_and(|one| one.tried);
    goal_if(played.disk().is_some_and(named))
}

fn is_deleted(played: &Played) -> End {
    goal_if(played.disk().is_some_and(|disk| disk.state == DiskState::Deleting && disk.operation.is_none()))
}

fn is_branched(played: &Played) -> End {
    let mut rows = played.h.disks.rows.values();
    let branched = rows.any(|disk| disk.name.as_str() == "models" && disk.head.is_some());
    goal_if(branched && played.h.disks.rows.len() == 2)
}

fn is_gone(played: &Played) -> End {
    let left = played.h.disks.snapshots.iter().any(|one| one.deleted_at.is_none());
    goal_if(played.h.disks.rows.is_empty() && !left)
}

impl Played {
    fn new() -> Self {
        let mut h = Harness::new(SEED, None);
        h.agents = Agents::seeded(SEED, Some(Temper::Good));
        let users = people::users(&mut h);
        Self { h, users }
    }

    /// A disk that was used so many times before, in a world where things then take their time.
    fn with_a_past(&mut self, uses: u32) -> Result<(), Violation> {
        let owner = self.owner();
        if uses > 0 {
            self.h.a_used_disk(&owner, uses);
        }
        let span = |from, to| Duration::from_secs(from)..=Duration::from_secs(to);
        self.h.world.set(|settings| {
            (settings.boot, settings.stop) = (span(4, 20), span(1, 20));
            (settings.attach, settings.detach) = (span(1, 10), span(0, 10));
            (settings.snapshot, settings.list_lag) = (span(5, 20), span(0, 30));
        });
        self.h.pass(1)
    }

    fn owner(&self) -> (TenantId, UserName) {
        (self.users[0].tenant.clone(), self.users[0].name.clone())
    }

    /// The disk: the first that was ever made.
    fn disk(&self) -> Option<&Disk> {
        self.h.disks.rows.values().next()
    }

    /// The last job.
    fn job(&self) -> Option<&Workload> {
        self.h.rows.workloads.values().last()
    }

    fn until(&mut self, reached: impl Fn(&Self) -> bool) -> Result<(), Violation> {
        for _ in 0..120 {
            if reached(self) {
                return Ok(());
            }
            self.h.pass(5)?;
        }
        broken("goal", "what comes before does not come to pass")
    }

    /// What was said within eight seconds.
    fn ask_once(&mut self, ask: Ask) -> Result<Option<Said>, Violation> {
        let number = self.h.ask_of_disks(self.owner(), ask);
        self.h.pass(8)?;
        Ok(self.h.disks.asked.get(number).and_then(|asked| asked.said.clone().flatten()))
    }

    /// Asks as a careful client does: again, until somebody answers.
    fn ask(&mut self, ask: impl Fn(DiskId) -> Ask) -> Result<(), Violation> {
        let Some(id) = self.disk().map(|disk| disk.id) else { return broken("goal", "there is no disk") };
        for tries in 0..6 {
            match self.ask_once(ask(id))? {
                Some(Said::Done(_) | Said::Taken(_)) => return Ok(()),
                // What came through before, unheard, is refused now.
                Some(Said::Refused(_)) if tries > 0 => return Ok(()),
                Some(Said::Refused(why)) => return broken("goal", format!("a careful client was refused: {why}")),
                Some(Said::Failed(_)) | None => {}
            }
        }
        broken("goal", "a careful client was never answered")
    }

    fn play(&mut self, workflow: &Workflow, plan: FaultPlan) -> Result<Outcome, Violation> {
        drop(secrets::take_log());
        self.h.peaceful = true;
        (workflow.arrange)(self)?;
        self.h.peaceful = plan == FaultPlan::None;
        self.h.world.follow(plan);
        let first = self.h.world.calls() + 1;
        (workflow.act)(self)?;
        self.h.pass(workflow.wait)?;
        let calls = first..=self.h.world.calls();
        let log = self.h.world.log().into_iter().filter(|call| calls.contains(&call.number));
        let sites = log.map(|call| (call.number, call.label)).collect();
        self.h.calm();
        self.h.rest(420)?;
        self.h.pass(240)?;
        at_rest::check(&mut self.h, false)?;
        match (workflow.goal)(self) {
            End::Nothing => {
                let disk = self.disk().map(|disk| (disk.state.name(), disk.pending.clone(), disk.complete));
                let job = self.job().map(|row| (row.state.name(), row.ending.clone()));
                broken("goal", format!("it came to {disk:?} {job:?}"))
            }
            end => Ok(Outcome { sites, end }),
        }
    }
}

/// Plays a workflow under a plan.
fn play(workflow: &Workflow, plan: FaultPlan) -> Result<Outcome, Violation> {
    let mut played = Played::new();
    played.play(workflow, plan).map_err(|mut violation| {
        violation.story = played.h.story();
        violation
    })
}

#[test]
fn every_single_fault_at_a_disk_is_borne() {
    let plays = |workflow: &'static Workflow| Box::new(|plan| play(workflow, plan)) as Plays;
    hold_to_the_record(&ALL.iter().map(|workflow| (workflow.name, plays(workflow))).collect());
}
