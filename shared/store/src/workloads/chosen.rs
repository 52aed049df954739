//! Lists of an owner's workloads that are chosen by anything about them, such as a tenant's nodes with one type of GPU.

use domain::{TenantId, UserName, Workload, lifecycle::State};

use super::owner_partition;
use crate::{
    Store, StoreError, Table,
    items::{Item, count_of, text_of, value},
    requests::Range,
    tables::LISTING,
};

/// The most rows that one page of a list reads.
const MOST: usize = 1_000;

impl Store {
    /// An owner's workloads that `wanted` takes, newest first. It stops reading when the page is full; with `live`, which leaves out those that
    /// have ended, it stops when it has seen as many as live, and so does not read a whole history for a page that they cannot fill.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn chosen(
        &self,
        (tenant, owner): (&TenantId, &UserName),
        live: bool,
        wanted: impl Fn(&Workload) -> bool + Send,
        (limit, offset): (usize, usize),
    ) -> Result<Vec<Workload>, StoreError> {
        let pk = owner_partition(tenant, owner);
        let mut range = Range { index: Some(LISTING), hash: ("list_pk", &pk), descending: true, ..Range::default() };
        // One row more than the page is the counts.
        range.limit = i32::try_from(limit.saturating_add(offset).saturating_add(1).min(MOST)).ok();
        let (mut found, mut skipped, mut left) = (Vec::new(), 0, u64::MAX);
        loop {
            let page = self.page(Table::Workloads, &range).await?;
            for item in page.items {
                if let Some(counted) = live_count(&item) {
                    left = counted;
                    continue;
                }
                let workload: Workload = value(item)?;
                let lives = workload.state != State::Ended;
                left = left.saturating_sub(u64::from(lives));
                if (live && !lives) || !wanted(&workload) {
                    continue;
                }
                if skipped < offset {
                    skipped += 1;
                } else if found.len() < limit {
                    found.push(workload);
                }
            }
            let full = found.len() >= limit || (live && left == 0);
            match page.next {
                Some(next) if !full => range.start = Some(next),
                _ => return Ok(found),
            }
        }
    }
}

/// How many of the owner's workloads live, where the row is the one that counts them.
fn live_count(item: &Item) -> Option<u64> {
    let counts = text_of(item, "sk") == Some("counts");
    counts.then(|| u64::try_from(count_of(item, "live")).unwrap_or(0))
}
