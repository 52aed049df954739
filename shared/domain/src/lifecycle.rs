//! A workload's life as a table that can be printed.
//!
//! ```text
//! queued -> placed -> provisioning -> instance_ready -> installing -> model_loading -> health_check -> active -> draining -> ended
//! ```
//! No step leads back (invariant I5). A launch may skip phases that mean nothing for its workload, and everything from `placed` on
//! ends through `draining`, because GPUs are free again only when the fleet says that nothing runs any more.

use serde::{Deserialize, Serialize};

/// Where a workload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for GPUs.
    Queued,
    /// GPUs are booked for it; its launch is about to start.
    Placed,
    /// The fleet was asked for a machine, a pod or a process.
    Provisioning,
    /// The agent has enrolled: something of ours runs there.
    InstanceReady,
    /// The sandbox or container is being made.
    Installing,
    /// A model is being loaded.
    ModelLoading,
    /// It is up; the way in is being checked.
    HealthCheck,
    /// It is the user's, and its time runs.
    Active,
    /// It is ending; its GPUs stay booked.
    Draining,
    /// It is over.
    Ended,
}

/// A part of a life, in which most decisions treat all states alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It waits for GPUs.
    Waiting,
    /// GPUs are booked, and its launch is under way.
    Launching,
    /// It is its owner's.
    Running,
    /// It is being ended.
    Ending,
    /// It is over.
    Over,
}

/// What can happen to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The dispatcher found room.
    Place,
    /// The launcher asks the fleet, possibly again.
    Provision,
    /// The agent called in.
    Enroll,
    /// The agent makes the sandbox.
    Install,
    /// The agent loads a model.
    LoadModel,
    /// The agent checks the way in.
    CheckHealth,
    /// The launch is complete.
    Activate,
    /// It is told to end.
    Drain,
    /// It ends while nothing has been booked for it.
    Withdraw,
    /// The fleet says that nothing of it runs any more.
    End,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Placed,
        Self::Provisioning,
        Self::InstanceReady,
        Self::Installing,
        Self::ModelLoading,
        Self::HealthCheck,
        Self::Active,
        Self::Draining,
        Self::Ended,
    ];

    /// GPUs are booked.
    #[must_use]
    pub fn holds_gpus(self) -> bool {
        !matches!(self, Self::Queued | Self::Ended)
    }

    /// Which part of a life this state belongs to.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::Queued => Stage::Waiting,
            Self::Placed
            | Self::Provisioning
            | Self::InstanceReady
            | Self::Installing
            | Self::ModelLoading
            | Self::HealthCheck => Stage::Launching,
            Self::Active => Stage::Running,
            Self::Draining => Stage::Ending,
            Self::Ended => Stage::Over,
        }
    }

    /// The state that `step` leads to from here; `None` if it cannot happen here.
    #[must_use]
    pub const fn after(self, step: Step) -> Option<Self> {
        use State as S;
        match (self, step) {
            (S::Queued, Step::Place) => Some(S::Placed),
            (S::Queued, Step::Withdraw) | (S::Draining, Step::End) => Some(S::Ended),
            (S::Placed | S::Provisioning, Step::Provision) => Some(S::Provisioning),
            (S::Provisioning, Step::Enroll) => Some(S::InstanceReady),
            (S::InstanceReady, Step::Install) => Some(S::Installing),
            (S::InstanceReady | S::Installing, Step::LoadModel) => Some(S::ModelLoading),
            (S::InstanceReady | S::Installing | S::ModelLoading, Step::CheckHealth) => Some(S::HealthCheck),
            (S::HealthCheck, Step::Activate) => Some(S::Active),
            (
                S::Placed
                | S::Provisioning
                | S::InstanceReady
                | S::Installing
                | S::ModelLoading
                | S::HealthCheck
                | S::Active,
                Step::Drain,
            ) => Some(S::Draining),
            _ => None,
        }
    }

    /// The name in tables, timelines and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Placed => "placed",
            Self::Provisioning => "provisioning",
            Self::InstanceReady => "instance_ready",
            Self::Installing => "installing",
            Self::ModelLoading => "model_loading",
            Self::HealthCheck => "health_check",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Ended => "ended",
        }
    }

    /// How far a launch in this state has come, in percent: where its range begins.
    #[must_use]
    pub const fn progress(self) -> u8 {
        self.progress_range().0
    }

    /// From where to where a launch goes within this state, in percent (checklist 000#18). No state begins before the one before it
    /// ends. Being placed is the beginning of provisioning.
    #[must_use]
    pub const fn progress_range(self) -> (u8, u8) {
        match self {
            Self::Queued => (0, 0),
            Self::Placed => (10, 20),
            Self::Provisioning => (20, 30),
            Self::InstanceReady => (35, 35),
            Self::Installing => (40, 60),
            Self::ModelLoading => (65, 85),
            Self::HealthCheck => (90, 90),
            Self::Active | Self::Draining | Self::Ended => (100, 100),
        }
    }

    /// How far a launch has come that is `percent` through this state, in percent of the whole launch; beyond 100 counts as 100.
    #[must_use]
    pub fn progress_at(self, percent: u8) -> u8 {
        let (from, to) = self.progress_range();
        let within = u16::from(to - from) * u16::from(percent.min(100)) / 100;
        // The part is at most `to - from`, which is a byte.
        u8::try_from(within).map_or(to, |within| from + within)
    }
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 10] = [
        Self::Place,
        Self::Provision,
        Self::Enroll,
        Self::Install,
        Self::LoadModel,
        Self::CheckHealth,
        Self::Activate,
        Self::Drain,
        Self::Withdraw,
        Self::End,
    ];

    /// The name in refusals and in the printed table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Provision => "provision",
            Self::Enroll => "enroll",
            Self::Install => "install",
            Self::LoadModel => "load_model",
            Self::CheckHealth => "check_health",
            Self::Activate => "activate",
            Self::Drain => "drain",
            Self::Withdraw => "withdraw",
            Self::End => "end",
        }
    }
}

/// Every step in every state, one line a state: what the snapshot test holds and what the documentation shows.
#[must_use]
pub fn table() -> String {
    let line = |state: State| {
        let steps = Step::ALL
            .into_iter()
            .filter_map(|step| state.after(step).map(|to| format!("{} -> {}", step.name(), to.name())))
            .collect::<Vec<_>>();
        format!("{:<15}| {}\n", state.name(), steps.join(", "))
    };
    State::ALL.into_iter().map(line).collect()
}

/// The same table as a graph in Graphviz's language.
#[must_use]
pub fn graph() -> String {
    let edges = State::ALL.into_iter().flat_map(|from| {
        Step::ALL.into_iter().filter_map(move |step| {
            from.after(step).map(|to| format!("  {} -> {} [label={}];\n", from.name(), to.name(), step.name()))
        })
    });
    format!("digraph life {{\n{}}}\n", edges.collect::<String>())
}

/// Why a workload ended, or is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its time was over.
    Expired,
    /// Its main process ended and it had asked to end with it.
    Completed,
    /// Nobody used it for as long as it had allowed.
    Idle,
    /// Its owner, or the queue's time limit, ended it.
    Cancelled,
    /// It could not be launched, or what it ran on went away.
    Failed,
    /// A more important workload needed its GPUs.
    Preempted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_in_every_state() {
        insta::assert_snapshot!("life", table());
    }

    #[test]
    fn as_a_graph() {
        insta::assert_snapshot!("life_graph", graph());
    }

    #[test]
    fn no_step_leads_back_and_progress_only_grows() {
        for from in State::ALL {
            for step in Step::ALL {
                if let Some(to) = from.after(step) {
                    assert!(to >= from && to.progress() >= from.progress(), "{from:?} {step:?} {to:?}");
                    assert!(to > from || step == Step::Provision, "only another attempt stays where it is");
                    assert!(to == from || to.progress() >= from.progress_range().1, "{from:?} {step:?} {to:?}");
                }
            }
        }
    }

    #[test]
    fn progress_within_a_state() {
        for (state, percent, progress) in [
            (State::Queued, 100, 0),
            (State::Placed, 0, 10),
            (State::Placed, 100, 20),
            (State::Provisioning, 100, 30),
            (State::InstanceReady, 50, 35),
            (State::Installing, 0, 40),
            (State::Installing, 25, 45),
            (State::Installing, 99, 59),
            (State::Installing, 100, 60),
            (State::ModelLoading, 50, 75),
            (State::ModelLoading, 255, 85),
            (State::HealthCheck, 100, 90),
            (State::Active, 1, 100),
        ] {
            assert_eq!(state.progress_at(percent), progress, "{state:?} {percent}");
        }
    }
}
