//! The job's log on its way to the control plane: bounded, in order, and without gaps in its numbering.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cloud::Clock;
use domain::agent::{LogBatch, LogLine, Stream};
use tokio::sync::Notify;

use crate::{
    plane::{Backoff, CallError, Plane},
    sync::ASK_AGAIN,
};

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
    /// Lines that nobody will see and that nobody has been told of.
    dropped: u64,
    /// How many dropped lines the last batch told of.
    told: u64,
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
            let said = format!("[slipway] {} lines were dropped here: they could not be sent.", self.dropped);
            text += said.len();
            batch.push(LogLine { at: first, stream: Stream::Stderr, text: said });
        }
        self.told = std::mem::take(&mut self.dropped);
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

    /// The batch that came out last will never be taken: its lines are lost, and so is what it said of lost ones before it.
    fn lost(&mut self, batch: &LogBatch) {
        let lines = batch.lines.len() - usize::from(self.told > 0);
        self.dropped += self.told + u64::try_from(lines).unwrap_or(u64::MAX);
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

    /// Sends what comes, until it is closed and empty, or nobody wants it any more.
    pub(crate) async fn ship(self, plane: Arc<Plane>, clock: Arc<dyn Clock>) {
        loop {
            while let Some(batch) = self.next() {
                if !self.sent(&batch, &plane, &*clock).await {
                    return;
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

    /// Sends a batch again and again, unchanged, until it is taken, or until it is clear that it never will be: then its lines are lost,
    /// and the log goes on. False when the log itself is over, because the control plane does not know us any more.
    async fn sent(&self, batch: &LogBatch, plane: &Plane, clock: &dyn Clock) -> bool {
        let mut backoff = Backoff::default();
        let mut refused = None;
        loop {
            let Err(error) = plane.logs(batch).await else { return true };
            tracing::warn!(sequence = batch.sequence, %error, "a batch of the log could not be sent");
            match error {
                CallError::Refused(_) => {
                    let since = *refused.get_or_insert_with(|| clock.now());
                    // As with reports, one refusal is not the end, unless it is the end anyway.
                    if self.closed() || clock.now().since(since) >= ASK_AGAIN {
                        return false;
                    }
                }
                CallError::Rejected(_) => {
                    self.shared.buffer.lock().unwrap_or_else(PoisonError::into_inner).lost(batch);
                    return true;
                }
                CallError::Unavailable(_) => {}
            }
            clock.sleep(backoff.next()).await;
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
    use crate::plane::tests::{Jumping, Stub};

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

    #[tokio::test]
    async fn a_batch_that_is_never_taken_holds_nothing_up() {
        let kept = ("200 OK", "{}");
        let (rejected, trouble) = (("413 Payload Too Large", ""), ("503 Service Unavailable", ""));
        let refused = ("401 Unauthorized\r\nx-error-code: unauthorized", "{}");
        for (case, answers, sent, said) in [
            ("all is well", vec![kept], 2, None),
            ("trouble", vec![trouble, trouble, kept], 4, None),
            ("a batch is rejected", vec![rejected, kept], 2, Some(" 500 lines were dropped")),
            ("two are", vec![rejected, rejected], 2, None),
            ("the log is refused at the end", vec![refused], 1, None),
        ] {
            let stub = Stub::answering(&answers).await;
            let logs = Logs::default();
            for number in 0..MOST_LINES + 2 {
                logs.push(line(number.to_string()));
            }
            logs.close();
            logs.ship(Arc::clone(&stub.plane), Arc::new(Jumping::default())).await;
            let told = stub.told.lock().unwrap();
            assert_eq!(told.len(), sent, "{case}");
            assert!(said.is_none_or(|said| told[1].contains(said)), "{case}: {}", told[1]);
        }
    }

    #[tokio::test]
    async fn a_log_that_is_refused_for_long_is_over() {
        let stub = Stub::answering(&[("404 Not Found\r\nx-error-code: not_found", "{}")]).await;
        let (logs, clock) = (Logs::default(), Arc::new(Jumping::default()));
        logs.push(line("one"));
        logs.ship(Arc::clone(&stub.plane), Arc::clone(&clock) as Arc<dyn Clock>).await;
        assert!(stub.told.lock().unwrap().len() > 1 && *clock.0.lock().unwrap() >= ASK_AGAIN);
    }

    #[test]
    fn what_a_lost_batch_said_of_lost_lines_is_said_again() {
        let mut buffer = Buffer { dropped: 3, ..Buffer::default() };
        for said in [3, 4] {
            buffer.push(line("x"));
            let batch = buffer.next().unwrap();
            assert!(batch.lines[0].text.contains(&format!(" {said} lines were dropped")), "{batch:?}");
            buffer.lost(&batch);
        }
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
