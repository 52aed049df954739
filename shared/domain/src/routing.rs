//! Which of the servers of a model is asked.
//!
//! Of two that are drawn by lot the one is asked that has fewer requests under way: nearly as even as asking the idlest of all, and callers
//! that decide at the same moment do not all choose the same one (M. Mitzenmacher, "The Power of Two Choices in Randomized Load
//! Balancing", 2001). One that fails is set aside for a while, which is longer each time.

use std::time::Duration;

use crate::Timestamp;

/// What is known of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Requests that it is answering.
    pub outstanding: u32,
    /// How often it failed in a row.
    pub failures: u32,
    /// It is not asked before, unless nobody else can be.
    pub aside_until: Timestamp,
}

/// How long a server is set aside at its first failure, and at most.
const ASIDE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Health {
    /// It failed: it is set aside, for twice as long as the last time.
    pub fn failed(&mut self, now: Timestamp) {
        let aside = ASIDE.0.saturating_mul(1 << self.failures.min(10)).min(ASIDE.1);
        self.failures = self.failures.saturating_add(1);
        self.aside_until = now.plus(aside);
    }

    /// It answered.
    pub fn answered(&mut self) {
        self.failures = 0;
        self.aside_until = Timestamp::default();
    }

    /// Whether it may be asked.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.aside_until <= now
    }
}

/// Draws one of the `servers`, by number: the better of two that are good; where none is, the one that may be asked soonest.
#[must_use]
pub fn draw(servers: &[Health], random: u64, now: Timestamp) -> Option<usize> {
    let good = (0..servers.len()).filter(|at| servers[*at].is_good(now)).collect::<Vec<_>>();
    let Some(count) = u64::try_from(good.len()).ok().filter(|count| *count > 0) else {
        return (0..servers.len()).min_by_key(|at| servers[*at].aside_until);
    };
    let nth = |number: u64| usize::try_from(number).ok().and_then(|at| good.get(at)).copied();
    let first = random % count;
    // The second is another one, where there is another.
    let second = (first + 1 + (random >> 32) % (count - 1).max(1)) % count;
    [nth(first)?, nth(second)?].into_iter().min_by_key(|at| servers[*at].outstanding)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn server(outstanding: u32, failures: u32) -> Health {
        let mut server = Health { outstanding, ..Health::default() };
        (0..failures).for_each(|_| server.failed(NOW));
        server
    }

    #[test]
    fn the_idler_of_two_is_asked_and_none_that_failed() {
        for (servers, drawn) in [
            (vec![], vec![]),
            (vec![server(9, 0)], vec![0]),
            (vec![server(9, 0), server(1, 0)], vec![1]),
            (vec![server(9, 0), server(1, 1)], vec![0]),
            (vec![server(1, 0), server(2, 0), server(3, 0)], vec![0, 1]),
            (vec![server(0, 3), server(0, 1), server(0, 2)], vec![1]),
        ] {
            let mut found = (0..1_000_u64)
                .filter_map(|seed| draw(&servers, seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), NOW))
                .collect::<Vec<_>>();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, drawn, "{servers:?}");
        }
    }

    #[test]
    fn it_is_set_aside_for_longer_each_time_and_comes_back() {
        let mut server = Health::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            server.failed(NOW);
            assert_eq!(server.aside_until.since(NOW).as_secs(), seconds);
        }
        assert!(
            !server.is_good(NOW.plus(Duration::from_secs(59))) && server.is_good(NOW.plus(Duration::from_secs(60)))
        );
        server.answered();
        assert!(server.is_good(NOW) && server.failures == 0);
    }
}
