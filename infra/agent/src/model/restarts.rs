//! How often a server that dies is started again.

use std::{collections::VecDeque, time::Duration};

use domain::Timestamp;

/// The most restarts in [`WINDOW`].
const MOST: usize = 3;
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// The pause before the first restart in the window; each further one waits four times as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const GROWTH: u32 = 4;

/// The restarts of late. A pure value: what it says depends on what it was asked, and when.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    at: VecDeque<Timestamp>,
}

impl Restarts {
    /// The pause before a restart of what died at `now`; `None` when it has been restarted too often.
    pub(super) fn after(&mut self, now: Timestamp) -> Option<Duration> {
        self.at.retain(|at| now.since(*at) < WINDOW);
        if self.at.len() >= MOST {
            return None;
        }
        let pause = FIRST_PAUSE * GROWTH.saturating_pow(u32::try_from(self.at.len()).unwrap_or(u32::MAX));
        self.at.push_back(now);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_ten_minutes_and_each_later_than_the_one_before() {
        for (case, deaths, pauses) in [
            ("at once", vec![0, 1, 2, 3], vec![Some(1), Some(4), Some(16), None]),
            ("one in a while", vec![0, 600, 1200, 1800], vec![Some(1); 4]),
            ("the first is forgotten", vec![0, 300, 599, 600, 601], vec![Some(1), Some(4), Some(16), Some(16), None]),
        ] {
            let mut restarts = Restarts::default();
            let found = deaths.iter().map(|at| restarts.after(Timestamp::from_millis(at * 1000)));
            assert_eq!(
                found.collect::<Vec<_>>(),
                pauses.into_iter().map(|pause| pause.map(Duration::from_secs)).collect::<Vec<_>>(),
                "{case}"
            );
        }
    }
}
