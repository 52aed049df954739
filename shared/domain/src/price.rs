//! Prices: exact, and dollars on the wire alone.

use serde::{Deserialize, Serialize};

/// A price in dollars, kept as whole millionths of a dollar, so that sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(u64);

impl Price {
    /// The highest that is believed: a million dollars.
    const HIGHEST: f64 = 1_000_000.0;

    /// Reads a number of dollars with at most six decimals, from 0 to a million; `None` for any other.
    #[must_use]
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        if !(0.0..=Self::HIGHEST).contains(&dollars) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked above")]
        let read = Self((dollars * 1e6).round() as u64);
        // A decimal of at most six places is read back as the very same number; -0.0 is zero.
        (read.dollars().to_bits() == (dollars + 0.0).to_bits()).then_some(read)
    }

    /// As a number of dollars, for the wire alone.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "at most 10^12, which a double holds exactly")]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// In millionths of a dollar.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }
}

impl Price {
    /// What so many tokens cost at this price for a million, in millionths of a dollar; a part of one that has begun counts as a whole one.
    #[must_use]
    pub fn of_tokens(self, tokens: u64) -> u64 {
        u64::try_from((u128::from(self.0) * u128::from(tokens)).div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// A price of so many millionths of a dollar.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }
}

/// A price in a setting: a number of dollars, for `#[serde(with = "domain::price::dollars")]`.
pub mod dollars {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    use super::Price;

    /// Writes the dollars, where there is a price.
    ///
    /// # Errors
    /// When `to` fails.
    pub fn serialize<S: Serializer>(price: &Option<Price>, to: S) -> Result<S::Ok, S::Error> {
        price.map(Price::dollars).serialize(to)
    }

    /// Reads dollars, where there are any.
    ///
    /// # Errors
    /// When they are no price; see [`Price::from_dollars`].
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Price>, D::Error> {
        let rule = || D::Error::custom("a price is from 0 to 1000000 dollars, with at most six decimals");
        let read = |dollars| Price::from_dollars(dollars).ok_or_else(rule);
        Option::<f64>::deserialize(from)?.map(read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_exact() {
        for (dollars, micros) in [
            (0.15, Some(150_000)),
            (0.6, Some(600_000)),
            (0.0, Some(0)),
            (-0.0, Some(0)),
            (0.000_001, Some(1)),
            (0.123_456, Some(123_456)),
            (999_999.999_999, Some(999_999_999_999)),
            (1_000_000.0, Some(1_000_000_000_000)),
            (0.000_000_1, None),
            (0.1 + 0.2, None),
            (1_000_000.000_1, None),
            (-0.15, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(Price::from_dollars(dollars).map(Price::micros), micros, "{dollars}");
        }
        let json = serde_json::to_string(&Price::from_dollars(0.15).unwrap().dollars()).unwrap();
        assert_eq!(json, "0.15");
    }

    #[test]
    fn tokens_cost_whole_millionths() {
        for (micros, tokens, cost) in [
            (150_000, 0, 0),
            (150_000, 1, 1),
            (150_000, 20, 3),
            (150_000, 21, 4),
            (0, 9, 0),
            (u64::MAX, u64::MAX, u64::MAX),
        ] {
            assert_eq!(Price::from_micros(micros).of_tokens(tokens), cost, "{micros} {tokens}");
        }
    }

    #[test]
    fn settings_are_in_dollars() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Setting {
            #[serde(default, with = "dollars")]
            price: Option<Price>,
        }
        for (text, expected) in [
            ("{}", Some(None)),
            (r#"{"price": null}"#, Some(None)),
            (r#"{"price": 6.88}"#, Some(Some(Price::from_micros(6_880_000)))),
            (r#"{"price": -1}"#, None),
            (r#"{"price": 0.0000001}"#, None),
            (r#"{"price": "6.88"}"#, None),
        ] {
            assert_eq!(serde_json::from_str::<Setting>(text).ok().map(|read| read.price), expected, "{text}");
        }
        let written = serde_json::to_string(&Setting { price: Some(Price::from_micros(6_880_000)) }).unwrap();
        assert_eq!(written, r#"{"price":6.88}"#);
    }
}
