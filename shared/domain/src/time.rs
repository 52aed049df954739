//! One type for instants, so that no two parts of the system disagree about units or formats.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{Date, Month, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// An instant in milliseconds since the Unix epoch, in UTC.
///
/// In JSON it is RFC 3339 with a `Z` and whole seconds, or milliseconds where there are any: `2026-01-20T18:30:00Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest instant that RFC 3339 can write: the end of the year 9999. Later ones are cut to it.
    const LATEST: i64 = 253_402_300_799_999;

    /// The instant `millis` milliseconds after the Unix epoch, held between the epoch and the year 9999.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, Self::LATEST))
    }

    /// The instant `seconds` seconds after the Unix epoch.
    #[must_use]
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds as i64 * 1000)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as DynamoDB's time to live wants them.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0 / 1000
    }

    /// This instant moved later by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This instant moved earlier by `by`, at the earliest to the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// The number of its month, counted from the year 0.
    #[must_use]
    pub fn month(self) -> i64 {
        let at = OffsetDateTime::from_unix_timestamp(self.seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        i64::from(at.year()) * 12 + i64::from(u8::from(at.month())) - 1
    }

    /// The first moment of the month with this number ([`Timestamp::month`]), between the epoch and the year 9999.
    #[must_use]
    pub fn of_month(number: i64) -> Self {
        let (year, month) = (number.div_euclid(12), number.rem_euclid(12) + 1);
        let month = u8::try_from(month).ok().and_then(|month| Month::try_from(month).ok());
        let first = i32::try_from(year).ok().zip(month);
        let first = first.and_then(|(year, month)| Date::from_calendar_date(year, month, 1).ok());
        first.map_or(Self(Self::LATEST), |first| {
            Self::from_millis(first.midnight().assume_utc().unix_timestamp() * 1000)
        })
    }

    /// Reads RFC 3339 in any offset.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let read = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(read.unix_timestamp_nanos() / 1_000_000).ok().map(Self::from_millis)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let millis = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let at =
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).map_err(|_outside| fmt::Error)?;
        let written = if self.0 % 1000 == 0 { at.format(&whole) } else { at.format(&millis) };
        f.write_str(&written.map_err(|_unwritable| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_768_933_800_000, "2026-01-20T18:30:00Z"),
            (1_768_933_800_042, "2026-01-20T18:30:00.042Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(at.to_string(), text);
            assert_eq!(Timestamp::parse(text), Some(at));
        }
        assert_eq!(Timestamp::parse("2026-01-20T19:30:00+01:00"), Some(Timestamp::from_millis(1_768_933_800_000)));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn months() {
        for (text, number, next) in [
            ("1970-01-01T00:00:00Z", 1970 * 12, "1970-02-01T00:00:00Z"),
            ("2026-01-20T18:30:00Z", 2026 * 12, "2026-02-01T00:00:00Z"),
            ("2026-12-31T23:59:59.999Z", 2026 * 12 + 11, "2027-01-01T00:00:00Z"),
            ("9999-12-31T00:00:00Z", 9999 * 12 + 11, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::parse(text).map(Timestamp::month), Some(number), "{text}");
            assert_eq!(Timestamp::of_month(number + 1).to_string(), next, "{text}");
        }
    }

    #[test]
    fn arithmetic_never_leaves_the_range() {
        let now = Timestamp::from_millis(5_000);
        assert_eq!(now.minus(Duration::from_secs(9)), Timestamp::from_millis(0));
        assert_eq!(now.plus(Duration::MAX), Timestamp::from_millis(i64::MAX));
        assert_eq!(Timestamp::from_millis(0).since(now), Duration::ZERO);
    }
}
