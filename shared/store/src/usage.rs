//! What was used: a row for each workload that ended, in its tenant's partition and in the order of their ends.
//!
//! It is written in the transaction that ends the workload, so that nothing is charged twice and nothing is forgotten.

use domain::{TenantId, Timestamp, policy, usage::Held};

use crate::{
    Plane, Store, StoreError, Table,
    items::{number, row, text, value},
    passage::Passage,
    requests::Range,
    tables::TTL,
    transaction::{Guard, Transaction},
};

fn sort_key(until: Timestamp) -> String {
    format!("{:015}", until.millis())
}

/// Adds to `transaction` what a workload used, when it ends.
pub(crate) fn charge(transaction: &mut Transaction<'_>, passage: Passage<'_>) -> Result<(), StoreError> {
    if !passage.ends() {
        return Ok(());
    }
    let workload = passage.workload;
    let Some(held) = Held::of(workload, workload.since) else { return Ok(()) };
    let key = format!("{}#{}", sort_key(held.until), workload.id);
    let mut item = row((workload.tenant.as_str(), &key), &held)?;
    item.insert(TTL.to_owned(), number(held.until.plus(policy::USAGE_TTL).seconds()));
    transaction.put(Guard::Version, Table::Usage, item, None)
}

impl Store {
    /// What a tenant's workloads used that ended at `since` or later, in the order of their ends.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn used(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<Held>, StoreError> {
        let condition = Some(("sk >= :since", vec![(":since", text(sort_key(since)))]));
        let range = Range { hash: ("pk", tenant.as_str()), condition, ..Range::default() };
        self.all(Table::Usage, &range).await?.into_iter().map(value).collect()
    }
}

impl Plane {
    /// What a tenant's workloads have used that ended at `since` or later, or have not ended.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn used(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<Held>, StoreError> {
        let now = self.ports.clock.now();
        let mut running = Vec::new();
        for owner in self.store.owners(tenant).await? {
            if self.store.live(tenant, &owner).await? > 0 {
                let live = self.store.chosen((tenant, &owner), true, |_| true, (usize::MAX, 0)).await?;
                running.extend(live.iter().filter_map(|workload| Held::of(workload, now)));
            }
        }
        // What ended meanwhile is in both, and what it said at its end is so.
        let mut used = self.store.used(tenant, since).await?;
        running.retain(|held| used.iter().all(|ended| ended.workload != held.workload));
        used.extend(running);
        Ok(used)
    }
}
