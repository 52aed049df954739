//! What may be decided about a workload, by whom and when.

use std::time::Duration;

use super::{Address, Attached, Change, Ending, Warned, Workload, minutes_of};
use crate::{
    InstanceId, NodeId, Refusal, Timestamp,
    agent::Mount,
    job::{Fetch, Hours, People},
    lifecycle::{Cause, Stage, State, Step},
    names::GithubName,
    policy::{self, Policy},
    timeline::Entry,
};

/// What the sweep does about a workload whose time has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// Nothing: it was looked at too early, or is over.
    Nothing,
    /// Write this.
    Change(Box<Change>),
    /// Start its launch again: it was placed, but the start may have been lost.
    Launch,
    /// Tell a launcher to look at it again: it is draining, and something may still run.
    Reconcile,
}

pub(super) const PLANE: &str = "slipway";
pub(super) const AGENT: &str = "agent";

impl Workload {
    /// Books room on `node`.
    ///
    /// # Errors
    /// When it does not wait any more.
    pub fn place(&self, node: &NodeId, now: Timestamp) -> Result<Change, Refusal> {
        let entry = Entry::placed(self.version + 1, node, now);
        let mut change = self.stepped(Step::Place, "placed", "", PLANE, now, |next| next.node = Some(node.clone()))?;
        change.entry = entry;
        Ok(change)
    }

    /// Begins an attempt: its number is stored before the fleet is asked, so that whatever the fleet makes can be told from what an
    /// earlier or a later attempt made.
    ///
    /// # Errors
    /// When it is not about to be launched.
    pub fn begin_attempt(&self, now: Timestamp) -> Result<Change, Refusal> {
        let message = format!("Asking for a machine (attempt {})", self.attempt + 1);
        self.stepped(Step::Provision, "provisioning", message, PLANE, now, |next| {
            next.attempt += 1;
            // What an earlier attempt had is nothing of this one's.
            next.instance = None;
            next.address = None;
            next.disk = None;
        })
    }

    /// Records what the fleet made for this attempt.
    ///
    /// # Errors
    /// When it is not being launched any more: it was cancelled meanwhile. That the agent was faster is no harm.
    pub fn provisioned(&self, instance: InstanceId, address: Address, now: Timestamp) -> Result<Change, Refusal> {
        if self.state.stage() != Stage::Launching || self.state == State::Placed {
            return Err(Refusal::NoSuchStep { from: self.state, step: "record an instance" });
        }
        Ok(self.changed("provisioned", format!("Started {instance}"), PLANE, now, |next| {
            next.instance = Some(instance);
            next.address = Some(address);
        }))
    }

    /// Its owner is told, once for each reason, that its disk keeps it waiting; `None` where that was said.
    #[must_use]
    pub fn kept_waiting(&self, why: &str, now: Timestamp) -> Option<Change> {
        let name = self.spec.disk.as_ref()?.name.as_str();
        if self.state != State::Queued || self.waits.as_deref() == Some(why) {
            return None;
        }
        let message = format!("Waits for disk {name}, which {why}");
        Some(self.changed("waiting", message, PLANE, now, |next| next.waits = Some(why.to_owned())))
    }

    /// Its disk is there for this attempt.
    ///
    /// # Errors
    /// When it is not being launched any more.
    pub fn attached(&self, mount: Mount, now: Timestamp) -> Result<Change, Refusal> {
        let Some(disk) = self.spec.disk.as_ref().filter(|_| self.state.stage() == Stage::Launching) else {
            return Err(Refusal::NoSuchStep { from: self.state, step: "attach a disk" });
        };
        let message = format!("Disk {} is attached", disk.name.as_str());
        Ok(self.changed("disk", message, PLANE, now, |next| next.disk = Some(Attached { mount, frozen: None })))
    }

    /// Its agent is to hold the file system still for snapshot `number`; `None` where there is no disk, or no agent any more.
    #[must_use]
    pub fn freeze(&self, number: u64, now: Timestamp) -> Option<Change> {
        if self.state != State::Active {
            return None;
        }
        self.disk.as_ref()?;
        Some(self.changed("snapshot", "A snapshot of the disk was asked for", PLANE, now, |next| {
            if let Some(disk) = &mut next.disk {
                (disk.mount.freeze, disk.mount.next, disk.frozen) = (Some(number), number, None);
            }
        }))
    }

    /// The snapshot has begun: what is written from here on belongs to the next one. `None` where none was asked for, and of what has ended,
    /// which nothing changes any more.
    #[must_use]
    pub fn thaw(&self, now: Timestamp) -> Option<Change> {
        if self.state == State::Ended {
            return None;
        }
        let number = self.disk.as_ref()?.mount.freeze?;
        Some(self.changed("snapshot", "The snapshot of the disk has begun", PLANE, now, |next| {
            if let Some(disk) = &mut next.disk {
                (disk.mount.freeze, disk.mount.next, disk.frozen) = (None, number + 1, None);
            }
        }))
    }

    /// The agent of an attempt calls in.
    ///
    /// # Errors
    /// When the attempt is not the present one, or the workload is ending.
    pub fn enroll(&self, attempt: u32, version: &str, now: Timestamp) -> Result<Change, Refusal> {
        if attempt != self.attempt {
            return Err(Refusal::NoSuchStep { from: self.state, step: "enroll an old attempt" });
        }
        let message = format!("Agent {version} is up");
        self.stepped(Step::Enroll, "instance_ready", message, AGENT, now, |next| next.usage.started_at = Some(now))
    }

    /// Completes the launch: the time runs from here.
    ///
    /// # Errors
    /// When its way in has not been checked, or it is ending.
    pub fn activate(&self, now: Timestamp) -> Result<Change, Refusal> {
        let Some(duration) = self.duration else { return self.activate_open_ended(now) };
        let expires_at = now.plus(duration.duration());
        self.stepped(Step::Activate, "active", format!("Active until {expires_at}"), PLANE, now, |next| {
            next.expires_at = Some(expires_at);
            next.warned = Warned::passed(duration.duration());
        })
    }

    /// Cancels it: at once while it waits, else by draining.
    ///
    /// # Errors
    /// When it is over, or already ending.
    pub fn cancel(&self, by: &str, now: Timestamp) -> Result<Change, Refusal> {
        self.end_early(Cause::Cancelled, None, "cancelled", by, now)
    }

    /// Ends it because its launch failed or what it ran on is gone.
    ///
    /// # Errors
    /// When it is over, or already ending.
    pub fn fail(&self, reason: &str, now: Timestamp) -> Result<Change, Refusal> {
        let reason = reason.chars().take(300).collect();
        self.end_early(Cause::Failed, Some(reason), "failed", PLANE, now)
    }

    /// Fails it because what was to be done about it failed each time that it was tried; `None` where it is left as it is.
    ///
    /// Whoever is at work in it is not thrown out for an outage (`passing`), which is nothing of the workload's: the sweep has it looked at
    /// again. One that is ending stays ending, and the sweep does not let go of it either.
    #[must_use]
    pub fn give_up(&self, passing: bool, now: Timestamp) -> Option<Change> {
        if passing && self.state.stage() == Stage::Running {
            return None;
        }
        self.fail("what was to be done about it could not be carried out", now).ok()
    }

    pub(super) fn end_early(
        &self,
        cause: Cause,
        reason: Option<String>,
        kind: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let message = reason.clone().map_or_else(|| format!("Ended by {by}"), |why| format!("Ended: {why}"));
        match self.state.stage() {
            Stage::Waiting => {
                let ending = Ending { cause, reason, kill_at: now, left_at: None };
                self.stepped(Step::Withdraw, kind, message, by, now, |next| next.ending = Some(ending))
            }
            Stage::Ending | Stage::Over => Err(Refusal::AlreadyOver { status: self.over_as() }),
            Stage::Launching | Stage::Running => {
                // Before the agent has called in there is nothing that could end gracefully.
                let grace = if self.usage.started_at.is_some() { policy::SHORT_GRACE } else { Duration::ZERO };
                let ending = Ending { cause, reason, kill_at: now.plus(grace), left_at: None };
                self.stepped(Step::Drain, kind, message, by, now, |next| next.ending = Some(ending))
            }
        }
    }

    /// The word for its end in a refusal.
    pub(super) fn over_as(&self) -> &'static str {
        let cause = self.ending.as_ref().map(|ending| ending.cause);
        super::JobStatus::of(State::Ended, cause).name()
    }

    /// Moves its end.
    ///
    /// # Errors
    /// When it is not active, its time is over, it has no end, or its whole life would be longer than the policy allows.
    pub fn extend(&self, by: Hours, policy: &Policy, now: Timestamp) -> Result<Change, Refusal> {
        let (Some(expires_at), Some(lasts)) = (self.running("extend", now)?, self.duration) else {
            return Err(Refusal::OpenEnded);
        };
        let longest = Hours::whole(policy.longest_hours);
        let duration = lasts.plus(by);
        if duration > longest {
            let left = longest.minus(lasts).number();
            return Err(Refusal::TooLong { most: policy.longest_hours, left });
        }
        let expires_at = expires_at.plus(by.duration());
        let message = format!("Extended by {} hours, until {expires_at}", by.number());
        Ok(self.changed("extended", message, self.owner.as_str(), now, |next| {
            next.duration = Some(duration);
            next.expires_at = Some(expires_at);
            // The warnings that lie ahead again are given again.
            next.warned = Warned::passed(expires_at.since(now));
        }))
    }

    /// Switches JupyterLab on, with a sealed token, or off, with none.
    ///
    /// # Errors
    /// When it is not active.
    pub fn set_jupyter(&self, sealed_token: Option<String>, now: Timestamp) -> Result<Change, Refusal> {
        let wanted = sealed_token.is_some();
        self.running(if wanted { "enabling Jupyter" } else { "disabling Jupyter" }, now)?;
        let message = if wanted { "JupyterLab was asked for" } else { "JupyterLab was switched off" };
        Ok(self.changed("jupyter", message, self.owner.as_str(), now, |next| {
            // Asking again for what runs already keeps the token that people use.
            let keep = wanted && next.jupyter.wanted && next.jupyter.error.is_none();
            if !keep {
                next.jupyter =
                    super::Jupyter { wanted, sealed_token, asked: next.version, ..super::Jupyter::default() };
            }
        }))
    }

    /// Lets somebody in by their keys at GitHub; of somebody who is in already, GitHub is asked again.
    ///
    /// # Errors
    /// When it is not active, or has as many users as it takes.
    pub fn add_user(
        &self,
        people: &People,
        name: &GithubName,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(Change, People), Refusal> {
        self.running("adding a user", now)?;
        let mut people = people.clone();
        if people.github.len() >= policy.users_per_job && !people.github.contains_key(name) {
            return Err(Refusal::TooManyUsers(policy.users_per_job));
        }
        let before = people.github.remove(name);
        people.github.insert(name.clone(), Fetch::asked_again(before));
        let message = format!("GitHub user '{}' was added", name.as_str());
        Ok((self.changed("user_added", message, self.owner.as_str(), now, |_| {}), people))
    }

    /// Takes somebody's way in away again and ends their sessions (trap T16).
    ///
    /// # Errors
    /// When it is not active, nobody of that name was added, or it is the owner.
    pub fn remove_user(&self, people: &People, name: &GithubName, now: Timestamp) -> Result<(Change, People), Refusal> {
        self.running("removing a user", now)?;
        if self.spec.github_user.as_ref() == Some(name) {
            return Err(Refusal::OwnerStays(name.as_str().to_owned()));
        }
        let mut people = people.clone();
        if people.github.remove(name).is_none() {
            return Err(Refusal::NoSuchUser(name.as_str().to_owned()));
        }
        let message = format!("GitHub user '{}' was removed", name.as_str());
        Ok((self.changed("user_removed", message, self.owner.as_str(), now, |_| {}), people))
    }

    /// Records what GitHub said about somebody's keys.
    #[must_use]
    pub fn keys_fetched(&self, message: String, now: Timestamp) -> Change {
        self.changed("keys", message, PLANE, now, |_| {})
    }

    /// When it ends, if it is running and has an end; at the very instant of its end it is not running.
    fn running(&self, action: &'static str, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
        match (self.state, self.expires_at) {
            (State::Active, end) if end.is_none_or(|end| now < end) => Ok(end),
            (State::Active | State::Draining, _) => Err(Refusal::NotRunning { action, status: "ending" }),
            _ => Err(Refusal::NotRunning { action, status: self.status().name() }),
        }
    }

    /// Its agent said that nothing of it runs any more. That is believed only to hasten its end: GPUs are free when the fleet agrees.
    #[must_use]
    pub fn agent_left(&self, reason: &str, now: Timestamp) -> Option<Change> {
        let reason = reason.chars().take(300).collect::<String>();
        match (self.state, &self.ending) {
            (State::Draining, Some(ending)) if ending.left_at.is_none() => {
                Some(self.changed("left", format!("Agent left: {reason}"), AGENT, now, |next| {
                    if let Some(ending) = &mut next.ending {
                        ending.left_at = Some(now);
                    }
                }))
            }
            (State::Queued | State::Draining | State::Ended, _) => None,
            _ => {
                // The agent arms the end by itself, and its clock and ours are not the same one.
                let expired = self.expires_at.is_some_and(|at| now.plus(policy::CLOCKS_APART) >= at);
                let cause = if expired { Cause::Expired } else { Cause::Failed };
                let why = if expired { None } else { Some(format!("the agent left: {reason}")) };
                let mut change = self.end_early(cause, why, "left", AGENT, now).ok()?;
                if let Some(ending) = &mut change.workload.ending {
                    ending.left_at = Some(now);
                }
                Some(change)
            }
        }
    }

    /// The fleet says that nothing of it runs any more: its GPUs are free. `stopped_at` is when the fleet, or else the agent, saw
    /// the last of it.
    ///
    /// # Errors
    /// When it is not draining.
    pub fn end(&self, stopped_at: Option<Timestamp>, now: Timestamp) -> Result<Change, Refusal> {
        let left_at = self.ending.as_ref().and_then(|ending| ending.left_at);
        let stopped = stopped_at.or(left_at).unwrap_or(now).min(now);
        self.stepped(Step::End, "ended", "Nothing of it runs any more", PLANE, now, |next| {
            if let Some(started) = next.usage.started_at {
                let seconds = stopped.since(started).as_millis().div_ceil(1000);
                next.usage.stopped_at = Some(stopped.max(started));
                next.usage.gpu_seconds =
                    u64::try_from(seconds).unwrap_or(u64::MAX).saturating_mul(u64::from(next.spec.gpu_count));
            }
        })
    }

    /// What is due at `now`: the one place where time moves a workload.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Due {
        if self.due_at().is_none_or(|due| now < due) {
            return Due::Nothing;
        }
        let overdue = self.deadline().is_some_and(|deadline| now >= deadline);
        let change = match self.state.stage() {
            Stage::Over => None,
            Stage::Ending => return Due::Reconcile,
            Stage::Launching if self.state == State::Placed && !overdue => return Due::Launch,
            Stage::Launching => self.fail(&format!("the phase {} took too long", self.state.name()), now).ok(),
            Stage::Waiting => {
                let hours = policy::longest_stay(State::Queued).unwrap_or_default().as_secs() / 3600;
                let why = format!("it waited for GPUs for {hours} hours");
                self.end_early(Cause::Cancelled, Some(why), "cancelled", PLANE, now).ok()
            }
            Stage::Running => self.active_due(now),
        };
        change.map_or(Due::Nothing, |change| Due::Change(Box::new(change)))
    }

    fn active_due(&self, now: Timestamp) -> Option<Change> {
        // The command may have ended while the way in was still being checked.
        if let (true, Some(code)) = (self.spec.end_on_exit, self.exit_code) {
            return self.completed(code, now).ok();
        }
        let Some(expires_at) = self.expires_at else { return self.silence_due(now) };
        if now >= expires_at {
            let kill_at = expires_at.plus(policy::GRACE).max(now);
            let ending = Ending { cause: Cause::Expired, reason: None, kill_at, left_at: None };
            let message = "Its time is over; what runs may finish for two minutes";
            return self.stepped(Step::Drain, "expired", message, PLANE, now, |next| next.ending = Some(ending)).ok();
        }
        let left = expires_at.since(now);
        let minutes = policy::WARNINGS.into_iter().rfind(|minutes| left <= minutes_of(*minutes))?;
        let message = format!("This job ends in {minutes} minutes, at {expires_at}; extend it to keep it");
        Some(self.changed("warning", message, PLANE, now, |next| {
            next.warned = Some(Warned { minutes, notice: Some(next.version) });
        }))
    }
}
