//! The job's log on its way to the control plane: bounded, in order, and without gaps in its numbering.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cloud::Clock;
use domain::agent::{LogBatch, LogLine, Stream};
use tokio::sync::Notify;

use crate::plane::{Backoff, Plane};

/// What may wait to be sent; past this the oldest lines go.
const MOST_WAITING: usize = 4 * 1024 * 1024;
/// What one batch may hold.
const MOST_LINES: usize = 500;
const MOST_TEXT: usize = 64 * 1024;
/// The longest line, by the protocol.
pub(crate) const LONGEST_LINE: usize = 8 * 1024;
/// What a line costs beyond its text.
const OVERHEAD: usize = 64;
/// How often lines are sent at most.
const PERIOD: Duration = Duration::from_millis(500);

/// Lines that wait, and the numbering of the batches.
#[derive(Debug, Default)]
struct Buffer {
    lines: VecDeque<LogLine>,
    size: usize,
    dropped: u64,
    sequence: u64,
}

impl Buffer {
    /// Takes a line; drops the oldest ones if there are too many.
    fn push(&mut self, mut line: LogLine) {
        cut(&mut line.text, LONGEST_LINE);
        self.size += line.text.len() + OVERHEAD;
        self.lines.push_back(line);
        while self.size > MOST_WAITING
            && let Some(oldest) = self.lines.pop_front()
        {
            self.size -= oldest.text.len() + OVERHEAD;
            self.dropped += 1;
        }
    }

    /// The next batch; it begins by saying how many lines were dropped before it, if any.
    fn next(&mut self) -> Option<LogBatch> {
        let first = self.lines.front()?.at;
        let mut batch = Vec::new();
        let mut text = 0;
        if self.dropped > 0 {
            let said = format!("[slipway] {} lines were dropped here: they could not be sent in time.", self.dropped);
            text += said.len();
            batch.push(LogLine { at: first, stream: Stream::Stderr, text: said });
            self.dropped = 0;
        }
        while let Some(line) = self.lines.front()
            && batch.len() < MOST_LINES
            && text + line.text.len() <= MOST_TEXT
            && let Some(line) = self.lines.pop_front()
        {
            text += line.text.len();
            self.size -= line.text.len() + OVERHEAD;
            batch.push(line);
        }
        self.sequence += 1;
        Some(LogBatch { sequence: self.sequence, lines: batch })
    }
}

/// Cuts `text` to at most `most` bytes without cutting a character.
pub(crate) fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
}

/// Where lines are put, and the task that sends them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    some: Notify,
    /// Set when no more lines will come: the sender stops when all have been sent.
    closed: std::sync::atomic::AtomicBool,
}

impl Logs {
    /// Takes a line; never waits.
    pub(crate) fn push(&self, line: LogLine) {
        self.shared.buffer.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.shared.some.notify_one();
    }

    /// Says that no more lines will come.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, std::sync::atomic::Ordering::Release);
        self.shared.some.notify_one();
    }

    fn next(&self) -> Option<LogBatch> {
        self.shared.buffer.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// Sends what comes, until it is closed and empty. A batch is sent again unchanged until it is taken.
    pub(crate) async fn ship(self, plane: Arc<Plane>, clock: Arc<dyn Clock>) {
        loop {
            while let Some(batch) = self.next() {
                let mut backoff = Backoff::default();
                while let Err(error) = plane.logs(&batch).await {
                    tracing::warn!(sequence = batch.sequence, %error, "a batch of the log could not be sent");
                    clock.sleep(backoff.next()).await;
                }
                if !self.closed() {
                    clock.sleep(PERIOD).await;
                }
            }
            if self.closed() {
                return;
            }
            self.shared.some.notified().await;
        }
    }

    fn closed(&self) -> bool {
        self.shared.closed.load(std::sync::atomic::Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::*;

    fn line(text: impl Into<String>) -> LogLine {
        LogLine { at: Timestamp::from_millis(1), stream: Stream::Stdout, text: text.into() }
    }

    /// The numbers of lines in the batches that come out for lines of these lengths.
    fn batches(lengths: &[usize]) -> Vec<usize> {
        let mut buffer = Buffer::default();
        for length in lengths {
            buffer.push(line("x".repeat(*length)));
        }
        let mut out = Vec::new();
        while let Some(batch) = buffer.next() {
            assert_eq!(batch.sequence, out.len() as u64 + 1, "numbered from 1 without gaps");
            assert!(batch.lines.iter().map(|l| l.text.len()).sum::<usize>() <= MOST_TEXT);
            out.push(batch.lines.len());
        }
        assert_eq!(buffer.size, 0);
        out
    }

    #[test]
    fn batches_hold_so_many_lines_and_so_much_text() {
        for (lengths, sizes) in [
            (vec![], vec![]),
            (vec![3, 0, 4], vec![3]),
            (vec![1; 501], vec![500, 1]),
            (vec![LONGEST_LINE; 9], vec![8, 1]),
            (vec![LONGEST_LINE * 5], vec![1]),
        ] {
            assert_eq!(batches(&lengths), sizes);
        }
    }

    #[test]
    fn too_much_drops_the_oldest_and_says_so() {
        let mut buffer = Buffer::default();
        let fit = MOST_WAITING / (LONGEST_LINE + OVERHEAD);
        for number in 0..fit + 3 {
            buffer.push(line(format!("{number:0>width$}", width = LONGEST_LINE)));
        }
        assert!(buffer.size <= MOST_WAITING);
        let batch = buffer.next().unwrap();
        assert!(batch.lines[0].text.contains(" 3 lines were dropped"), "{}", batch.lines[0].text);
        assert!(batch.lines[1].text.ends_with("03"));
        assert!(buffer.next().unwrap().lines[0].text.ends_with('0'), "said once");
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        for (text, most, kept) in [("abc", 2, "ab"), ("aé", 2, "a"), ("é", 2, "é"), ("", 0, "")] {
            let mut text = text.to_owned();
            cut(&mut text, most);
            assert_eq!(text, kept);
        }
    }
}
