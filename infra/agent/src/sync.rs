//! The loop that reports and hears what should be true.

use std::{sync::Arc, time::Duration};

use cloud::{Clock, Ids};
use domain::{
    Secret, Timestamp,
    agent::{JupyterState, MOST_NOTES, MainProcess, Note, Progress, Report, Synced},
    api_key::{KeyKind, mint},
};
use tokio::sync::{mpsc, watch};

use crate::{
    logs::cut,
    plane::{Backoff, CallError, Plane},
};

/// How long a session secret is used.
const ROTATE_AFTER: Duration = Duration::from_secs(60 * 60);
/// The pauses that the control plane may ask for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// How long after the control plane refused the agent it is asked once more. A job is too dear to end over one answer.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(30);
/// The longest note, by the protocol.
const LONGEST_NOTE: usize = 500;

/// What the agent has to report.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) applied: u64,
    pub(crate) progress: Progress,
    pub(crate) main: MainProcess,
    pub(crate) jupyter: JupyterState,
    /// The freeze that the disk holds still for.
    pub(crate) frozen: Option<u64>,
    notes: Vec<Note>,
    noted: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            applied: 0,
            progress: Progress::Installing,
            main: MainProcess::Absent,
            jupyter: JupyterState::Off,
            frozen: None,
            notes: Vec::new(),
            noted: 0,
        }
    }
}

impl Seen {
    /// Adds a fact for the timeline.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let mut text = text.into();
        cut(&mut text, LONGEST_NOTE);
        self.noted += 1;
        self.notes.push(Note { number: self.noted, text, percent: None });
    }

    /// What is said now.
    pub(crate) fn report(&self) -> Report {
        Report {
            applied: self.applied,
            progress: self.progress,
            main: self.main,
            jupyter: self.jupyter.clone(),
            notes: self.notes.iter().take(MOST_NOTES).cloned().collect(),
            frozen: self.frozen,
            idle_seconds: None,
            next_session: None,
        }
    }

    /// The report was answered: its notes need not be said again. Answers whether there are more.
    pub(crate) fn heard(&mut self, report: &Report) -> bool {
        if let Some(last) = report.notes.last() {
            self.notes.retain(|note| note.number > last.number);
        }
        !self.notes.is_empty()
    }
}

/// What the loop tells the agent.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A report was answered.
    Synced(Box<Synced>),
    /// The session is dead.
    Refused(u16),
}

/// The loop's means.
pub(crate) struct Syncing {
    pub(crate) plane: Arc<Plane>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) seen: Arc<watch::Sender<Seen>>,
    pub(crate) tell: mpsc::Sender<Heard>,
}

impl Syncing {
    /// Reports when something changes and when the control plane wants to hear, until the session is dead.
    pub(crate) async fn run(self, first_pause_ms: u64) {
        let mut changes = self.seen.subscribe();
        let mut pause = asked(first_pause_ms);
        let mut backoff = Backoff::default();
        let mut rotated = self.clock.now();
        let mut next: Option<Secret> = None;
        let (mut failing, mut refused) = (false, false);
        loop {
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                // While the control plane is away, changes wait for the next attempt: they must not make more of them.
                changed = changes.changed(), if !failing => if changed.is_err() { return },
            }
            let mut report = changes.borrow_and_update().report();
            if next.is_none() && rotation_due(rotated, self.clock.now()) {
                next = Some(mint(KeyKind::Session, &self.ids.random()));
            }
            // The same next secret is offered until a sync that carried it was answered: only then does the plane surely know it.
            report.next_session = next.as_ref().map(Secret::hash);
            match self.plane.sync(&report).await {
                Ok(synced) => {
                    (failing, refused) = (false, false);
                    (backoff, pause) = (Backoff::default(), asked(synced.next_sync_ms));
                    if let Some(next) = next.take() {
                        self.plane.rotate(next);
                        rotated = self.clock.now();
                    }
                    // Notes that the report had no room for are news for the next one.
                    self.seen.send_if_modified(|seen| seen.heard(&report));
                    if self.tell.send(Heard::Synced(Box::new(synced))).await.is_err() {
                        return;
                    }
                }
                Err(CallError::Refused(status)) if !refused => {
                    tracing::warn!(status, "the control plane refused the agent: it is asked once more");
                    (failing, refused, pause) = (true, true, ASK_AGAIN);
                }
                Err(CallError::Refused(status)) => {
                    if self.tell.send(Heard::Refused(status)).await.is_err() {
                        tracing::debug!(status, "refused while ending");
                    }
                    return;
                }
                Err(error @ (CallError::Rejected(_) | CallError::Unavailable(_))) => {
                    tracing::warn!(%error, "the control plane was not reached");
                    (failing, pause) = (true, backoff.next());
                }
            }
        }
    }
}

fn asked(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

fn rotation_due(since: Timestamp, now: Timestamp) -> bool {
    now.since(since) >= ROTATE_AFTER
}

#[cfg(test)]
mod tests {
    use cloud::OsIds;

    use super::*;
    use crate::plane::tests::{Jumping, Stub};

    const SYNCED: (&str, &str) = ("200 OK", r#"{"version": 1, "desired": null, "next_sync_ms": 1000}"#);
    const REFUSED: (&str, &str) = ("401 Unauthorized\r\nx-error-code: unauthorized", "{}");
    const IN_BETWEEN: (&str, &str) = ("403 Forbidden", "<html>");
    const CONFLICT: (&str, &str) = ("409 Conflict\r\nx-error-code: conflict", "{}");
    const TROUBLE: (&str, &str) = ("503 Service Unavailable", "");

    #[tokio::test]
    async fn a_session_is_dead_when_it_was_refused_twice_in_a_row() {
        for (case, answers, heard, refused_after) in [
            ("at once", vec![REFUSED, REFUSED], 0, 30),
            ("after a success", vec![SYNCED, REFUSED, REFUSED], 1, 30),
            ("once is not enough", vec![REFUSED, SYNCED, REFUSED, REFUSED], 1, 60),
            ("trouble between the two", vec![REFUSED, TROUBLE, REFUSED], 0, 30),
            ("what others say", vec![IN_BETWEEN, CONFLICT, TROUBLE, SYNCED, REFUSED, REFUSED], 1, 30),
        ] {
            let stub = Stub::answering(&answers).await;
            let clock = Arc::new(Jumping::default());
            let (tell, mut told) = mpsc::channel(16);
            let syncing = Syncing {
                plane: Arc::clone(&stub.plane),
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                ids: Arc::new(OsIds),
                seen: Arc::new(watch::Sender::new(Seen::default())),
                tell,
            };
            syncing.run(1000).await;
            let mut syncs = 0;
            loop {
                match told.recv().await {
                    Some(Heard::Synced(_)) => syncs += 1,
                    Some(Heard::Refused(status)) => break assert_eq!(status, 401, "{case}"),
                    None => panic!("{case}: the refusal was not told"),
                }
            }
            assert_eq!((syncs, stub.told.lock().unwrap().len()), (heard, answers.len()), "{case}");
            assert!(*clock.0.lock().unwrap() >= Duration::from_secs(refused_after), "{case}");
        }
    }

    #[test]
    fn a_report_carries_so_many_notes_the_oldest_first() {
        let mut seen = Seen::default();
        for number in 0..2 * MOST_NOTES + 1 {
            seen.note(number.to_string());
        }
        for (first, notes, more) in [(1, MOST_NOTES, true), (21, MOST_NOTES, true), (41, 1, false)] {
            let report = seen.report();
            assert_eq!((report.notes[0].number, report.notes.len()), (first, notes));
            assert_eq!(seen.heard(&report), more);
        }
    }

    #[test]
    fn notes_stay_until_a_report_with_them_was_answered() {
        let mut seen = Seen::default();
        seen.note("one");
        let first = seen.report();
        seen.note("é".repeat(300));
        seen.heard(&first);
        let second = seen.report();
        assert_eq!(second.notes.iter().map(|note| note.number).collect::<Vec<_>>(), [2]);
        assert_eq!(second.notes[0].text.len(), 500);
        seen.heard(&second);
        assert_eq!(seen.report().notes, []);
        seen.heard(&first);
    }
}
