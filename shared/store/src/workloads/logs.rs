//! A workload's log: batches of lines, as its agent sent them.

use domain::{
    TenantId, Timestamp, WorkloadId,
    agent::LogBatch,
    launch_log::{Batch, Position, Readable},
};

use super::{partition, write::expire};
use crate::{
    Store, StoreError, Table,
    items::{row, text, value},
    requests::Range,
};

/// How many batches of a workload's log are kept: at 64 KiB each, the last 32 MiB at the most.
const KEPT: u64 = 512;

/// How many batches, and how many entries of the timeline, are read at once.
const PAGE: (i32, i32) = (16, 500);

fn log_key(attempt: u32, sequence: u64) -> String {
    format!("log#{attempt:04}#{sequence:010}")
}

impl Store {
    /// Keeps a batch of a log, once, and lets go of the one that is too old. `after` is the version that the workload has, after which
    /// the batch is told.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn keep_log(
        &self,
        (tenant, id, attempt): (&TenantId, WorkloadId, u32),
        after: u64,
        batch: LogBatch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let pk = partition(tenant, id);
        let sequence = batch.sequence;
        let kept = Batch { attempt, sequence, after, lines: batch.lines };
        let mut item = row((&pk, &log_key(attempt, sequence)), &kept)?;
        expire(&mut item, now);
        // A batch that was stored before is not written again: its lines are those that readers have seen.
        self.put_new(Table::Workloads, item).await?;
        match sequence.checked_sub(KEPT) {
            Some(old) if old > 0 => self.delete_row(Table::Workloads, (&pk, &log_key(attempt, old))).await,
            _ => Ok(()),
        }
    }

    /// The last batches of a log, oldest first, that hold at least `lines` lines where there are so many.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn log_tail(&self, tenant: &TenantId, id: WorkloadId, lines: usize) -> Result<Vec<Batch>, StoreError> {
        let pk = partition(tenant, id);
        let bounds = vec![(":from", text("log#")), (":to", text("log#~"))];
        let mut range = Range {
            hash: ("pk", &pk),
            condition: Some(("sk BETWEEN :from AND :to", bounds)),
            descending: true,
            limit: Some(8),
            ..Range::default()
        };
        let mut batches: Vec<Batch> = Vec::new();
        let mut found = 0;
        loop {
            let page = self.page(Table::Workloads, &range).await?;
            for item in page.items {
                let batch: Batch = value(item)?;
                found += batch.lines.len();
                batches.push(batch);
            }
            match page.next {
                Some(next) if found < lines => range.start = Some(next),
                _ => break,
            }
        }
        batches.reverse();
        Ok(batches)
    }

    /// The batches of a log that follow on (attempt, sequence), oldest first, a page of them.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn log_after(
        &self,
        tenant: &TenantId,
        id: WorkloadId,
        (attempt, sequence): (u32, u64),
    ) -> Result<Vec<Batch>, StoreError> {
        let pk = partition(tenant, id);
        let bounds = vec![(":from", text(log_key(attempt, sequence.saturating_add(1)))), (":to", text("log#~"))];
        let range = Range {
            hash: ("pk", &pk),
            condition: Some(("sk BETWEEN :from AND :to", bounds)),
            limit: Some(16),
            ..Range::default()
        };
        let page = self.page(Table::Workloads, &range).await?;
        page.items.into_iter().map(value).collect()
    }

    /// What can be told of a workload to whoever was told everything up to `from`: a page of it. Whether there is more shows when the
    /// next one is read.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn launch_log_after(
        &self,
        tenant: &TenantId,
        id: WorkloadId,
        from: &Position,
    ) -> Result<Readable, StoreError> {
        let (most_batches, most_entries) = PAGE;
        // The timeline first: whatever was kept before its newest entry is there when the log is read.
        let entries = self.timeline(tenant, id, from.version, most_entries).await?;
        let mut readable = Readable { entries, ..Readable::default() };
        let pk = partition(tenant, id);
        for ((attempt, sequence), end) in from.unread() {
            let end = end.map_or_else(|| "log#~".to_owned(), |end| log_key(end, 0));
            let bounds = vec![(":from", text(log_key(attempt, sequence))), (":to", text(end))];
            let range = Range {
                hash: ("pk", &pk),
                condition: Some(("sk BETWEEN :from AND :to", bounds)),
                limit: Some(most_batches),
                ..Range::default()
            };
            let page = self.page(Table::Workloads, &range).await?;
            for item in page.items {
                readable.batches.push(value(item)?);
            }
            // What comes after batches that were not read cannot be told before them.
            if page.next.is_some() {
                readable.more = true;
                break;
            }
        }
        Ok(readable)
    }

    /// The end of what can be told of a workload: enough for `most` of it, and the entry before the first.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn launch_log_tail(
        &self,
        tenant: &TenantId,
        id: WorkloadId,
        most: usize,
    ) -> Result<Readable, StoreError> {
        let entries = self.timeline_end(tenant, id, most.saturating_add(1)).await?;
        let batches = self.log_tail(tenant, id, most).await?;
        Ok(Readable { entries, batches, more: false })
    }
}
