//! A workload: one thing that holds GPUs, and what may be decided about it.
//!
//! Each decision takes the workload as it is and the present instant, and gives either a [`Change`], the workload as it is to be with
//! the timeline entry that says so, or a [`Refusal`]. Nothing is changed until the store has written it under the condition that
//! the version is still the one that was decided upon.

mod decisions;
mod reports;
mod serving;
mod view;

use serde::{Deserialize, Serialize};

pub use decisions::Due;
pub use reports::Reported;
pub use view::{JobStatus, NodeStatus};

use crate::{
    InstanceId, MessageId, NodeId, PoolId, Refusal, TenantId, Timestamp, UserName, WorkloadId,
    agent::Mount,
    job::{DiskUse, Hours, Spec},
    lifecycle::{Cause, State, Step},
    message::Message,
    placement::NeedsDisk,
    policy,
    timeline::{Entry, Outbox},
};

/// One workload: the part that changes and is read often, under one kilobyte. What is large or secret lies beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Its id.
    pub id: WorkloadId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The person that submitted it.
    pub owner: UserName,
    /// Grows by one with each change.
    pub version: u64,
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// What it is to be.
    pub spec: Spec,
    /// How long it runs once it is active, extensions included; `None` is open-ended: it runs until it is ended, nobody has used it for as
    /// long as it allows, or its agent is silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Hours>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it ends by itself; known once it is active. One that is open-ended has no such time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The node that it was placed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Counts the times that a fleet was asked to run it; the number is stored before the fleet is asked.
    pub attempt: u32,
    /// What the fleet calls the present attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// How to reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Its disk, once that is there for this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Attached>,
    /// Why its disk keeps it waiting, as its owner was last told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// JupyterLab.
    pub jupyter: Jupyter,
    /// The main process's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How far its launch had come, in percent, when it last changed; it never falls (checklist 000#18).
    #[serde(default)]
    pub progress: u8,
    /// When its agent was last known to have called. It is written without a new version, and not at each call, since it matters to what is
    /// open-ended alone: see [`Workload::news_of_life`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Timestamp>,
    /// When it was first found that its agent had been silent for too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_at: Option<Timestamp>,
    /// The number of the last note that its agent sent.
    pub notes_seen: u64,
    /// The last warning before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warned: Option<Warned>,
    /// Set when it is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// What it really used.
    pub usage: Usage,
}

/// How to reach a workload: told by the fleet, never by the agent, which user code may have taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The host, as a user's machine can reach it.
    pub host: String,
    /// The SSH port.
    pub ssh_port: u16,
    /// JupyterLab's port, on the workload's own loopback.
    pub jupyter_port: u16,
    /// The port at which its model answers, where it serves one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_port: Option<u16>,
}

/// A disk that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// What its agent is told about it.
    pub mount: Mount,
    /// The freeze that its agent said it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<u64>,
}

/// JupyterLab on a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jupyter {
    /// It was asked for.
    pub wanted: bool,
    /// Its `/api` answered (trap T20).
    pub ready: bool,
    /// Why it can not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its token, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_token: Option<String>,
    /// The version with which it was last switched on or off: what an agent says that has not applied it yet is about the one before.
    #[serde(default)]
    pub asked: u64,
}

/// A warning that a workload's time is nearly over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warned {
    /// How many minutes before the end it belongs to.
    pub minutes: u32,
    /// The version that gave it, which numbers the line on the terminals; `None` when its time had passed before it could be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<u64>,
}

impl Warned {
    /// The warning whose time has passed when so much is `left`: it, and those before it, are not given.
    fn passed(left: std::time::Duration) -> Option<Self> {
        let minutes = policy::WARNINGS.into_iter().rfind(|minutes| minutes_of(*minutes) >= left)?;
        Some(Self { minutes, notice: None })
    }
}

/// A workload that is to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Why.
    pub cause: Cause,
    /// Why, in words, where the cause alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When what still runs is ended.
    pub kill_at: Timestamp,
    /// When its agent said that nothing runs any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_at: Option<Timestamp>,
}

/// GPUs really used (invariant I9): from the agent's enrolment to the moment that nothing ran any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// When something of it was first seen running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was seen, or said, to have stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// GPUs times seconds, rounded up.
    pub gpu_seconds: u64,
}

/// A decision that waits to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The workload as it is to be.
    pub workload: Workload,
    /// What the timeline says about it.
    pub entry: Entry,
    /// What is to be sent, in the same transaction.
    pub outbox: Option<Outbox>,
}

impl Change {
    /// Sends `messages` with this change, under the id that the answer will name.
    #[must_use]
    pub fn sending(mut self, id: MessageId, messages: Vec<Message>) -> Self {
        self.outbox = Some(Outbox { id, messages, urgent: true });
        self
    }

    /// What makes somebody look at what it changed: whoever waited and ended leaves a gap in its pool's queue; whatever else moved is looked
    /// after by a launcher.
    #[must_use]
    pub fn rouses(&self) -> Message {
        if self.workload.state == State::Ended { self.workload.doorbell() } else { self.workload.reconcile() }
    }

    /// Leaves `messages` to the sweep, under the id that the answer will name: nobody waits for what they set in motion.
    #[must_use]
    pub fn leaving(mut self, id: MessageId, messages: Vec<Message>) -> Self {
        self.outbox = Some(Outbox { id, messages, urgent: false });
        self
    }
}

/// What a new workload is made from.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its id.
    pub id: WorkloadId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The person.
    pub owner: UserName,
    /// What it is to be.
    pub spec: Spec,
    /// How long it runs once it is active; `None` is open-ended.
    pub duration: Option<Hours>,
    /// JupyterLab's sealed token, when it was asked for.
    pub sealed_jupyter_token: Option<String>,
}

impl Workload {
    /// A workload that has just been submitted.
    #[must_use]
    pub fn submit(submission: Submission, now: Timestamp) -> Change {
        let Submission { id, tenant, owner, spec, duration, sealed_jupyter_token } = submission;
        let message = spec.submitted();
        let wanted = sealed_jupyter_token.is_some();
        let workload = Self {
            id,
            tenant,
            owner,
            version: 0,
            state: State::Queued,
            since: now,
            spec,
            duration,
            created_at: now,
            expires_at: None,
            node: None,
            attempt: 0,
            instance: None,
            address: None,
            disk: None,
            waits: None,
            jupyter: Jupyter { wanted, sealed_token: sealed_jupyter_token, ..Jupyter::default() },
            exit_code: None,
            progress: 0,
            heard_at: None,
            silent_at: None,
            notes_seen: 0,
            warned: None,
            ending: None,
            usage: Usage::default(),
        };
        let by = workload.owner.to_string();
        workload.changed("submitted", message, &by, now, |_| {})
    }

    /// The pool that it queues in.
    #[must_use]
    pub fn pool(&self) -> &PoolId {
        &self.spec.pool
    }

    /// The disk that it waits for, if it needs one.
    #[must_use]
    pub fn needs_disk(&self) -> Option<NeedsDisk> {
        let DiskUse { id, size_gb, .. } = *self.spec.disk.as_ref()?;
        Some(NeedsDisk { owner: self.owner.clone(), disk: id, size_gb })
    }

    /// The doorbell that tells a dispatcher to look at its pool.
    #[must_use]
    pub fn doorbell(&self) -> Message {
        Message::Doorbell { pool: self.spec.pool.clone() }
    }

    /// The message that tells a launcher to bring the world in line with it.
    #[must_use]
    pub fn reconcile(&self) -> Message {
        Message::Reconcile { tenant: self.tenant.clone(), workload: self.id }
    }

    /// The message that tells a disk worker to look at its disk, if it has one.
    #[must_use]
    pub fn tend_disk(&self) -> Option<Message> {
        let disk = self.spec.disk.as_ref()?.id;
        Some(Message::Disk { tenant: self.tenant.clone(), owner: self.owner.clone(), disk })
    }

    /// When the sweep looks at it next; `None` when it has ended. Every other state has such a time (invariant I6), which the sweep's
    /// index is made of.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Ended => None,
            // The launch is started again if it did not start, long before its deadline.
            State::Placed => Some(self.since.plus(policy::SECOND_TRY)),
            State::Draining => self.ending.as_ref().map(|ending| ending.kill_at).or(Some(self.since)),
            // A command that ended before the launch did ends the job as soon as it has begun.
            State::Active if self.spec.end_on_exit && self.exit_code.is_some() => Some(self.since),
            State::Active => Some(self.expires_at.map_or_else(
                || self.silence_due_at(),
                |expires| self.next_warning().map_or(expires, |minutes| expires.minus(minutes_of(minutes))),
            )),
            State::Queued
            | State::Provisioning
            | State::InstanceReady
            | State::Installing
            | State::ModelLoading
            | State::HealthCheck => self.deadline(),
        }
    }

    /// When it must have left its state.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        policy::longest_stay(self.state).map(|stay| self.since.plus(stay))
    }

    /// The next warning before the end that has not been given, in minutes.
    fn next_warning(&self) -> Option<u32> {
        policy::WARNINGS.into_iter().find(|minutes| self.warned.is_none_or(|given| *minutes < given.minutes))
    }

    /// This workload after a step, with its entry.
    fn stepped(
        &self,
        step: Step,
        kind: &str,
        message: impl Into<String>,
        by: &str,
        now: Timestamp,
        edit: impl FnOnce(&mut Self),
    ) -> Result<Change, Refusal> {
        let state = self.state.after(step).ok_or(Refusal::NoSuchStep { from: self.state, step: step.name() })?;
        Ok(self.changed(kind, message, by, now, |next| {
            if next.state != state {
                next.since = now;
            }
            next.state = state;
            edit(next);
        }))
    }

    /// This workload after an edit that keeps its state, with its entry.
    fn changed(
        &self,
        kind: &str,
        message: impl Into<String>,
        by: &str,
        now: Timestamp,
        edit: impl FnOnce(&mut Self),
    ) -> Change {
        let mut next = self.clone();
        next.version += 1;
        edit(&mut next);
        // A placement writes the state alone, and what an agent says of its progress may fall.
        next.progress = next.progress.max(self.progress).max(next.state.progress());
        let entry = Entry {
            version: next.version,
            at: now,
            kind: kind.to_owned(),
            phase: next.state,
            progress: next.progress,
            message: message.into(),
            by: by.to_owned(),
        };
        Change { from: self.state, workload: next, entry, outbox: None }
    }
}

fn minutes_of(minutes: u32) -> std::time::Duration {
    std::time::Duration::from_secs(u64::from(minutes) * 60)
}

#[cfg(test)]
mod tests;
