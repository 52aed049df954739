//! Two sources, one order.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Position, Stand, Told};
use crate::{agent::LogLine, lifecycle::Stage, timeline::Entry};

/// One batch of an agent's log, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The attempt that wrote it.
    pub attempt: u32,
    /// Its number in the attempt's log, from 1. An agent sends one only when those before it are kept, or never will be.
    pub sequence: u64,
    /// The version of the workload when it was kept: it is told after this entry of the timeline.
    #[serde(default)]
    pub after: u64,
    /// Its lines.
    pub lines: Vec<LogLine>,
}

/// What could be read after a position. The timeline is to be read before the log: then all that was kept before the last of `entries` is
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readable {
    /// Entries of the timeline, by version, without a gap from the position on.
    pub entries: Vec<Entry>,
    /// Batches by attempt and number, from where [`Position::unread`] says.
    pub batches: Vec<Batch>,
    /// More batches follow on the last of these, which were not read.
    pub more: bool,
}

/// What is to be told of `readable` to whoever was told everything up to `from`, oldest first.
///
/// What cannot be in its place yet is left for the next time: batches that were kept after entries that were not read, and entries that are
/// newer than batches that were not read.
#[must_use]
pub fn merge(from: &Position, readable: Readable) -> Vec<Told> {
    let Readable { entries, batches, more } = readable;
    let mut place = from.clone();
    let mut entries: VecDeque<Entry> = entries.into_iter().filter(|entry| entry.version > from.version).collect();
    let newest = entries.back().map_or(from.version, |entry| entry.version);
    // Where batches are missing after the last one that was read, what is newer than that one has to wait for them.
    let known = batches.last().filter(|_| more).map_or(u64::MAX, |last| last.after);
    let mut logs = queues(from, batches);
    let mut told = Vec::new();
    loop {
        let entry = entries.front().filter(|entry| entry.version <= known).map(|entry| (entry.version, 0));
        // The earliest of those that may be told; of two that were kept after the same entry, the earlier attempt's.
        let batch = logs.iter().filter_map(|(attempt, queue)| Some((queue.front()?.after, *attempt)));
        let batch = batch.filter(|(after, _)| *after <= newest).min();
        match (entry, batch) {
            (None, None) => return told,
            (Some((version, _)), after) if after.is_none_or(|(after, _)| version <= after) => {
                if let Some(entry) = entries.pop_front() {
                    told.push(Told::entry(&place, entry));
                }
            }
            (_, Some((_, attempt))) => tell_batch(&mut place, attempt, logs.get_mut(&attempt), &mut told),
            (Some(_), None) => return told,
        }
        if let Some(last) = told.last() {
            place = last.place.clone();
        }
    }
}

/// The newest `most` of what is to be told, oldest first, and from where to go on. `readable` is the end of both sources, one entry longer
/// than `most` where there are so many: that one says where the launch stood before. `was_active` says whether it ever was complete.
#[must_use]
pub fn tail(readable: Readable, most: usize, was_active: bool) -> (Vec<Told>, Position) {
    let mut from = Position::default();
    for batch in &readable.batches {
        let first = from.logs.entry(batch.attempt).or_insert((batch.sequence, 0));
        *first = (*first).min((batch.sequence, 0));
    }
    // What lies before the first entry is not known, so that this one is told by nobody who has not been told of that.
    if let Some(before) = readable.entries.first().filter(|entry| entry.version > 1) {
        let ended = matches!(before.phase.stage(), Stage::Ending | Stage::Over);
        let begun = if ended && was_active { Stand::ACTIVE } else { Stand::Unknown };
        (from.version, from.stand) = (before.version, begun.after(before));
    }
    let mut told = merge(&from, readable);
    let place = told.last().map_or(from, |last| last.place.clone());
    told.drain(..told.len().saturating_sub(most));
    (told, place)
}

/// The batches of each attempt that have not been told.
fn queues(from: &Position, batches: Vec<Batch>) -> BTreeMap<u32, VecDeque<Batch>> {
    let mut logs: BTreeMap<u32, VecDeque<Batch>> = BTreeMap::new();
    let first = from.logs.keys().next().copied().unwrap_or(0);
    for batch in batches {
        let next = from.logs.get(&batch.attempt).map_or(0, |(sequence, _)| *sequence);
        if batch.attempt >= first && batch.sequence >= next {
            logs.entry(batch.attempt).or_default().push_back(batch);
        }
    }
    logs
}

/// Tells what is left of an attempt's next batch.
fn tell_batch(place: &mut Position, attempt: u32, queue: Option<&mut VecDeque<Batch>>, told: &mut Vec<Told>) {
    let Some(batch) = queue.and_then(VecDeque::pop_front) else { return };
    if place.logs.is_empty() {
        // Something of an earlier attempt may come later than this.
        place.logs.extend((1..attempt).map(|earlier| (earlier, (1, 0))));
    }
    let since = place.logs.keys().next_back().map_or(attempt, |last| last + 1);
    place.logs.extend((since..attempt).map(|between| (between, (1, 0))));
    let begun =
        place.logs.get(&attempt).filter(|(sequence, _)| *sequence == batch.sequence).map_or(0, |(_, line)| *line);
    let count = batch.lines.len();
    for (number, line) in batch.lines.into_iter().enumerate().skip(begun) {
        let next = if number + 1 == count { (batch.sequence + 1, 0) } else { (batch.sequence, number + 1) };
        place.logs.insert(attempt, next);
        told.push(Told::line(place.clone(), line));
    }
    place.logs.insert(attempt, (batch.sequence + 1, 0));
}
