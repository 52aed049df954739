//! Which offers were refused lately, so that the next launch tries others first.
//!
//! It is kept in the memory of one process: what is forgotten with the process costs a request that is refused, and nothing else.

use std::time::Duration;

use domain::Timestamp;

use crate::offers::{Offer, Shortage};

/// A penalty is half of what it was after this long.
const HALF_LIFE: Duration = Duration::from_secs(10 * 60);
/// Below this a penalty is none: about 43 minutes after a refusal for capacity.
const FORGOTTEN: f64 = 0.05;
/// The most refusals that are remembered; the oldest go first.
const MOST: usize = 500;

/// A refusal.
#[derive(Clone, Debug)]
struct Refused {
    offer: Offer,
    shortage: Shortage,
    at: Timestamp,
}

impl Refused {
    /// How much it weighs at `now`. What is not offered in a zone at all will hardly be there in ten minutes.
    fn weight(&self, now: Timestamp) -> f64 {
        let first = match self.shortage {
            Shortage::Capacity | Shortage::Quota => 1.0,
            Shortage::Unsupported => 8.0,
        };
        first * 0.5_f64.powf(now.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64())
    }
}

/// Every refusal that still weighs something.
#[derive(Clone, Debug, Default)]
pub struct Penalties(Vec<Refused>);

impl Penalties {
    /// Remembers that `offer` was refused. The same refusal again takes the place of the one before.
    pub fn refused(&mut self, offer: &Offer, shortage: Shortage, at: Timestamp) {
        self.0.retain(|known| known.offer != *offer && known.weight(at) >= FORGOTTEN);
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(Refused { offer: offer.clone(), shortage, at });
    }

    /// Forgets what was said of `offer`: it was had.
    pub fn had(&mut self, offer: &Offer) {
        self.0.retain(|known| !known.shortage.covers(&known.offer, offer));
    }

    /// What all that is remembered weighs against `offer`.
    fn against(&self, offer: &Offer, now: Timestamp) -> f64 {
        let covering = self.0.iter().filter(|known| known.shortage.covers(&known.offer, offer));
        let weight = covering.map(|known| known.weight(now)).fold(0.0, f64::max);
        if weight < FORGOTTEN { 0.0 } else { weight }
    }

    /// The offers, the least penalised first; those that weigh the same keep their order.
    #[must_use]
    pub fn rank(&self, mut offers: Vec<Offer>, now: Timestamp) -> Vec<Offer> {
        offers.sort_by(|one, other| self.against(one, now).total_cmp(&self.against(other, now)));
        offers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        offers::offers,
        settings::Market,
        tests::{order, settings},
    };

    /// What is left of each offer's name: `24a` is a g5.24xlarge in zone a.
    fn ranked(penalties: &Penalties, after: Duration) -> Vec<String> {
        let now = Timestamp::from_seconds(1_000_000).plus(after);
        let found = penalties.rank(offers(&order(), &settings()), now);
        let short =
            |offer: &Offer| format!("{}{}", &offer.machine[3..5], offer.zone.trim_start_matches("eu-central-1"));
        found.iter().map(short).collect()
    }

    #[test]
    fn refused_offers_come_last_for_a_while() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let start = Timestamp::from_seconds(1_000_000);
        let all = offers(&order(), &settings());
        let untouched = ["12a", "12b", "24a", "24b", "48a", "48b"];
        let mut penalties = Penalties::default();
        assert_eq!(ranked(&penalties, minutes(0)), untouched);

        penalties.refused(&all[0], Shortage::Capacity, start);
        assert_eq!(ranked(&penalties, minutes(0)), ["12b", "24a", "24b", "48a", "48b", "12a"]);
        // The account may have no more of a machine: no other zone helps. The newer refusal weighs more.
        penalties.refused(&all[2], Shortage::Quota, start.plus(minutes(1)));
        assert_eq!(ranked(&penalties, minutes(1)), ["12b", "48a", "48b", "12a", "24a", "24b"]);
        assert_eq!(ranked(&penalties, minutes(44)), ["12a", "12b", "48a", "48b", "24a", "24b"]);
        assert_eq!(ranked(&penalties, minutes(45)), untouched, "after that it is forgotten");

        // What is not offered stays so for longer, and a success forgives.
        penalties.refused(&all[1], Shortage::Unsupported, start.plus(minutes(45)));
        assert_eq!(ranked(&penalties, minutes(100)).last().map(String::as_str), Some("12b"));
        penalties.had(&all[1]);
        assert_eq!(ranked(&penalties, minutes(45)), untouched);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut penalties = Penalties::default();
        for number in 0..1_000 {
            let offer =
                Offer { machine: "g5.xlarge", market: Market::Spot, zone: number.to_string(), subnet: String::new() };
            penalties.refused(&offer, Shortage::Capacity, Timestamp::from_seconds(1));
        }
        assert_eq!(penalties.0.len(), MOST);
    }
}
