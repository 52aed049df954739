//! What a launch tells: one history of a workload's timeline and its agent's log, in phases and percents (checklist 000#16 to 000#18).
//!
//! A history has two sources: the timeline, and the batches of each attempt's log. What is promised of their order:
//! - each source keeps its own: entries by version, lines by batch and line, whatever is read when;
//! - a [`Position`] says how far *each* of them was told, so that whoever goes on from one gets all that is missing, once;
//! - a batch remembers the version that its workload had when it was kept ([`Batch::after`]), and is told after that entry and before the
//!   next. As long as a batch is kept before the next change is written, all readers are told everything in the one order in which it was
//!   written, whenever they read and wherever they are cut. A batch that is late is told late, but never lost or told twice.

pub mod estimate;
mod merge;
mod position;
#[cfg(test)]
mod tests;

use crate::{
    Timestamp, Workload,
    agent::{LogLine, Stream},
    lifecycle::{Cause, Stage, State},
    timeline::Entry,
};

pub use merge::{Batch, Readable, merge, tail};
pub use position::{NotAPosition, Position};

/// A part of a launch, as a launch's readers know it (checklist 000#18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// It waits for GPUs.
    Queued,
    /// A machine is being had for it.
    Provisioning,
    /// The machine is there.
    InstanceReady,
    /// What it needs is being installed.
    Installing,
    /// Its model is being loaded.
    ModelLoading,
    /// It is up, and is being looked at.
    HealthCheck,
    /// It is its owner's. Of a launch nothing comes after this.
    Active,
    /// It ended before it was active.
    Failed,
}

impl Phase {
    /// Every phase that has a progress, in the order of a launch, with the percents that are its own, both ends included.
    const RANGES: [(Self, (u8, u8)); 7] = [
        (Self::Queued, (0, 0)),
        (Self::Provisioning, (10, 30)),
        (Self::InstanceReady, (35, 35)),
        (Self::Installing, (40, 60)),
        (Self::ModelLoading, (65, 85)),
        (Self::HealthCheck, (90, 90)),
        (Self::Active, (100, 100)),
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Provisioning => "provisioning",
            Self::InstanceReady => "instance_ready",
            Self::Installing => "installing",
            Self::ModelLoading => "model_loading",
            Self::HealthCheck => "health_check",
            Self::Active => "active",
            Self::Failed => "failed",
        }
    }
}

/// How far a launch has come. It never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stand {
    /// Nothing of it has been told.
    #[default]
    Unknown,
    /// So many percent, 0 to 100.
    Launched(u8),
    /// It ended before it was active.
    Failed,
}

impl Stand {
    /// The launch is complete.
    pub const ACTIVE: Self = Self::Launched(100);

    /// The phase. Percents between two phases belong to the earlier one.
    #[must_use]
    pub fn phase(self) -> Phase {
        match self {
            Self::Unknown => Phase::Queued,
            Self::Launched(percent) => {
                let reached = Phase::RANGES.into_iter().rfind(|(_, (from, _))| *from <= percent);
                reached.map_or(Phase::Queued, |(phase, _)| phase)
            }
            Self::Failed => Phase::Failed,
        }
    }

    /// The progress in percent; a launch that failed has none.
    #[must_use]
    pub const fn progress(self) -> Option<u8> {
        match self {
            Self::Unknown => Some(0),
            Self::Launched(percent) => Some(percent),
            Self::Failed => None,
        }
    }

    /// Where the launch stands after `entry`.
    #[must_use]
    pub fn after(self, entry: &Entry) -> Self {
        let (phase, least) = match entry.phase {
            State::Queued => (Phase::Queued, 0),
            State::Placed => (Phase::Provisioning, 10),
            // The machine was had: only its agent has not called in.
            State::Provisioning if entry.kind == "provisioned" => (Phase::Provisioning, 30),
            State::Provisioning => (Phase::Provisioning, 20),
            State::InstanceReady => (Phase::InstanceReady, 35),
            State::Installing => (Phase::Installing, 40),
            State::ModelLoading => (Phase::ModelLoading, 65),
            State::HealthCheck => (Phase::HealthCheck, 90),
            State::Active => (Phase::Active, 100),
            State::Draining | State::Ended => return if self == Self::ACTIVE { self } else { Self::Failed },
        };
        let (_, (from, to)) = Phase::RANGES.into_iter().find(|(of, _)| *of == phase).unwrap_or((phase, (0, 100)));
        // Whoever wrote the entry may know better than its phase how far it has come, within the phase.
        self.max(Self::Launched(entry.progress.max(least).clamp(from, to)))
    }
}

/// How much something that was told matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// It is as it should be.
    Info,
    /// Somebody may want to look.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn of_entry(entry: &Entry, failed: bool) -> Self {
        match entry.kind.as_str() {
            "failed" => Self::Error,
            // An agent that leaves while nobody told it to has failed its workload.
            "left" if failed => Self::Error,
            "left" | "waiting" | "warning" => Self::Warning,
            _ => Self::Info,
        }
    }

    /// A line's level is the one that it names in capitals near its beginning, as loggers do; else what is written to the standard error is a
    /// warning.
    fn of_line(line: &LogLine) -> Self {
        let head = line.text.get(..line.text.floor_char_boundary(64)).unwrap_or_default();
        let mut words = head.split(|letter: char| !letter.is_ascii_alphabetic());
        let named = words.find_map(|word| match word {
            "DEBUG" | "INFO" | "NOTICE" => Some(Self::Info),
            "WARN" | "WARNING" => Some(Self::Warning),
            "ERROR" | "CRITICAL" | "FATAL" | "Traceback" => Some(Self::Error),
            _ => None,
        });
        named.unwrap_or(match line.stream {
            Stream::Stdout => Self::Info,
            Stream::Stderr => Self::Warning,
        })
    }
}

/// One thing that a history tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// How far everything was told when this was: what an event's `id` says. It holds where the launch stands, too.
    pub place: Position,
    /// When it happened. Lines have their agent's clock, entries the plane's.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// In words for the owner.
    pub message: String,
    /// The workload's state after it, where it is an entry of the timeline.
    pub state: Option<State>,
    /// The launch has come further, or to another phase.
    pub is_status: bool,
}

impl Told {
    /// What an entry of the timeline tells whoever has been told of all before it.
    fn entry(before: &Position, entry: Entry) -> Self {
        let stand = before.stand.after(&entry);
        let failed = stand == Stand::Failed && before.stand != Stand::Failed;
        let place = Position { version: entry.version, stand, ..before.clone() };
        let is_status = stand != before.stand;
        let level = Level::of_entry(&entry, failed);
        Self { place, at: entry.at, level, message: entry.message, state: Some(entry.phase), is_status }
    }

    /// What a line of the log tells.
    fn line(place: Position, line: LogLine) -> Self {
        let level = Level::of_line(&line);
        Self { place, at: line.at, level, message: line.text, state: None, is_status: false }
    }
}

/// A workload's status as nodes and instances show it (checklist, "One lifecycle, five projections"); of what ended before it was active it
/// is always `failed`, and of what ended later `terminated`.
#[must_use]
pub fn status(workload: &Workload) -> &'static str {
    let was_active = workload.expires_at.is_some();
    match (workload.state, workload.state.stage()) {
        (State::Queued | State::Placed | State::Provisioning, _) => "launching",
        (_, Stage::Waiting | Stage::Launching) => "initializing",
        (_, Stage::Running) => "active",
        (_, Stage::Ending) => "terminating",
        (_, Stage::Over) if was_active => "terminated",
        (_, Stage::Over) => "failed",
    }
}

/// What is said of a workload at the end of its stream; `what` is what it is called there, such as `Node`.
#[must_use]
pub fn conclusion(workload: &Workload, what: &str) -> String {
    let ending = workload.ending.as_ref();
    match workload.state.stage() {
        Stage::Waiting => format!("{what} waits for GPUs"),
        Stage::Launching => format!("{what} is being launched"),
        Stage::Running => format!("{what} ready"),
        Stage::Ending | Stage::Over => match ending.and_then(|ending| ending.reason.clone()) {
            Some(reason) => reason,
            None => ended(what, ending.map(|ending| ending.cause)),
        },
    }
}

fn ended(what: &str, cause: Option<Cause>) -> String {
    match cause {
        Some(Cause::Expired) => format!("{what} came to the end of its time"),
        Some(Cause::Completed) => format!("{what} completed"),
        Some(Cause::Idle) => format!("{what} was idle"),
        Some(Cause::Cancelled) => format!("{what} was cancelled"),
        Some(Cause::Preempted) => format!("{what} was preempted"),
        Some(Cause::Failed) | None => format!("{what} failed"),
    }
}
