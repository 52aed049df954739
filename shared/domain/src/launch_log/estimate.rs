//! What is left of a launch, from how long others took.

use std::{fmt, str::FromStr, time::Duration};

use crate::{Workload, lifecycle::State, timeline::Entry};

/// How many launches are remembered for each pool and kind of workload.
pub const REMEMBERED: u8 = 32;

/// With fewer launches than these nothing is said: a median of two is a guess.
const FEWEST: usize = 3;

/// The states of a launch whose durations are kept. How long a workload waits for GPUs is not a launch's to say.
const STATES: [State; 6] = [
    State::Placed,
    State::Provisioning,
    State::InstanceReady,
    State::Installing,
    State::ModelLoading,
    State::HealthCheck,
];

/// How long a launch was in each of its states, in whole seconds; 0 for one that it skipped.
///
/// Written as the numbers in the order of a launch, with commas between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample([u32; STATES.len()]);

/// The text is no [`Sample`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the durations of a launch")]
pub struct NotASample;

impl Sample {
    /// What a timeline, from its first entry on, says of its launch; `None` where the launch was not completed.
    #[must_use]
    pub fn of(timeline: &[Entry]) -> Option<Self> {
        let begun = |state: State| timeline.iter().find(|entry| entry.phase == state).map(|entry| entry.at);
        let mut next = begun(State::Active)?;
        begun(State::Placed)?;
        let mut sample = Self::default();
        for (state, seconds) in STATES.into_iter().zip(&mut sample.0).rev() {
            if let Some(at) = begun(state) {
                *seconds = u32::try_from(next.since(at).as_secs()).unwrap_or(u32::MAX);
                next = at;
            }
        }
        Some(sample)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|seconds| seconds.to_string()).join(","))
    }
}

impl FromStr for Sample {
    type Err = NotASample;

    fn from_str(text: &str) -> Result<Self, NotASample> {
        let numbers =
            text.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>().map_err(|_no_number| NotASample)?;
        numbers.try_into().map(Self).map_err(|_too_few_or_many| NotASample)
    }
}

/// How long launches usually are in each of their states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual([u32; STATES.len()]);

impl Usual {
    /// The medians of what is remembered; `None` where that is too little. Of an even number it is the lower one of the two in the middle.
    #[must_use]
    pub fn of(samples: &[Sample]) -> Option<Self> {
        if samples.len() < FEWEST {
            return None;
        }
        let mut usual = Self([0; STATES.len()]);
        for (number, median) in usual.0.iter_mut().enumerate() {
            let mut seconds = samples.iter().filter_map(|sample| sample.0.get(number).copied()).collect::<Vec<_>>();
            seconds.sort_unstable();
            *median = seconds.get((seconds.len() - 1) / 2).copied().unwrap_or(0);
        }
        Some(usual)
    }

    /// What is left, in seconds, of a launch that has been in `state` for `stayed`: the rest of what this state usually takes, which is
    /// nothing once it has taken longer, and what those after it take. `None` while it waits for GPUs, and when it is over.
    #[must_use]
    pub fn left(&self, state: State, stayed: Duration) -> Option<u64> {
        let here = STATES.iter().position(|of| *of == state)?;
        let mut seconds = self.0.iter().skip(here).map(|seconds| u64::from(*seconds));
        let rest = seconds.next().unwrap_or(0).saturating_sub(stayed.as_secs());
        Some(rest + seconds.sum::<u64>())
    }
}

/// Which launches take alike: those of one pool and of one kind of workload.
#[must_use]
pub const fn kind(workload: &Workload) -> &'static str {
    if workload.spec.serve.is_some() { "node" } else { "job" }
}
