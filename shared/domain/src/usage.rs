//! What was used, and what it cost: exact sums over lines that are never split again.
//!
//! A *line* is what one workload used in one day (UTC), or what one key asked of one model in one hour. Its cost is rounded once, down to a millionth of a dollar, and every sum is a sum of
//! lines: so whatever a report is grouped by, its parts make its total to the last digit (checklist 000#22).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    Timestamp, Workload, WorkloadId,
    metering::{Served, Tokens},
    names::ModelName,
    policy,
    price::Price,
};

/// A day's length in seconds; leap seconds are not counted, as in every clock that we read.
const DAY: i64 = 24 * 3600;

/// A day in UTC, written `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// The day of a moment.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(at.seconds().div_euclid(DAY))
    }

    /// Reads `YYYY-MM-DD`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at = (text.len() == 10).then(|| Timestamp::parse(&format!("{text}T00:00:00Z"))).flatten()?;
        Some(Self::of(at))
    }

    /// Its first moment.
    #[must_use]
    pub fn begin(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(DAY * 1000))
    }

    /// The first day of its month.
    #[must_use]
    pub fn first_of_month(self) -> Self {
        let text = self.to_string();
        Self::parse(&format!("{}01", &text[..8])).unwrap_or(self)
    }

    /// How many days there are from this one to `last`, both included; none where `last` is earlier.
    #[must_use]
    pub const fn days_to(self, last: Self) -> i64 {
        last.0.saturating_sub(self.0).saturating_add(1)
    }

    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.begin().to_string()[..10])
    }
}

/// What a report is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The model that was served.
    Model,
    /// The key, or the person, that asked.
    Key,
    /// The day, in UTC.
    Day,
    /// The workload.
    Workload,
}

/// The time in which a workload held its GPUs: what is kept of it when it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The workload.
    pub workload: WorkloadId,
    /// The model that it served, if it served one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// The key, or the person, that asked for it.
    pub key: String,
    /// How many GPUs.
    pub gpus: u32,
    /// What one GPU's hour costs.
    pub gpu_hour: Price,
    /// From when.
    pub from: Timestamp,
    /// Until when, or until now.
    pub until: Timestamp,
}

impl Held {
    /// What a workload has used at `now`; `None` of one of which nothing was ever seen running.
    #[must_use]
    pub fn of(workload: &Workload, now: Timestamp) -> Option<Self> {
        let from = workload.usage.started_at?;
        let serve = workload.spec.serve.as_ref();
        Some(Self {
            workload: workload.id,
            model: serve.map(|serve| serve.model.clone()),
            key: serve.map_or_else(|| workload.owner.to_string(), |serve| serve.asked_by.clone()),
            gpus: workload.spec.gpu_count,
            gpu_hour: workload.spec.gpu_hour,
            from,
            until: workload.usage.stopped_at.unwrap_or(now).max(from),
        })
    }

    /// Its lines, day by day. Together they have as many GPU-seconds as the workload's own record: a second that has begun counts as a whole
    /// one.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut from = self.from;
        std::iter::from_fn(move || {
            if from >= self.until {
                return None;
            }
            let day = Day::of(from);
            let until = day.next().begin().min(self.until);
            let gpu_seconds = (self.seconds_until(until) - self.seconds_until(from)) * u64::from(self.gpus);
            from = until;
            let cost = u128::from(gpu_seconds) * u128::from(self.gpu_hour.micros()) / 3600;
            let used = Sum { gpu_seconds, cost_micros: u64::try_from(cost).unwrap_or(u64::MAX), ..Sum::default() };
            Some(Line { day, by: Used::Held(self), used })
        })
    }

    /// Whole seconds from its beginning to `at`, those begun included.
    fn seconds_until(&self, at: Timestamp) -> u64 {
        u64::try_from(at.since(self.from).as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

/// What one workload used in one day, or one key of one model in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The day.
    pub day: Day,
    /// What used it.
    pub by: Used<'a>,
    /// How much.
    pub used: Sum,
}

/// What used something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used<'a> {
    /// A workload, by holding GPUs.
    Held(&'a Held),
    /// A key, by asking a model.
    Served(&'a Served),
}

impl Line<'_> {
    /// The line of what a key asked of a model.
    #[must_use]
    pub fn of(served: &Served) -> Line<'_> {
        let Tokens { input, cached, output, cost_micros } = served.tokens;
        let used = Sum {
            requests: served.requests,
            input_tokens: input,
            cached_tokens: cached,
            output_tokens: output,
            cost_micros,
            ..Sum::default()
        };
        Line { day: Day::of(served.hour.begin()), by: Used::Served(served), used }
    }

    fn group(&self, by: By) -> String {
        let none = || "none".to_owned();
        match (by, self.by) {
            (By::Day, _) => self.day.to_string(),
            (By::Model, Used::Held(held)) => held.model.as_ref().map_or_else(none, |model| model.as_str().to_owned()),
            (By::Key, Used::Held(held)) => held.key.clone(),
            (By::Workload, Used::Held(held)) => held.workload.to_string(),
            (By::Model, Used::Served(served)) => served.model.as_str().to_owned(),
            (By::Key, Used::Served(served)) => served.key.clone(),
            // Whichever of a model's servers answered is not kept.
            (By::Workload, Used::Served(_)) => none(),
        }
    }
}

/// A sum of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// GPUs times seconds.
    pub gpu_seconds: u64,
    /// Requests to models.
    pub requests: u64,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Of those, that were known from an earlier request.
    pub cached_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// Millionths of a dollar.
    pub cost_micros: u64,
}

impl Sum {
    const fn add(&mut self, other: Self) {
        self.gpu_seconds = self.gpu_seconds.saturating_add(other.gpu_seconds);
        self.requests = self.requests.saturating_add(other.requests);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_micros = self.cost_micros.saturating_add(other.cost_micros);
    }
}

/// Days in one row, the last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first day.
    pub first: Day,
    /// The last day.
    pub last: Day,
}

impl Period {
    /// From `first`, or the beginning of the last day's month, to `last`, or today. `None` where that is no day, or more than are kept.
    #[must_use]
    pub fn new(first: Option<Day>, last: Option<Day>, now: Timestamp) -> Option<Self> {
        let last = last.unwrap_or_else(|| Day::of(now));
        let first = first.unwrap_or_else(|| last.first_of_month());
        (1..=policy::USAGE_DAYS).contains(&first.days_to(last)).then_some(Self { first, last })
    }

    fn has(self, day: Day) -> bool {
        (self.first..=self.last).contains(&day)
    }
}

/// The sum of what was used in `period`, and of each group of it by its name, in the order of names.
#[must_use]
pub fn report((held, served): (&[Held], &[Served]), period: Period, by: Option<By>) -> (Sum, BTreeMap<String, Sum>) {
    let (mut total, mut groups) = (Sum::default(), BTreeMap::<String, Sum>::new());
    let lines = held.iter().flat_map(Held::lines).chain(served.iter().map(Line::of));
    for line in lines.filter(|line| period.has(line.day)) {
        total.add(line.used);
        if let Some(by) = by {
            groups.entry(line.group(by)).or_default().add(line.used);
        }
    }
    (total, groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metering::Hour;

    /// 2026-01-20T23:00:00Z.
    const LATE: i64 = 1_768_950_000_000;

    fn held(from: i64, until: i64, gpus: u32, key: &str) -> Held {
        let (from, until) = (Timestamp::from_millis(LATE + from), Timestamp::from_millis(LATE + until));
        let (workload, model) = (WorkloadId::new(from, &[7; 32]), Some(ModelName::parse("m").unwrap()));
        let gpu_hour = Price::from_micros(1_006_000);
        Held { workload, model, key: key.to_owned(), gpus, gpu_hour, from, until }
    }

    fn served(hours: i64, key: &str) -> Served {
        let tokens = Tokens { input: 10, cached: 1, output: 3, cost_micros: 7 };
        let hour = Hour::of(Timestamp::from_millis(LATE + hours * 3_600_000));
        Served { hour, model: ModelName::parse("m").unwrap(), key: key.to_owned(), requests: 2, tokens }
    }

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    fn check(held: &Held, expected: &[(&str, u64, u64)]) {
        let found = held.lines().map(|line| (line.day.to_string(), line.used.gpu_seconds, line.used.cost_micros));
        let expected = expected.iter().map(|(day, seconds, cost)| ((*day).to_owned(), *seconds, *cost));
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{held:?}");
    }

    #[test]
    fn a_workloads_days() {
        check(&held(0, 0, 1, "k"), &[]);
        check(&held(0, 1, 2, "k"), &[("2026-01-20", 2, 558)]);
        check(&held(0, 3_600_000, 1, "k"), &[("2026-01-20", 3600, 1_006_000)]);
        check(&held(0, 3_600_001, 1, "k"), &[("2026-01-20", 3600, 1_006_000), ("2026-01-21", 1, 279)]);
        // The second in which the day ends is the old day's; the new one has what is left.
        check(&held(500, 3_600_400, 1, "k"), &[("2026-01-20", 3600, 1_006_000), ("2026-01-21", 0, 0)]);
        let days = [("2026-01-20", 3600, 1_006_000), ("2026-01-21", 86_400, 24_144_000), ("2026-01-22", 1, 279)];
        check(&held(0, 90_000_500, 1, "k"), &days);
    }

    #[test]
    fn days() {
        for (text, written) in [
            ("2026-01-20", Some("2026-01-20")),
            ("2024-02-29", Some("2024-02-29")),
            ("2025-02-29", None),
            ("2026-1-20", None),
            ("2026-01-20T", None),
            ("today", None),
            ("", None),
        ] {
            assert_eq!(Day::parse(text).map(|day| day.to_string()).as_deref(), written, "{text}");
        }
        assert_eq!(day("2024-02-29").first_of_month(), day("2024-02-01"));
        assert_eq!(day("2024-02-28").days_to(day("2024-03-01")), 3);
    }

    #[test]
    fn periods() {
        let now = Timestamp::from_millis(LATE);
        let period = |first: Option<&str>, last: Option<&str>| {
            let found = Period::new(first.map(day), last.map(day), now)?;
            Some((found.first.to_string(), found.last.to_string()))
        };
        let some = |first: &str, last: &str| Some((first.to_owned(), last.to_owned()));
        assert_eq!(period(None, None), some("2026-01-01", "2026-01-20"));
        assert_eq!(period(None, Some("2025-12-05")), some("2025-12-01", "2025-12-05"));
        assert_eq!(period(Some("2026-01-20"), None), some("2026-01-20", "2026-01-20"));
        assert_eq!(period(Some("2026-01-21"), None), None);
        assert_eq!(period(Some("2024-01-21"), None), None);
    }

    #[test]
    fn parts_make_the_whole() {
        let used = [held(0, 90_000_500, 3, "a"), held(17, 4_711_113, 5, "b"), held(59_999, 86_400_001, 7, "a")];
        let period = Period { first: day("2026-01-20"), last: day("2026-01-21") };
        let served = [served(0, "a"), served(1, "c"), served(49, "a")];
        let whole = report((&used, &served), period, None).0;
        assert_eq!((whole.requests, whole.input_tokens, whole.cached_tokens, whole.output_tokens), (4, 20, 2, 6));
        assert_eq!(whole.gpu_seconds, 3 * 90_000 + 5 * 4712 + 7 * 86_341);
        for by in [By::Model, By::Key, By::Day, By::Workload] {
            let (total, groups) = report((&used, &served), period, Some(by));
            let mut parts = Sum::default();
            groups.values().for_each(|part| parts.add(*part));
            assert_eq!((parts, total), (whole, whole), "{by:?}");
        }
        let one_day =
            report((&used, &served), Period { first: day("2026-01-22"), last: day("2026-01-22") }, Some(By::Key));
        assert_eq!(
            one_day.1.into_iter().map(|(key, sum)| (key, sum.gpu_seconds)).collect::<Vec<_>>(),
            [("a".to_owned(), 3)]
        );
    }
}
