//! A workload's way from one state to the next, as the rows beside it see it.

use domain::{Workload, lifecycle::State};

/// What is about to be written of a workload: the state that it leaves, and the workload as it is to be.
#[derive(Clone, Copy)]
pub(crate) struct Passage<'a> {
    /// `None` where it has just been submitted.
    pub(crate) from: Option<State>,
    pub(crate) workload: &'a Workload,
}

impl Passage<'_> {
    /// It has just been submitted.
    pub(crate) fn begins(self) -> bool {
        self.from.is_none()
    }

    /// It was not over, and is now.
    pub(crate) fn ends(self) -> bool {
        self.from.is_some() && self.enters(State::Ended)
    }

    /// It comes into this state.
    pub(crate) fn enters(self, state: State) -> bool {
        self.from != Some(state) && self.workload.state == state
    }

    /// It goes out of this state.
    pub(crate) fn leaves(self, state: State) -> bool {
        self.from == Some(state) && self.workload.state != state
    }
}
