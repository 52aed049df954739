//! What an agent's report changes.

use super::{Change, Ending, Workload, decisions::AGENT};
use crate::{
    Refusal, Timestamp,
    agent::{JupyterState, MOST_NOTES, MainProcess, Note, Progress, Report},
    lifecycle::{Cause, State, Step},
    policy,
};

/// What an agent's report changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reported {
    /// To be written one after the other.
    pub changes: Vec<Change>,
    /// The way in works: the launch may go on.
    pub ready: bool,
}

impl Workload {
    /// Takes an agent's report. It only ever moves the workload forward, and never touches expiry, usage or addresses.
    #[must_use]
    pub fn report(&self, report: &Report, now: Timestamp) -> Reported {
        let mut changes = Vec::new();
        let (state, step, message) = match report.progress {
            Progress::Installing => (State::Installing, Step::Install, "Making the sandbox"),
            Progress::ModelLoading => (State::ModelLoading, Step::LoadModel, "Loading the model"),
            Progress::HealthCheck | Progress::Ready => (State::HealthCheck, Step::CheckHealth, "Checking the way in"),
        };
        let notes = || report.notes.iter().filter(|note| note.number > self.notes_seen).take(MOST_NOTES);
        for note in notes().filter(|note| note.percent.is_none()) {
            push(self, &mut changes, |last| Some(last.noted(note, None, now)));
        }
        push(self, &mut changes, |last| {
            // A phase that the launch is past already is no news, and an ending workload cannot step.
            if last.state >= state { None } else { last.stepped(step, state.name(), message, AGENT, now, |_| {}).ok() }
        });
        // What measures a phase is told after its beginning.
        for note in notes().filter(|note| note.percent.is_some()) {
            push(self, &mut changes, |last| Some(last.noted(note, Some(state), now)));
        }
        push(self, &mut changes, |last| {
            // What it says of a JupyterLab that it was since told to start or to stop is no news of that one.
            let current = report.applied >= last.jupyter.asked;
            current.then(|| last.jupyter_reported(&report.jupyter, now)).flatten()
        });
        push(self, &mut changes, |last| last.frozen(report.frozen, now));
        push(self, &mut changes, |last| last.main_reported(report.main, now));
        push(self, &mut changes, |last| last.idle_reported(report.idle_seconds, now));
        let last = changes.last().map_or(self, |change| &change.workload);
        let ready = report.progress == Progress::Ready && last.state == State::HealthCheck;
        Reported { changes, ready }
    }

    /// A fact for the timeline; `phase` is what its percentage is of, which counts for nothing in any other.
    fn noted(&self, note: &Note, phase: Option<State>, now: Timestamp) -> Change {
        let text = note.text.chars().take(500).collect::<String>();
        let percent = note.percent.filter(|_| phase == Some(self.state));
        self.changed("note", text, AGENT, now, |next| {
            next.notes_seen = next.notes_seen.max(note.number);
            next.progress = percent.map_or(next.progress, |percent| next.progress.max(next.state.progress_at(percent)));
        })
    }

    fn frozen(&self, said: Option<u64>, now: Timestamp) -> Option<Change> {
        let disk = self.disk.as_ref()?;
        let news = said.is_some() && said == disk.mount.freeze && said != disk.frozen;
        news.then(|| {
            self.changed("snapshot", "The disk's file system holds still", AGENT, now, |next| {
                if let Some(disk) = &mut next.disk {
                    disk.frozen = said;
                }
            })
        })
    }

    fn jupyter_reported(&self, state: &JupyterState, now: Timestamp) -> Option<Change> {
        let (ready, error, message) = match state {
            JupyterState::Off | JupyterState::Starting => (false, None, "JupyterLab is not running".to_owned()),
            JupyterState::Ready => (true, None, "JupyterLab is ready".to_owned()),
            JupyterState::Failed { error } => {
                let error = error.chars().take(300).collect::<String>();
                (false, Some(error.clone()), format!("JupyterLab cannot be had: {error}"))
            }
        };
        // A report that was on its way while Jupyter was switched off must not switch it on again.
        let news = (ready, &error) != (self.jupyter.ready, &self.jupyter.error);
        (news && self.jupyter.wanted).then(|| {
            self.changed("jupyter", message, AGENT, now, |next| {
                next.jupyter.ready = ready;
                next.jupyter.error = error;
            })
        })
    }

    fn main_reported(&self, main: MainProcess, now: Timestamp) -> Option<Change> {
        let MainProcess::Exited { code } = main else { return None };
        if self.exit_code.is_some() {
            return None;
        }
        if self.spec.serve.is_some() {
            return self.fail(&format!("the model's server ended with exit code {code}"), now).ok();
        }
        if self.state == State::Active && self.spec.end_on_exit {
            return self.completed(code, now).ok();
        }
        let message = format!("The command ended with exit code {code}");
        Some(self.changed("exited", message, AGENT, now, |next| next.exit_code = Some(code)))
    }

    /// Ends a job that asked to end with its command.
    pub(super) fn completed(&self, code: i32, now: Timestamp) -> Result<Change, Refusal> {
        let message = format!("The command ended with exit code {code}");
        let reason = Some(message.clone());
        let kill_at = now.plus(policy::SHORT_GRACE);
        self.stepped(Step::Drain, "exited", message, AGENT, now, |next| {
            next.exit_code = Some(code);
            next.ending = Some(Ending { cause: Cause::Completed, reason, kill_at, left_at: None });
        })
    }
}

/// Adds a change on top of the last one.
fn push(first: &Workload, changes: &mut Vec<Change>, decide: impl FnOnce(&Workload) -> Option<Change>) {
    let change = decide(changes.last().map_or(first, |change| &change.workload));
    changes.extend(change);
}
