//! The loop that reports and hears what should be true.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use cloud::{Clock, Ids};
use domain::{
    Secret, Timestamp,
    agent::{JupyterState, MOST_NOTES, MainProcess, Note, Progress, Report, Synced},
    api_key::{KeyKind, mint},
};
use tokio::sync::{mpsc, watch};

use crate::{
    idle::{self, Doing, Idle},
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
    pub(crate) main: MainProcess,
    pub(crate) jupyter: JupyterState,
    /// The freeze that the disk holds still for.
    pub(crate) frozen: Option<u64>,
    /// The phases that have been entered and not been reported yet, after the one that was reported last.
    phases: VecDeque<Progress>,
    /// The facts that have not been told yet, each with its phase.
    notes: Vec<(Progress, Note)>,
    noted: u64,
    /// How far within the last phase has been noted.
    percent: u8,
    /// For how long nothing has happened beside the user's code, and at the GPUs where the outer copy watches some.
    inside: Idle,
    gpus: Option<Idle>,
    ready: Option<Timestamp>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            applied: 0,
            main: MainProcess::Absent,
            jupyter: JupyterState::Off,
            frozen: None,
            phases: VecDeque::from([Progress::Installing]),
            notes: Vec::new(),
            noted: 0,
            percent: 0,
            // Until the inner copy says something else.
            inside: Idle::Unknown,
            gpus: None,
            ready: None,
        }
    }
}

impl Seen {
    /// Adds a fact for the timeline.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.note_at(text.into(), None);
    }

    /// Adds a fact for the timeline that is so many percent through the present phase; never fewer than were told of it before.
    pub(crate) fn note_at(&mut self, mut text: String, percent: Option<u8>) {
        cut(&mut text, LONGEST_NOTE);
        self.noted += 1;
        let percent = percent.map(|percent| percent.clamp(self.percent, 100));
        self.percent = percent.unwrap_or(self.percent);
        self.notes.push((self.entered(), Note { number: self.noted, text, percent }));
    }

    /// The launch has come so far at `now`; it never goes back.
    pub(crate) fn enter(&mut self, progress: Progress, now: Timestamp) {
        if progress <= self.entered() {
            return;
        }
        self.phases.push_back(progress);
        self.percent = 0;
        if progress == Progress::Ready {
            self.ready = Some(now);
        }
    }

    /// The phase that was entered last.
    fn entered(&self) -> Progress {
        self.phases.back().copied().unwrap_or(Progress::Installing)
    }

    /// The phase that is reported now: none is left out, however short it was.
    fn reported(&self) -> Progress {
        self.phases.front().copied().unwrap_or(Progress::Installing)
    }

    /// Whether something goes on beside the user's code. It answers false: that alone is no reason to report.
    pub(crate) fn inside_is(&mut self, doing: Doing, now: Timestamp) -> bool {
        self.inside = self.inside.after(doing, now);
        false
    }

    /// The same of the GPUs.
    pub(crate) fn gpus_are(&mut self, doing: Doing, now: Timestamp) -> bool {
        self.gpus = Some(self.gpus.unwrap_or(Idle::Unknown).after(doing, now));
        false
    }

    /// What is said at `now`.
    pub(crate) fn report(&self, now: Timestamp) -> Report {
        let places: Vec<Idle> = std::iter::once(self.inside).chain(self.gpus).collect();
        Report {
            applied: self.applied,
            progress: self.reported(),
            main: self.main,
            jupyter: self.jupyter.clone(),
            notes: self.of(self.reported()).take(MOST_NOTES).cloned().collect(),
            frozen: self.frozen,
            idle_seconds: idle::seconds(&places, self.ready, now),
            next_session: None,
        }
    }

    /// What has not been told yet of this phase.
    fn of(&self, phase: Progress) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(move |(of, _note)| *of == phase).map(|(_of, note)| note)
    }

    /// The report was answered: its notes need not be said again, and its phase is over when there are none left of it and another has been
    /// entered. Answers whether there is more to say.
    pub(crate) fn heard(&mut self, report: &Report) -> bool {
        if let Some(last) = report.notes.last() {
            self.notes.retain(|(_phase, note)| note.number > last.number);
        }
        let phase = self.reported();
        if report.progress == phase && self.phases.len() > 1 && self.of(phase).next().is_none() {
            self.phases.pop_front();
            return true;
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
            let mut report = changes.borrow_and_update().report(self.clock.now());
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
            let report = seen.report(Timestamp::from_millis(0));
            assert_eq!((report.notes[0].number, report.notes.len()), (first, notes));
            assert_eq!(seen.heard(&report), more);
        }
    }

    #[test]
    fn notes_stay_until_a_report_with_them_was_answered() {
        let mut seen = Seen::default();
        seen.note("one");
        let first = seen.report(Timestamp::from_millis(0));
        seen.note("é".repeat(300));
        seen.heard(&first);
        let second = seen.report(Timestamp::from_millis(0));
        assert_eq!(second.notes.iter().map(|note| note.number).collect::<Vec<_>>(), [2]);
        assert_eq!(second.notes[0].text.len(), 500);
        seen.heard(&second);
        assert_eq!(seen.report(Timestamp::from_millis(0)).notes, []);
        seen.heard(&first);
    }

    #[test]
    fn every_phase_is_reported_with_what_is_of_it() {
        let now = Timestamp::from_millis(0);
        let mut seen = Seen::default();
        for percent in [Some(10), None, Some(5), Some(200)] {
            seen.note_at("a step".into(), percent);
        }
        seen.enter(Progress::ModelLoading, now);
        seen.enter(Progress::Installing, now);
        seen.note_at("another".into(), Some(20));
        seen.enter(Progress::HealthCheck, now);
        seen.enter(Progress::Ready, now);
        for (progress, percents, more) in [
            (Progress::Installing, vec![Some(10), None, Some(10), Some(100)], true),
            (Progress::ModelLoading, vec![Some(20)], true),
            (Progress::HealthCheck, vec![], true),
            (Progress::Ready, vec![], false),
            (Progress::Ready, vec![], false),
        ] {
            let report = seen.report(now);
            let found: Vec<Option<u8>> = report.notes.iter().map(|note| note.percent).collect();
            assert_eq!((report.progress, found), (progress, percents));
            assert_eq!(seen.heard(&report), more, "{progress:?}");
        }
    }

    #[test]
    fn a_phase_stays_until_all_of_it_is_told() {
        let now = Timestamp::from_millis(0);
        let mut seen = Seen::default();
        let early = seen.report(now);
        seen.note("while that was on its way");
        seen.enter(Progress::Ready, now);
        assert!(seen.heard(&early));
        let late = seen.report(now);
        assert_eq!((late.progress, late.notes.len()), (Progress::Installing, 1));
        assert!(seen.heard(&late) && seen.report(now).progress == Progress::Ready);
    }

    #[test]
    fn a_report_says_for_how_long_nothing_happened() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let mut seen = Seen::default();
        let idle = |seen: &Seen, now: i64| seen.report(at(now)).idle_seconds;
        seen.inside_is(Doing::Nothing, at(1));
        assert_eq!(idle(&seen, 50), Some(0), "it is being launched");
        seen.enter(Progress::Ready, at(50));
        assert_eq!(idle(&seen, 60), Some(10));
        seen.gpus_are(Doing::Unknown, at(60));
        assert_eq!(idle(&seen, 61), None, "its GPUs cannot be seen");
        seen.gpus_are(Doing::Something, at(62));
        assert_eq!(idle(&seen, 63), Some(0));
        seen.gpus_are(Doing::Nothing, at(64));
        assert_eq!(idle(&seen, 70), Some(6));
    }
}
