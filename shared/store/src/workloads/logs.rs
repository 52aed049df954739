//! A workload's log: batches of lines, as its agent sent them.

use domain::{
    TenantId, Timestamp, WorkloadId,
    agent::{LogBatch, LogLine},
};
use serde::{Deserialize, Serialize};

use super::{partition, write::expire};
use crate::{
    Store, StoreError, Table,
    items::{row, text, value},
    requests::Range,
};

/// How many batches of a workload's log are kept: at 64 KiB each, the last 32 MiB at the most.
const KEPT: u64 = 512;

/// One batch of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatchRow {
    /// The attempt that wrote it.
    pub attempt: u32,
    /// Its number in the attempt's log.
    pub sequence: u64,
    /// Its lines.
    pub lines: Vec<LogLine>,
}

fn log_key(attempt: u32, sequence: u64) -> String {
    format!("log#{attempt:04}#{sequence:010}")
}

impl Store {
    /// Keeps a batch of a log, once, and lets go of the one that is too old.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn keep_log(
        &self,
        (tenant, id, attempt): (&TenantId, WorkloadId, u32),
        batch: LogBatch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let pk = partition(tenant, id);
        let sequence = batch.sequence;
        let kept = LogBatchRow { attempt, sequence, lines: batch.lines };
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
    pub async fn log_tail(
        &self,
        tenant: &TenantId,
        id: WorkloadId,
        lines: usize,
    ) -> Result<Vec<LogBatchRow>, StoreError> {
        let pk = partition(tenant, id);
        let bounds = vec![(":from", text("log#")), (":to", text("log#~"))];
        let mut range = Range {
            hash: ("pk", &pk),
            condition: Some(("sk BETWEEN :from AND :to", bounds)),
            descending: true,
            limit: Some(8),
            ..Range::default()
        };
        let mut batches: Vec<LogBatchRow> = Vec::new();
        let mut found = 0;
        loop {
            let page = self.page(Table::Workloads, &range).await?;
            for item in page.items {
                let batch: LogBatchRow = value(item)?;
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
    ) -> Result<Vec<LogBatchRow>, StoreError> {
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
}
