//! What is decided about workloads that serve a model, and about those without an end.

use std::time::Duration;

use super::{
    Change, Ending, Workload,
    decisions::{AGENT, PLANE},
};
use crate::{
    Refusal, Timestamp,
    lifecycle::{Cause, Stage, State, Step},
    policy,
};

impl Workload {
    /// For how many minutes nobody may use it before it ends by itself.
    fn idle_minutes(&self) -> Option<u32> {
        self.spec.serve.as_ref()?.idle_minutes
    }

    /// Its owner is told that one machine stands for the provider and the region that were asked for; `None` for what names none.
    #[must_use]
    pub fn stood_in_for(&self, now: Timestamp) -> Option<Change> {
        let serve = self.spec.serve.as_ref()?;
        let place = format!("{} {}", serve.provider.name(), serve.region.as_str());
        let spot = if serve.use_spot { ", and for its spot capacity" } else { "" };
        let message = format!("This machine stands for {place}{spot}: nothing is bought there");
        Some(self.changed("stand_in", message, PLANE, now, |_| {}))
    }

    /// Completes the launch of what has no end.
    pub(super) fn activate_open_ended(&self, now: Timestamp) -> Result<Change, Refusal> {
        let message = match self.idle_minutes() {
            Some(minutes) => format!("Active until it is ended, or nobody has used it for {minutes} minutes"),
            None => "Active until it is ended".to_owned(),
        };
        self.stepped(Step::Activate, "active", message, PLANE, now, |next| next.heard_at = Some(now))
    }

    /// Ends it when nobody has used it for as long as it allows. That is judged of an active one alone, and nothing that was before it was
    /// active counts: while a model is loaded nobody can use it.
    pub(super) fn idle_reported(&self, idle_seconds: Option<u64>, now: Timestamp) -> Option<Change> {
        let (minutes, seconds) = (self.idle_minutes()?, idle_seconds?);
        if self.state != State::Active {
            return None;
        }
        let allowed = Duration::from_secs(u64::from(minutes) * 60);
        if Duration::from_secs(seconds).min(now.since(self.since)) < allowed {
            return None;
        }
        let reason = format!("idle for {minutes} minutes");
        let ending = Ending {
            cause: Cause::Idle,
            reason: Some(reason.clone()),
            kill_at: now.plus(policy::SHORT_GRACE),
            left_at: None,
        };
        let message = format!("Ended: {reason}");
        self.stepped(Step::Drain, "idle", message, AGENT, now, |next| next.ending = Some(ending)).ok()
    }

    /// Ends it without any grace, also where it is ending already: nothing of it may finish by itself. Its GPUs are free no sooner than the
    /// fleet says that nothing of it runs any more (invariant I4).
    ///
    /// # Errors
    /// When it is over.
    pub fn purge(&self, by: &str, now: Timestamp) -> Result<Change, Refusal> {
        let mut change = match self.state.stage() {
            Stage::Ending => {
                self.changed("purged", format!("What is left of it is ended at once by {by}"), by, now, |_| {})
            }
            Stage::Waiting | Stage::Launching | Stage::Running | Stage::Over => self.cancel(by, now)?,
        };
        if let Some(ending) = &mut change.workload.ending {
            ending.kill_at = ending.kill_at.min(now);
        }
        Ok(change)
    }

    /// When its agent was last heard, as far as is known: it was heard when it became active.
    fn heard(&self) -> Timestamp {
        self.heard_at.map_or(self.since, |heard| heard.max(self.since))
    }

    /// When it was first found silent, if nothing was heard since.
    fn silent(&self) -> Option<Timestamp> {
        self.silent_at.filter(|first| *first > self.heard())
    }

    /// When the sweep looks whether its agent is still to be heard. An open-ended workload has this in the place of an end.
    pub(super) fn silence_due_at(&self) -> Timestamp {
        match self.silent() {
            Some(first) => first.plus(policy::SECOND_LOOK),
            None => self.heard().plus(policy::SILENCE),
        }
    }

    /// The first look finds it silent, the second ends it: an agent that comes back in between is given its time anew.
    pub(super) fn silence_due(&self, now: Timestamp) -> Option<Change> {
        if now < self.silence_due_at() {
            return None;
        }
        let minutes = policy::SILENCE.as_secs() / 60;
        if self.silent().is_some() {
            return self.fail(&format!("nothing was heard from its agent for {minutes} minutes"), now).ok();
        }
        let message = format!("Nothing was heard from its agent for {minutes} minutes; it is looked at once more");
        Some(self.changed("silent", message, PLANE, now, |next| next.silent_at = Some(now)))
    }

    /// What is to be written down when its agent was heard at `now`, if that is worth a write: of an open-ended one that is active, once in a
    /// while, and at once where it was held to be silent. Then it was heard later than that, whatever two hosts' clocks say.
    #[must_use]
    pub fn news_of_life(&self, now: Timestamp) -> Option<Timestamp> {
        if self.state != State::Active || self.duration.is_some() {
            return None;
        }
        match self.silent() {
            Some(first) => Some(now.max(first.plus(Duration::from_millis(1)))),
            None => (now >= self.heard().plus(policy::HEARD_AGAIN)).then_some(now),
        }
    }
}

#[cfg(test)]
mod tests;
