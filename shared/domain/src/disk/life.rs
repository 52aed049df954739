//! A disk's life as a table that can be printed.
//!
//! At rest a disk is its newest completed snapshot, and costs what that costs. A volume is made of it where a workload is launched, and
//! goes only when a snapshot of it, taken after the last write, is complete (invariant I11).

use serde::{Deserialize, Serialize};

/// Where a disk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskState {
    /// It was asked for.
    Creating,
    /// A workload may have it.
    Available,
    /// A workload has it.
    Attached,
    /// Its workload is over; its volume is being taken from what is left of the machine.
    Detaching,
    /// A snapshot of what was written is being made.
    BackingUp,
    /// It was deleted, and can still be had back.
    Deleting,
    /// It is gone.
    Deleted,
}

/// What can happen to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskStep {
    /// It can be had.
    Make,
    /// A workload that is placed takes it.
    Hold,
    /// Its workload is over.
    Release,
    /// Its volume is free: the snapshot begins.
    BackUp,
    /// The snapshot is complete.
    BackedUp,
    /// Nothing was written: no volume of it was ever made for this use.
    Unused,
    /// The snapshot failed: another is to be made.
    TryAgain,
    /// Its owner deletes it.
    Delete,
    /// Its owner has it back.
    Undelete,
    /// Its time is over.
    Purge,
}

impl DiskState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 7] = [
        Self::Creating,
        Self::Available,
        Self::Attached,
        Self::Detaching,
        Self::BackingUp,
        Self::Deleting,
        Self::Deleted,
    ];

    /// The state that `step` leads to from here; `None` if it cannot happen here.
    #[must_use]
    pub const fn after(self, step: DiskStep) -> Option<Self> {
        use DiskState as S;
        use DiskStep as T;
        match (self, step) {
            (S::Creating, T::Make)
            | (S::Detaching, T::Unused)
            | (S::BackingUp, T::BackedUp)
            | (S::Deleting, T::Undelete) => Some(S::Available),
            (S::Available, T::Hold) => Some(S::Attached),
            (S::Attached, T::Release) | (S::BackingUp, T::TryAgain) => Some(S::Detaching),
            (S::Detaching, T::BackUp) => Some(S::BackingUp),
            (S::Creating | S::Available, T::Delete) => Some(S::Deleting),
            (S::Deleting, T::Purge) => Some(S::Deleted),
            _ => None,
        }
    }

    /// The name in tables, messages and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
            Self::BackingUp => "backing up",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }
}

impl DiskStep {
    /// Every step.
    pub const ALL: [Self; 10] = [
        Self::Make,
        Self::Hold,
        Self::Release,
        Self::BackUp,
        Self::BackedUp,
        Self::Unused,
        Self::TryAgain,
        Self::Delete,
        Self::Undelete,
        Self::Purge,
    ];

    /// The name in refusals and in the printed table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::BackUp => "back_up",
            Self::BackedUp => "backed_up",
            Self::Unused => "unused",
            Self::TryAgain => "try_again",
            Self::Delete => "delete",
            Self::Undelete => "undelete",
            Self::Purge => "purge",
        }
    }
}

/// Every step in every state, one line a state: what the snapshot test holds.
#[must_use]
pub fn table() -> String {
    let line = |state: DiskState| {
        let steps = DiskStep::ALL
            .into_iter()
            .filter_map(|step| state.after(step).map(|to| format!("{} -> {}", step.name(), to.name())))
            .collect::<Vec<_>>();
        format!("{:<11}| {}\n", state.name(), steps.join(", "))
    };
    DiskState::ALL.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_in_every_state() {
        insta::assert_snapshot!(table(), @r"
        creating   | make -> available, delete -> deleting
        available  | hold -> attached, delete -> deleting
        attached   | release -> detaching
        detaching  | back_up -> backing up, unused -> available
        backing up | backed_up -> available, try_again -> detaching
        deleting   | undelete -> available, purge -> deleted
        deleted    | 
        ");
    }

    #[test]
    fn what_was_written_is_backed_up_or_never_was() {
        // Out of a use there is no way but a completed snapshot, or that nothing was written.
        for step in DiskStep::ALL {
            for from in [DiskState::Attached, DiskState::Detaching, DiskState::BackingUp] {
                if from.after(step) == Some(DiskState::Available) {
                    assert!(matches!(step, DiskStep::BackedUp | DiskStep::Unused), "{from:?} {step:?}");
                }
            }
        }
    }
}
