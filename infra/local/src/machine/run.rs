//! How an execution goes on.
//!
//! Every transition takes the time first: whatever should have timed out by `now` has timed out before the report is looked at,
//! so an answer at the very instant of its deadline is too late, whether or not the runner has ticked before it.

use std::time::Duration;

use domain::Timestamp;
use serde_json::{Value, json};

use super::{
    Machine,
    data::Source,
    document::{HEARTBEAT_TIMEOUT, Kind, RESULT_PATH, RUNTIME, Step, TIMEOUT, Task, matches},
    execution::{Ending, Execution, Invocation, Limits, Phase, TaskError, TokenError, Work},
};

impl Machine {
    /// Starts an execution.
    ///
    /// `name` is the launch's id: it says which execution a token belongs to. `secret` must be random, and makes the tokens
    /// impossible to guess.
    #[must_use]
    pub fn start(&self, name: &str, secret: [u8; 16], input: Value, now: Timestamp) -> Execution {
        let mut execution = Execution {
            name: name.to_owned(),
            secret: format!("{:032x}", u128::from_be_bytes(secret)),
            state: String::new(),
            input,
            retries: Vec::new(),
            attempts: 0,
            transitions: 0,
            ends_by: now.plus(self.document.timeout),
            since: now,
            phase: Phase::Waiting(now),
        };
        self.enter(&mut execution, &self.document.start_at, now);
        execution
    }

    /// What the runner must do now. It changes nothing: until a transition does, the answer stays the same.
    #[must_use]
    pub fn next(&self, execution: &Execution) -> Work {
        if let Some(error) = self.stranded(execution) {
            return Work::Ended(Ending::Failed(error));
        }
        let by = |until: Timestamp| until.min(execution.ends_by);
        match &execution.phase {
            Phase::Invoking(limits) => match self.invocation(execution, by(limits.first())) {
                Ok(invocation) => Work::Invoke(invocation),
                Err(error) => Work::Ended(Ending::Failed(error)),
            },
            Phase::AwaitingToken(limits) => Work::AwaitToken { until: by(limits.first()) },
            Phase::BackingOff(until) | Phase::Waiting(until) => Work::Sleep { until: by(*until) },
            Phase::Ended(ending) => Work::Ended(ending.clone()),
        }
    }

    /// A handler's call came back. It is taken if `attempt` is still being called; otherwise it is too late and changes nothing.
    /// Says whether it was taken; store the execution either way, because something may have timed out.
    pub fn finished(
        &self,
        execution: &mut Execution,
        attempt: u32,
        outcome: Result<Value, TaskError>,
        now: Timestamp,
    ) -> bool {
        self.tick(execution, now);
        let (Phase::Invoking(limits), Some(task)) = (&execution.phase, self.task(execution)) else { return false };
        let limits = *limits;
        if attempt != execution.attempts {
            return false;
        }
        match (outcome, task.kind) {
            (Err(error), _) => self.fail(execution, error, now),
            (Ok(result), Kind::Answer) => self.succeed(execution, result, now),
            (Ok(_), Kind::Token { .. }) => set(execution, Phase::AwaitingToken(limits), now),
        }
        true
    }

    /// A task token came back, with the task's outcome: Step Functions' `SendTaskSuccess` or `SendTaskFailure`. It may come before
    /// the handler that handed it on has answered; that answer is then too late.
    ///
    /// # Errors
    ///
    /// [`TokenError`], if the token was not taken; timeouts that were due have happened all the same.
    pub fn token(
        &self,
        execution: &mut Execution,
        token: &str,
        outcome: Result<Value, TaskError>,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        self.open(execution, token, now)?;
        match outcome {
            Ok(result) => self.succeed(execution, result, now),
            Err(error) => self.fail(execution, error, now),
        }
        Ok(())
    }

    /// A task token's holder is still at work: Step Functions' `SendTaskHeartbeat`. It moves the end of `HeartbeatSeconds`, where
    /// the Task has any, and never that of `TimeoutSeconds`.
    ///
    /// # Errors
    ///
    /// [`TokenError`], as for [`Machine::token`].
    pub fn heartbeat(&self, execution: &mut Execution, token: &str, now: Timestamp) -> Result<(), TokenError> {
        self.open(execution, token, now)?;
        if let (Some(task), Phase::Invoking(limits) | Phase::AwaitingToken(limits)) =
            (self.document.step(&execution.state).and_then(Step::task), &mut execution.phase)
        {
            *limits = Limits { deadline: limits.deadline, ..limits_from(task, now) };
        }
        Ok(())
    }

    /// Time has passed: does what is due by `now`. Says whether anything was.
    pub fn tick(&self, execution: &mut Execution, now: Timestamp) -> bool {
        if execution.ending().is_some() {
            return false;
        }
        let lost = self.stranded(execution);
        let state = execution.state.clone();
        let late = |error, limit: &str| TaskError::new(error, format!("{state} took longer than its {limit}."));
        match (lost, execution.phase.clone()) {
            (Some(error), _) => end(execution, Ending::Failed(error), now),
            // Nothing catches this one: Step Functions calls such an execution TIMED_OUT.
            (None, _) if now >= execution.ends_by => {
                let error = TaskError::new(TIMEOUT, "The execution took longer than the document's TimeoutSeconds.");
                end(execution, Ending::Failed(error), now);
            }
            (None, Phase::Invoking(limits) | Phase::AwaitingToken(limits)) if now >= limits.first() => {
                let silent = limits.first() < limits.deadline;
                let error =
                    if silent { late(HEARTBEAT_TIMEOUT, "HeartbeatSeconds") } else { late(TIMEOUT, "TimeoutSeconds") };
                self.fail(execution, error, now);
            }
            (None, Phase::BackingOff(until)) if now >= until => {
                execution.transitions += 1;
                self.attempt(execution, now);
            }
            (None, Phase::Waiting(until)) if now >= until => self.pass(execution, now),
            (
                None,
                Phase::Invoking(_)
                | Phase::AwaitingToken(_)
                | Phase::BackingOff(_)
                | Phase::Waiting(_)
                | Phase::Ended(_),
            ) => {
                return false;
            }
        }
        true
    }

    /// The runner was away and is back: the current phase begins again, with its whole time, and the execution's own limit moves by
    /// as much. To be called once for each stored execution when a runner starts.
    ///
    /// Step Functions has no such thing because it is never away. Without it a restart would look like a handler that hangs, and a
    /// night switched off would end a launch by the one limit that skips the undo.
    pub fn resume(&self, execution: &mut Execution, now: Timestamp) {
        let away = now.since(execution.since);
        let anew = self.task(execution).map(|task| limits_from(task, now));
        match &mut execution.phase {
            Phase::Ended(_) => return,
            Phase::Invoking(limits) | Phase::AwaitingToken(limits) => *limits = anew.unwrap_or(*limits),
            Phase::BackingOff(until) | Phase::Waiting(until) => *until = until.plus(away),
        }
        execution.ends_by = execution.ends_by.plus(away);
        execution.since = execution.since.max(now);
    }

    /// Goes to `name`, and on from there until there is something to wait for. Parsing saw to it that this ends.
    fn enter(&self, execution: &mut Execution, name: &str, now: Timestamp) {
        let mut name = name;
        loop {
            name.clone_into(&mut execution.state);
            execution.retries.clear();
            execution.transitions += 1;
            match self.document.step(name) {
                Some(Step::Task(_)) => return self.attempt(execution, now),
                Some(Step::Wait { time, .. }) => return set(execution, Phase::Waiting(now.plus(*time)), now),
                Some(Step::Choice { rules, default }) => {
                    name = default;
                    for rule in rules {
                        let source = Source { input: &execution.input, name: "", token: "" };
                        match source.read(&rule.variable) {
                            Ok(found) if found == Value::Bool(rule.equals) => {
                                name = &rule.next;
                                break;
                            }
                            Ok(_) => {}
                            Err(path) => {
                                let error = missing(execution, &path);
                                return end(execution, Ending::Failed(error), now);
                            }
                        }
                    }
                }
                Some(Step::Succeed) => {
                    let output = execution.input.clone();
                    return end(execution, Ending::Succeeded { output }, now);
                }
                Some(Step::Fail { error, cause }) => {
                    return end(execution, Ending::Failed(TaskError::new(error, cause)), now);
                }
                None => return end(execution, Ending::Failed(unknown(execution)), now),
            }
        }
    }

    /// Begins a new attempt of the current Task, with a token of its own.
    fn attempt(&self, execution: &mut Execution, now: Timestamp) {
        let Some(task) = self.task(execution) else {
            return end(execution, Ending::Failed(unknown(execution)), now);
        };
        execution.attempts += 1;
        set(execution, Phase::Invoking(limits_from(task, now)), now);
        // What cannot be called is seen here, once, and not each time that the runner asks.
        if let Err(error) = self.invocation(execution, now) {
            end(execution, Ending::Failed(error), now);
        }
    }

    /// The call that the running attempt makes.
    ///
    /// A path that finds nothing is `States.Runtime`, which ends the execution: that is what Step Functions answers, although
    /// its list of error names has `States.ParameterPathFailure`.
    fn invocation(&self, execution: &Execution, until: Timestamp) -> Result<Invocation, TaskError> {
        let task = self.task(execution).ok_or_else(|| unknown(execution))?;
        let token = execution.token(execution.attempts);
        let source = Source { input: &execution.input, name: &execution.name, token: &token };
        let payload = match &task.payload {
            Some(template) => template.fill(&source).map_err(|path| missing(execution, &path))?,
            None => execution.input.clone(),
        };
        let token = match task.kind {
            Kind::Answer => None,
            Kind::Token { .. } => Some(token),
        };
        Ok(Invocation { attempt: execution.attempts, handler: task.handler.clone(), payload, token, until })
    }

    /// The current Task succeeded with `result`.
    fn succeed(&self, execution: &mut Execution, result: Value, now: Timestamp) {
        let Some(task) = self.task(execution) else { return };
        match task.result.put(&execution.input, result) {
            Some(output) => {
                execution.input = output;
                self.enter(execution, &task.next, now);
            }
            None => {
                let cause = format!("{}'s result cannot be put where its ResultPath says.", execution.state);
                self.fail(execution, TaskError::new(RESULT_PATH, cause), now);
            }
        }
    }

    /// The current Task failed: tries again, or goes where the error is caught, or ends.
    ///
    /// Source: Amazon States Language, Errors. The first retrier for the error decides, also when it is used up.
    fn fail(&self, execution: &mut Execution, error: TaskError, now: Timestamp) {
        let Some(task) = self.task(execution) else { return };
        let found = task.retry.iter().enumerate().find(|(_, retrier)| matches(&retrier.errors, &error.error));
        if let Some((index, retrier)) = found {
            execution.retries.resize(task.retry.len(), 0);
            if let Some(used) = execution.retries.get_mut(index).filter(|used| **used < retrier.attempts) {
                *used += 1;
                let until = now.plus(retrier.delay(*used));
                return set(execution, Phase::BackingOff(until), now);
            }
        }
        let caught = task.catch.iter().find(|catcher| matches(&catcher.errors, &error.error));
        let output = caught.and_then(|catcher| {
            let told = json!({ "Error": error.error, "Cause": error.cause });
            Some((catcher.result.put(&execution.input, told)?, &catcher.next))
        });
        match output {
            Some((output, next)) => {
                execution.input = output;
                self.enter(execution, next, now);
            }
            None => end(execution, Ending::Failed(error), now),
        }
    }

    /// The current Wait is over.
    fn pass(&self, execution: &mut Execution, now: Timestamp) {
        if let Some(Step::Wait { next, .. }) = self.document.step(&execution.state) {
            self.enter(execution, next, now);
        }
    }

    /// Takes the time, and then says whether `token` is that of the running attempt.
    fn open(&self, execution: &mut Execution, token: &str, now: Timestamp) -> Result<(), TokenError> {
        self.tick(execution, now);
        let attempt = execution.attempt_of(token).ok_or(TokenError::Invalid)?;
        let waits = self.task(execution).is_some_and(|task| matches!(task.kind, Kind::Token { .. }));
        let running = matches!(execution.phase, Phase::Invoking(_) | Phase::AwaitingToken(_));
        if waits && running && attempt == execution.attempts { Ok(()) } else { Err(TokenError::Closed) }
    }

    /// The current state, if it is a Task.
    fn task(&self, execution: &Execution) -> Option<&Task> {
        self.document.step(&execution.state)?.task()
    }

    /// Why this machine cannot go on with an execution that was stored under another document, if it cannot.
    fn stranded(&self, execution: &Execution) -> Option<TaskError> {
        let step = self.document.step(&execution.state);
        let task = step.and_then(Step::task);
        let known = match execution.phase {
            Phase::Ended(_) => true,
            Phase::Invoking(_) | Phase::BackingOff(_) => task.is_some(),
            Phase::AwaitingToken(_) => task.is_some_and(|task| matches!(task.kind, Kind::Token { .. })),
            Phase::Waiting(_) => matches!(step, Some(Step::Wait { .. })),
        };
        (!known).then(|| unknown(execution))
    }
}

/// The limits of an attempt that begins, or gives a sign of life, at `now`.
fn limits_from(task: &Task, now: Timestamp) -> Limits {
    let heartbeat: Option<Duration> = match task.kind {
        Kind::Answer => None,
        Kind::Token { heartbeat } => heartbeat,
    };
    Limits { deadline: now.plus(task.timeout), silence: heartbeat.map(|heartbeat| now.plus(heartbeat)) }
}

/// Begins a phase.
fn set(execution: &mut Execution, phase: Phase, now: Timestamp) {
    execution.phase = phase;
    execution.since = now;
}

/// Ends the execution.
fn end(execution: &mut Execution, ending: Ending, now: Timestamp) {
    execution.transitions += 1;
    set(execution, Phase::Ended(ending), now);
}

/// A path that the current state reads finds nothing in its input.
fn missing(execution: &Execution, path: &str) -> TaskError {
    TaskError::new(RUNTIME, format!("{} reads {path}, which its input does not have.", execution.state))
}

/// The current state is not in the document, or does something else there.
fn unknown(execution: &Execution) -> TaskError {
    let cause = format!(
        "The document has no {} to go on with: it has changed since the execution was stored.",
        execution.state
    );
    TaskError::new(RUNTIME, cause)
}
