//! The table.

use std::{fmt::Write, time::Duration};

use super::{load::Figures, server::EVENTS};

/// Somebody who was asked, and what was found.
pub(super) struct Row {
    name: &'static str,
    /// Whose CPU is counted.
    pub(super) process: Option<u32>,
    requests: Vec<Duration>,
    bursts: Vec<Duration>,
    streams: Vec<Duration>,
    firsts: Vec<Duration>,
    events: usize,
}

impl Row {
    pub(super) const fn new(name: &'static str, process: Option<u32>) -> Self {
        Self {
            name,
            process,
            requests: Vec::new(),
            bursts: Vec::new(),
            streams: Vec::new(),
            firsts: Vec::new(),
            events: EVENTS,
        }
    }

    pub(super) fn add(&mut self, figures: Figures) {
        self.requests.push(figures.request);
        self.bursts.push(figures.burst);
        self.streams.push(figures.stream);
        self.firsts.extend(figures.firsts);
        self.events = self.events.min(figures.events);
    }
}

/// The value below which so many hundredths lie.
fn hundredth(values: &[Duration], part: usize) -> u128 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * part / 100].as_micros()
}

/// What was found, in Markdown.
pub(super) fn of(rows: &[Row]) -> String {
    let mut table = "| through | CPU a request | CPU a stream of 203 events at once | CPU of one 3 ms apart | first event after the server sent it, median (99th) | events that came |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let cpu =
            |values: &[Duration]| row.process.map_or_else(String::new, |_| format!("{} µs", hundredth(values, 50)));
        writeln!(
            table,
            "| {} | {} | {} | {} | {} µs ({}) | {} of {EVENTS} |",
            row.name,
            cpu(&row.requests),
            cpu(&row.bursts),
            cpu(&row.streams),
            hundredth(&row.firsts, 50),
            hundredth(&row.firsts, 99),
            row.events,
        )
        .unwrap();
    }
    table
}
