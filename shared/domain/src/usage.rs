//! What was used, and what it cost: exact sums over lines that are never split again.
//!
//! A *line* is what one workload used in one day (UTC). Its cost is rounded once, down to a millionth of a dollar, and every sum is a sum of
//! lines: so whatever a report is grouped by, its parts make its total to the last digit (checklist 000#22).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, WorkloadId, gpu::Gpu};

/// What a report is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The model that was served.
    Model,
    /// The key that asked.
    Key,
    /// The day, in UTC.
    Day,
    /// The workload.
    Workload,
}

/// What one workload used in one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The day, as `YYYY-MM-DD`.
    pub day: String,
    /// The workload.
    pub workload: WorkloadId,
    /// The model that it served, if it served one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The key, or the person, that asked for it.
    pub key: String,
    /// GPUs times seconds.
    pub gpu_seconds: u64,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// Millionths of a dollar.
    pub cost_micros: u64,
}

/// A sum of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// GPUs times seconds.
    pub gpu_seconds: u64,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// Millionths of a dollar.
    pub cost_micros: u64,
}

impl Sum {
    fn add(&mut self, line: &Line) {
        self.gpu_seconds = self.gpu_seconds.saturating_add(line.gpu_seconds);
        self.input_tokens = self.input_tokens.saturating_add(line.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(line.output_tokens);
        self.cost_micros = self.cost_micros.saturating_add(line.cost_micros);
    }
}

/// The time in which a workload held its GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The workload.
    pub workload: WorkloadId,
    /// The model that it served, if it served one.
    pub model: Option<String>,
    /// The key, or the person, that asked for it.
    pub key: String,
    /// The type of GPU.
    pub gpu: Gpu,
    /// How many.
    pub gpus: u32,
    /// From when.
    pub from: Timestamp,
    /// Until when, or until now.
    pub until: Timestamp,
    /// Millionths of a dollar for one GPU's hour.
    pub hour_micros: u64,
}

/// A day's length in seconds; leap seconds are not counted, as in every clock that we read.
const DAY: i64 = 24 * 3600;

impl Held {
    /// Its lines, day by day. Together they have as many GPU-seconds as the workload's own record: seconds begun count as whole ones.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut from = self.from;
        while from < self.until {
            let midnight = Timestamp::from_millis((from.seconds().div_euclid(DAY) + 1) * DAY * 1000);
            let until = midnight.min(self.until);
            let gpu_seconds = (self.seconds_until(until) - self.seconds_until(from)) * u64::from(self.gpus);
            lines.push(Line {
                day: from.to_string().chars().take(10).collect(),
                workload: self.workload,
                model: self.model.clone(),
                key: self.key.clone(),
                gpu_seconds,
                input_tokens: 0,
                output_tokens: 0,
                cost_micros: cost(gpu_seconds, self.hour_micros),
            });
            from = until;
        }
        lines
    }

    /// Whole seconds from its beginning to `at`, those begun included.
    fn seconds_until(&self, at: Timestamp) -> u64 {
        let passed = at.since(self.from);
        passed.as_secs() + u64::from(passed.subsec_nanos() > 0)
    }
}

/// What so many GPU-seconds cost, rounded down to a millionth of a dollar.
fn cost(gpu_seconds: u64, hour_micros: u64) -> u64 {
    u64::try_from(u128::from(gpu_seconds) * u128::from(hour_micros) / 3600).unwrap_or(u64::MAX)
}

/// The sum of all lines, and of each group of them by its name, in the order of names.
#[must_use]
pub fn report(lines: &[Line], by: Option<By>) -> (Sum, BTreeMap<String, Sum>) {
    let (mut total, mut groups) = (Sum::default(), BTreeMap::<String, Sum>::new());
    for line in lines {
        total.add(line);
        let name = match by {
            None => continue,
            Some(By::Model) => line.model.clone().unwrap_or_else(|| "none".to_owned()),
            Some(By::Key) => line.key.clone(),
            Some(By::Day) => line.day.clone(),
            Some(By::Workload) => line.workload.to_string(),
        };
        groups.entry(name).or_default().add(line);
    }
    (total, groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-20T23:00:00Z.
    const LATE: i64 = 1_768_950_000_000;

    fn held(from: i64, until: i64, gpus: u32, key: &str) -> Held {
        let (from, until) = (Timestamp::from_millis(LATE + from), Timestamp::from_millis(LATE + until));
        let (workload, model) = (WorkloadId::new(from, &[7; 32]), Some("m".to_owned()));
        Held { workload, model, key: key.to_owned(), gpu: Gpu::A10g, gpus, from, until, hour_micros: 1_006_000 }
    }

    fn check(held: &Held, expected: &[(&str, u64, u64)]) {
        let found = held.lines();
        let found = found.iter().map(|line| (line.day.as_str(), line.gpu_seconds, line.cost_micros));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{held:?}");
    }

    #[test]
    fn a_workloads_days() {
        check(&held(0, 0, 1, "k"), &[]);
        check(&held(0, 1, 2, "k"), &[("2026-01-20", 2, 558)]);
        check(&held(0, 3_600_000, 1, "k"), &[("2026-01-20", 3600, 1_006_000)]);
        check(&held(0, 3_600_001, 1, "k"), &[("2026-01-20", 3600, 1_006_000), ("2026-01-21", 1, 279)]);
        let days = [("2026-01-20", 3600, 1_006_000), ("2026-01-21", 86_400, 24_144_000), ("2026-01-22", 1, 279)];
        check(&held(0, 90_000_500, 1, "k"), &days);
    }

    #[test]
    fn parts_make_the_whole() {
        let lines = [held(0, 90_000_500, 3, "a"), held(17, 4_711_113, 5, "b"), held(59_999, 86_400_001, 7, "a")];
        let lines = lines.iter().flat_map(Held::lines).collect::<Vec<_>>();
        for by in [By::Model, By::Key, By::Day, By::Workload] {
            let (total, groups) = report(&lines, Some(by));
            let parts = groups.values().fold(Sum::default(), |mut sum, part| {
                sum.gpu_seconds += part.gpu_seconds;
                sum.cost_micros += part.cost_micros;
                sum
            });
            assert_eq!((parts.gpu_seconds, parts.cost_micros), (total.gpu_seconds, total.cost_micros), "{by:?}");
            assert_eq!(total, report(&lines, None).0);
        }
    }
}
