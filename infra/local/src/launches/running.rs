//! One launch while it runs.

use std::{sync::Arc, time::Duration};

use domain::Timestamp;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
};

use super::{Completion, Inner, Kept, Known, Steps};
use crate::machine::{Ending, Execution, Invocation, TaskError, Work};

/// The pause before a transition that the tables did not take is written again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// A launch while it runs.
pub(super) struct Running {
    pub(super) name: String,
    pub(super) execution: Execution,
    pub(super) inner: Arc<Inner>,
    pub(super) steps: Arc<dyn Steps>,
    pub(super) completions: mpsc::Receiver<Completion>,
}

/// A handler that is being called, and in which attempt.
struct Call {
    attempt: u32,
    answer: JoinHandle<Result<Value, TaskError>>,
}

impl Drop for Call {
    fn drop(&mut self) {
        // A call that took too long is of no interest any more.
        self.answer.abort();
    }
}

/// What the launch was waiting for.
enum Event {
    Answered(u32, Result<Value, TaskError>),
    Completed(Completion),
    Time,
}

impl Running {
    /// Runs it to its end.
    pub(super) async fn run(mut self) {
        let mut call: Option<Call> = None;
        let ending = loop {
            let until = match self.inner.machine.next(&self.execution) {
                Work::Ended(ending) => break ending,
                Work::Invoke(invocation) => {
                    let until = invocation.until;
                    if call.as_ref().is_none_or(|call| call.attempt != invocation.attempt) {
                        call = Some(self.call(invocation));
                    }
                    until
                }
                Work::AwaitToken { until } | Work::Sleep { until } => {
                    call = None;
                    until
                }
            };
            let event = self.event(call.as_mut(), until).await;
            if matches!(event, Event::Answered(..)) {
                call = None;
            }
            self.take(event).await;
        };
        drop(call);
        self.over(&ending).await;
    }

    fn call(&self, invocation: Invocation) -> Call {
        let Invocation { attempt, handler, payload, .. } = invocation;
        tracing::debug!(launch = self.name, handler, attempt, "launch.step");
        let steps = Arc::clone(&self.steps);
        Call { attempt, answer: tokio::spawn(async move { steps.step(&handler, payload).await }) }
    }

    /// Waits for whatever comes first.
    async fn event(&mut self, call: Option<&mut Call>, until: Timestamp) -> Event {
        let clock = Arc::clone(&self.inner.clock);
        let answer = async {
            match call {
                Some(call) => (call.attempt, (&mut call.answer).await.unwrap_or_else(|died| Err(dead(&died)))),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(completion) = self.completions.recv() => Event::Completed(completion),
            (attempt, outcome) = answer => Event::Answered(attempt, outcome),
            () = clock.sleep(until.since(clock.now()).max(Duration::from_millis(1))) => Event::Time,
        }
    }

    /// Makes the transition that an event leads to, and sees that the tables have it.
    async fn take(&mut self, event: Event) {
        let (machine, now) = (&self.inner.machine, self.inner.clock.now());
        let before = self.execution.clone();
        let mut taken = None;
        match event {
            Event::Answered(attempt, outcome) => {
                if let Err(error) = &outcome {
                    tracing::warn!(launch = self.name, step = before.state(), %error, "launch.step_failed");
                }
                machine.finished(&mut self.execution, attempt, outcome, now);
            }
            Event::Completed(completion) => {
                let token = completion.token.0.reveal();
                if let Err(error) = machine.token(&mut self.execution, token, completion.outcome, now) {
                    tracing::debug!(launch = self.name, %error, "launch.token_not_taken");
                }
                taken = Some(completion.taken);
            }
            Event::Time => drop(machine.tick(&mut self.execution, now)),
        }
        if self.execution != before {
            self.keep(self.execution.ending().map(|_| now)).await;
        }
        if let Some(taken) = taken
            && taken.send(()).is_err()
        {
            tracing::debug!(launch = self.name, "whoever brought a token did not wait");
        }
    }

    /// Writes the execution, or when it was over, until the tables take it: nothing may follow from a transition that could be lost.
    async fn keep(&self, over_at: Option<Timestamp>) {
        let kept = Kept { execution: over_at.is_none().then(|| self.execution.clone()), over_at };
        loop {
            let written = match kept.value() {
                Ok(value) => self.inner.store.keep_launch(&self.name, &value).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => return,
                Err(error) => tracing::error!(launch = self.name, %error, "launch.not_kept"),
            }
            self.inner.clock.sleep(WRITE_AGAIN).await;
        }
    }

    async fn over(self, ending: &Ending) {
        let now = self.inner.clock.now();
        match ending {
            Ending::Succeeded { .. } => tracing::info!(launch = self.name, "launch.done"),
            Ending::Failed(error) => tracing::warn!(launch = self.name, %error, "launch.failed"),
        }
        if self.execution.ending().is_none() {
            // It cannot go on under this document, which was seen when it was read and not in a transition.
            self.keep(Some(now)).await;
        }
        // Whoever brings a token finds it over before its end of the channel is gone.
        self.inner.book().launches.insert(self.name.clone(), Known::Over(now));
    }
}

/// What a handler that panicked has answered: the error that AWS reports when a handler's process dies, so that it is called again here
/// where it would be there.
fn dead(died: &JoinError) -> TaskError {
    TaskError::new("Runtime.ExitError", died.to_string())
}
