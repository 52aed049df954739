//! One run of a machine, as it is stored, and what is said about it.

use std::fmt;

use domain::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One run of a [`Machine`](super::Machine): what to store after every change, and nothing else.
///
/// It is changed by the machine's transitions alone. Its JSON holds a secret, from which its task tokens are made: keep it where
/// only the runner reads it. `Debug` leaves that out.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// What it was started under; the first part of its tokens.
    pub(super) name: String,
    /// Random hexadecimal digits; the last part of its tokens.
    pub(super) secret: String,
    /// The current state.
    pub(super) state: String,
    /// The current state's input.
    pub(super) input: Value,
    /// How often each entry of the state's `Retry` was used since the state was entered; a missing one was not.
    pub(super) retries: Vec<u32>,
    /// How many attempts of Tasks there were, over all states. The number of an attempt is never used again.
    pub(super) attempts: u32,
    /// How many state transitions there were, as AWS bills them: each state that was entered, each retry, and the end.
    pub(super) transitions: u32,
    /// When it fails for good, whatever it is doing.
    pub(super) ends_by: Timestamp,
    /// When the phase began.
    pub(super) since: Timestamp,
    /// What it is doing in the current state.
    pub(super) phase: Phase,
}

/// What an execution is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// The handler is being called, in the attempt with the highest number.
    Invoking(Limits),
    /// The handler has answered, and the token has not come back yet.
    AwaitingToken(Limits),
    /// A Task failed and is called again then.
    BackingOff(Timestamp),
    /// A Wait ends then.
    Waiting(Timestamp),
    /// It is over.
    Ended(Ending),
}

/// When an attempt has taken too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// The end of `TimeoutSeconds`.
    pub(super) deadline: Timestamp,
    /// The end of `HeartbeatSeconds`, where there are any; each heartbeat moves it.
    pub(super) silence: Option<Timestamp>,
}

impl Limits {
    /// Whichever comes first.
    pub(super) fn first(self) -> Timestamp {
        self.silence.map_or(self.deadline, |silence| silence.min(self.deadline))
    }
}

impl Execution {
    /// The name that it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state that it is in, or ended in.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }

    /// How many state transitions it has made, as AWS bills them: each state entered, each retry, and the end.
    ///
    /// Source: AWS Step Functions pricing, "State transitions".
    #[must_use]
    pub fn transitions(&self) -> u32 {
        self.transitions
    }

    /// How it ended, if it has. An ended execution never changes again.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        match &self.phase {
            Phase::Ended(ending) => Some(ending),
            Phase::Invoking(_) | Phase::AwaitingToken(_) | Phase::BackingOff(_) | Phase::Waiting(_) => None,
        }
    }

    /// The task token of attempt number `attempt`.
    pub(super) fn token(&self, attempt: u32) -> String {
        format!("{}.{attempt}.{}", self.name, self.secret)
    }

    /// The number of the attempt that `token` was made for, if this execution made it.
    pub(super) fn attempt_of(&self, token: &str) -> Option<u32> {
        let number =
            token.strip_prefix(&self.name)?.strip_prefix('.')?.strip_suffix(&self.secret)?.strip_suffix('.')?;
        let attempt = number.parse().ok()?;
        ((1..=self.attempts).contains(&attempt) && self.token(attempt) == token).then_some(attempt)
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution")
            .field("name", &self.name)
            .field("state", &self.state)
            .field("attempts", &self.attempts)
            .field("transitions", &self.transitions)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

/// The name of the execution that a task token belongs to, so that a runner can find it; none if it is no token at all.
///
/// The token may still be forged: [`Machine::token`](super::Machine::token) decides.
#[must_use]
pub fn execution_of(token: &str) -> Option<&str> {
    let mut parts = token.rsplitn(3, '.');
    let (_secret, _attempt, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some(name)
}

/// What the runner must do now; see [`Machine::next`](super::Machine::next).
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Call a handler and report with [`Machine::finished`](super::Machine::finished). While it runs, tick at its `until`.
    Invoke(Invocation),
    /// The handler has answered and somebody else holds the token: tick at `until`, if nobody reports it before.
    AwaitToken {
        /// When the wait, or the silence, has been too long.
        until: Timestamp,
    },
    /// Nothing is to be done before `until`: tick then.
    Sleep {
        /// The end of a Wait, or of the pause before a retry.
        until: Timestamp,
    },
    /// Nothing is to be done any more.
    Ended(Ending),
}

/// One call of a handler. Until it is reported it is asked for again, also after a restart, so handlers must be idempotent.
#[derive(Clone, PartialEq)]
pub struct Invocation {
    /// Which attempt of this execution it is; goes back in [`Machine::finished`](super::Machine::finished), so that an answer
    /// that comes too late is not taken for that of the next attempt.
    pub attempt: u32,
    /// The handler's name: the document's placeholder.
    pub handler: String,
    /// What to give it.
    pub payload: Value,
    /// The task token, if the Task waits for one. It is in the payload too; `Debug` prints neither.
    pub token: Option<String>,
    /// When the attempt has taken too long; the call may then be dropped.
    pub until: Timestamp,
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("attempt", &self.attempt)
            .field("handler", &self.handler)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ending {
    /// In a Succeed state.
    Succeeded {
        /// That state's input.
        output: Value,
    },
    /// In a Fail state, or by an error that nothing caught.
    Failed(TaskError),
}

/// Why a Task, or an execution, failed.
///
/// `Retry` and `Catch` match on `error` alone. On AWS the Lambda runtime takes it from `Diagnostic::error_type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}: {cause}")]
pub struct TaskError {
    /// The error's name, such as `Cloud.Throttled`. Names that begin with `States.` are the machine's own.
    pub error: String,
    /// What a person should read.
    pub cause: String,
}

impl TaskError {
    /// An error with its name and cause.
    #[must_use]
    pub fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { error: error.into(), cause: cause.into() }
    }
}

/// Why a task token was not taken.
///
/// Source: Step Functions API Reference, `SendTaskSuccess`, Errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// This execution never made that token (`InvalidToken`).
    #[error("the task token is not one of this execution's")]
    Invalid,
    /// The task that it was for is over: completed, failed or timed out (`TaskTimedOut`).
    #[error("the task that this token was for is over")]
    Closed,
}
