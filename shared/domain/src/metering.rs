//! What requests to models used: a record of each, and sums of them by the hour.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{MessageId, Timestamp, names::ModelName};

/// One request, when it is over. It is written once, with others in one row, so that its fields have short names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// The request's id.
    #[serde(rename = "r")]
    pub request: MessageId,
    /// When it was over.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The key, or the person, that asked.
    #[serde(rename = "k")]
    pub key: String,
    /// The model that was asked.
    #[serde(rename = "m")]
    pub model: ModelName,
    /// What it used.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Milliseconds until the answer began.
    #[serde(rename = "f")]
    pub first_ms: u32,
    /// Milliseconds in all.
    #[serde(rename = "d")]
    pub total_ms: u32,
    /// The status that it was answered with; 499 where the caller went away before it was over.
    #[serde(rename = "s")]
    pub status: u16,
}

/// Tokens, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// That were read.
    #[serde(rename = "i")]
    pub input: u64,
    /// Of those, that were known from an earlier request.
    #[serde(rename = "c")]
    pub cached: u64,
    /// That were written.
    #[serde(rename = "o")]
    pub output: u64,
    /// Millionths of a dollar.
    #[serde(rename = "u")]
    pub cost_micros: u64,
}

impl Tokens {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            output: self.output.saturating_add(other.output),
            cost_micros: self.cost_micros.saturating_add(other.cost_micros),
        }
    }
}

/// An hour of the calendar in UTC, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hour(i64);

impl Hour {
    /// The hour of a moment.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(at.seconds() / 3_600)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The hour with this number.
    #[must_use]
    pub const fn numbered(number: i64) -> Self {
        Self(number)
    }

    /// Its first moment.
    #[must_use]
    pub fn begin(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(3_600_000))
    }

    /// The moment when it is over.
    #[must_use]
    pub fn end(self) -> Timestamp {
        Self(self.0 + 1).begin()
    }
}

/// What one key asked of one model in one hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The hour.
    pub hour: Hour,
    /// The model.
    pub model: ModelName,
    /// The key, or the person.
    pub key: String,
    /// How many requests.
    pub requests: u64,
    /// What they used.
    pub tokens: Tokens,
}

/// The sums of an hour's records, by model and key.
#[must_use]
pub fn sums<'a>(hour: Hour, records: impl IntoIterator<Item = &'a Metered>) -> Vec<Served> {
    let mut sums = BTreeMap::<(&ModelName, &str), (u64, Tokens)>::new();
    for record in records {
        let (requests, tokens) = sums.entry((&record.model, &record.key)).or_default();
        *requests += 1;
        *tokens = tokens.and(record.tokens);
    }
    let served = |((model, key), (requests, tokens)): ((&ModelName, &str), (u64, Tokens))| Served {
        hour,
        model: model.clone(),
        key: key.to_owned(),
        requests,
        tokens,
    };
    sums.into_iter().map(served).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hours_records_are_summed_by_model_and_key_and_a_record_is_short() {
        let at = Timestamp::from_seconds(1_800_000_000);
        let record = |model: &str, key: &str, input| Metered {
            request: MessageId::new(at, &[3; 32]),
            at,
            key: key.to_owned(),
            model: ModelName::parse(model).unwrap(),
            tokens: Tokens { input, cached: 1, output: 2, cost_micros: 3 },
            first_ms: 20,
            total_ms: 700,
            status: 200,
        };
        let records = [record("b", "k", 5), record("a", "k", 7), record("b", "k", 11), record("b", "j", 13)];
        let hour = Hour::of(at);
        assert_eq!((hour.begin(), hour.end()), (at, at.plus(std::time::Duration::from_secs(3600))));
        let found = sums(hour, &records);
        let found = found.iter().map(|sum| (sum.model.as_str(), &*sum.key, sum.requests, sum.tokens.input));
        assert_eq!(found.collect::<Vec<_>>(), [("a", "k", 1, 7), ("b", "j", 1, 13), ("b", "k", 2, 16)]);
        let written = serde_json::to_string(&records[0]).unwrap();
        assert!(written.len() < 170, "{} bytes: {written}", written.len());
        assert_eq!(serde_json::from_str::<Metered>(&written).unwrap(), records[0]);
    }
}
