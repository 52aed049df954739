//! A state machine's document after it was read: only what can be run, so that nothing is checked twice.

use std::time::Duration;

use super::data::{Path, Place, Template};

/// A whole document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    /// The name of the first state.
    pub(super) start_at: String,
    /// How long an execution may take. Past it the execution fails with `States.Timeout`, and no Catch sees that.
    pub(super) timeout: Duration,
    /// The states by name, in the document's order.
    pub(super) states: Vec<(String, Step)>,
}

impl Document {
    /// The state called `name`.
    pub(super) fn step(&self, name: &str) -> Option<&Step> {
        self.states.iter().find(|(known, _)| known == name).map(|(_, step)| step)
    }
}

/// One state, by its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Calls a handler.
    Task(Task),
    /// Goes one way or another, at once.
    Choice {
        /// Tried in order; the first that holds decides.
        rules: Vec<Rule>,
        /// Where to go when none holds.
        default: String,
    },
    /// Lets time pass.
    Wait {
        /// How long.
        time: Duration,
        /// What comes after.
        next: String,
    },
    /// Ends the execution well; its output is the state's input.
    Succeed,
    /// Ends the execution badly.
    Fail {
        /// The error's name.
        error: String,
        /// What a person should read.
        cause: String,
    },
}

impl Step {
    /// The Task, if it is one.
    pub(super) fn task(&self) -> Option<&Task> {
        match self {
            Self::Task(task) => Some(task),
            Self::Choice { .. } | Self::Wait { .. } | Self::Succeed | Self::Fail { .. } => None,
        }
    }
}

/// A Task: one handler, called until it answers for good.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    /// The handler's name, out of the `${Name}` placeholder.
    pub(super) handler: String,
    /// What ends it.
    pub(super) kind: Kind,
    /// What the handler is given; the state's whole input where there is none.
    pub(super) payload: Option<Template>,
    /// How long one attempt may take, the wait for its token included.
    pub(super) timeout: Duration,
    /// Tried in order; the first that matches decides, also when it has no attempts left.
    pub(super) retry: Vec<Retrier>,
    /// Tried in order when no retry is left.
    pub(super) catch: Vec<Catcher>,
    /// Where the result goes.
    pub(super) result: Place,
    /// What comes after a success.
    pub(super) next: String,
}

/// What ends a Task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The handler's answer, which is the result.
    Answer,
    /// Whoever has the task token; the handler's answer is dropped, but its failure is the Task's.
    Token {
        /// The longest silence between two heartbeats.
        heartbeat: Option<Duration>,
    },
}

/// One entry of `Retry`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Retrier {
    /// The errors that it is for.
    pub(super) errors: Vec<String>,
    /// The wait before the first retry.
    pub(super) interval: Duration,
    /// How many retries there are; 0 means none.
    pub(super) attempts: u32,
    /// What each further wait is multiplied by, at least 1.
    pub(super) rate: f64,
    /// The longest wait.
    pub(super) longest: Option<Duration>,
}

impl Retrier {
    /// The wait before retry number `retry`, counted from 1, to the millisecond.
    ///
    /// Source: Developer Guide, "Handling errors in Step Functions workflows", Retrying after an error.
    pub(super) fn delay(&self, retry: u32) -> Duration {
        let factor = self.rate.powi(i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX));
        // A wait too long for a Duration is as good as the longest one.
        let grown = Duration::try_from_secs_f64(self.interval.as_secs_f64() * factor).unwrap_or(Duration::MAX);
        self.longest.map_or(grown, |longest| grown.min(longest))
    }
}

/// One entry of `Catch`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Catcher {
    /// The errors that it is for.
    pub(super) errors: Vec<String>,
    /// Where the error goes in the state's input.
    pub(super) result: Place,
    /// Where to go on.
    pub(super) next: String,
}

/// One rule of a Choice: a value of the state's input is exactly this boolean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    /// Which value.
    pub(super) variable: Path,
    /// What it must be.
    pub(super) equals: bool,
    /// Where to go if it is.
    pub(super) next: String,
}

/// Matches every error but those that nothing may catch.
pub(super) const ALL: &str = "States.ALL";
/// An attempt took longer than its `TimeoutSeconds`.
pub(super) const TIMEOUT: &str = "States.Timeout";
/// A token's holder was silent for longer than `HeartbeatSeconds`.
pub(super) const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
/// Matches every error but `States.Timeout` and those that nothing may catch.
pub(super) const TASK_FAILED: &str = "States.TaskFailed";
/// A result could not be put where `ResultPath` says.
pub(super) const RESULT_PATH: &str = "States.ResultPathMatchFailure";
/// The machine itself cannot go on. Nothing catches it.
pub(super) const RUNTIME: &str = "States.Runtime";
/// Some data was too large. Nothing catches it; a handler may report it.
const DATA_LIMIT: &str = "States.DataLimitExceeded";

/// Whether a Retry or Catch for `errors` is for `error`.
///
/// Source: Developer Guide, "Handling errors in Step Functions workflows", Error names. It defines `States.Timeout` as too long
/// a run or too long a silence, so that name is for both, and `States.HeartbeatTimeout` for the silence alone.
pub(super) fn matches(errors: &[String], error: &str) -> bool {
    let fatal = error == RUNTIME || error == DATA_LIMIT;
    errors.iter().any(|known| match known.as_str() {
        ALL => !fatal,
        TASK_FAILED => !fatal && error != TIMEOUT,
        TIMEOUT => error == TIMEOUT || error == HEARTBEAT_TIMEOUT,
        name => name == error,
    })
}
