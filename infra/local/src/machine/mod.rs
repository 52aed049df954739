//! The launch state machine, interpreted: the same `infra/launch.asl.json` that AWS Step Functions runs, on one machine.
//!
//! [`Machine`] is a checked document and [`Execution`] is one run of it, small enough to be stored after every change. Nothing here
//! reads a clock, sleeps or calls anything: the runner asks [`Machine::next`] what to do, does it, and reports what came of it, with
//! the time as a parameter. So a launch can be killed between any two steps and goes on from what was stored.
//!
//! It covers exactly the part of the Amazon States Language that the document uses: Task (with Retry, Catch, `TimeoutSeconds`,
//! `HeartbeatSeconds`, task tokens), Choice, Wait, Succeed and Fail, in the JSONPath query language. Everything else is refused when
//! the document is read, so that a document which runs here means the same there. Rules are from the Amazon States Language
//! specification (states-language.net) and the Step Functions Developer Guide, by page title where they are used.
//!
//! What is not here, on purpose: history, jitter, payload quotas and the other state types.

mod check;
mod data;
mod diagram;
mod document;
mod execution;
mod fields;
mod parse;
mod run;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_refused;

pub use self::{
    execution::{Ending, Execution, Invocation, TaskError, TokenError, Work, execution_of},
    parse::Unsupported,
};

/// The launch state machine's document, as it is in the repository; see [`Machine::parse`].
pub const LAUNCH: &str = include_str!("../../../launch.asl.json");

/// A state machine whose document was read and checked: every target exists, every state can be reached, every Task ends.
///
/// It is made by [`Machine::parse`] and does not change; one serves any number of [`Execution`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    document: document::Document,
}

impl Machine {
    /// Reads and checks a document, before its `${Name}` placeholders are filled in: here a placeholder is a handler's name.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] names the place and what to do, for anything outside the subset and for each graph that could not run:
    /// a target that does not exist, a state that cannot be reached, Choice states that lead in a circle, a Task without
    /// `TimeoutSeconds`.
    pub fn parse(document: &str) -> Result<Self, Unsupported> {
        let document = parse::document(document)?;
        check::graph(&document)?;
        Ok(Self { document })
    }

    /// The names of the handlers that the document's Tasks call, each once, in the document's order.
    #[must_use]
    pub fn handlers(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for task in self.document.states.iter().filter_map(|(_, step)| step.task()) {
            if !names.contains(&task.handler.as_str()) {
                names.push(&task.handler);
            }
        }
        names
    }

    /// The document as a Mermaid state diagram, for the docs.
    #[must_use]
    pub fn diagram(&self) -> String {
        diagram::mermaid(&self.document)
    }
}
