//! What serves models, by its cluster's name, for the installation's operators: `clusters` holds a row for each node and instance that has
//! not ended.

use domain::{TenantId, Workload, WorkloadId};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError, Table,
    items::{row, text, value},
    passage::Passage,
    requests::Range,
    transaction::{Guard, Transaction},
};

const CLUSTERS: &str = "clusters";

#[derive(Serialize, Deserialize)]
struct ClusterRow {
    tenant: TenantId,
    workload: WorkloadId,
}

/// Adds to `transaction` what a workload's step does to the list of clusters.
pub(crate) fn list(transaction: &mut Transaction<'_>, passage: Passage<'_>) -> Result<(), StoreError> {
    let workload = passage.workload;
    if workload.spec.serve.is_none() {
        return Ok(());
    }
    let name = workload.id.cluster_name();
    let key = (CLUSTERS, name.as_str());
    if passage.begins() {
        let (tenant, workload) = (workload.tenant.clone(), workload.id);
        transaction.put(Guard::Version, Table::Capacity, row(key, &ClusterRow { tenant, workload })?, None)
    } else if passage.ends() {
        transaction.delete(Table::Capacity, key)
    } else {
        Ok(())
    }
}

impl Store {
    /// The first `most` nodes and instances after `after`, by the names of their clusters.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn clusters(&self, after: Option<&str>, most: u16) -> Result<Vec<Workload>, StoreError> {
        let condition = after.map(|after| ("sk > :after", vec![(":after", text(after))]));
        let range = Range { hash: ("pk", CLUSTERS), condition, limit: Some(i32::from(most)), ..Range::default() };
        let mut found = Vec::new();
        for item in self.page(Table::Capacity, &range).await?.items {
            let ClusterRow { tenant, workload } = value(item)?;
            found.extend(self.workload(&tenant, workload).await?);
        }
        Ok(found)
    }

    /// The node or instance whose cluster has this name.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn cluster(&self, name: &str) -> Result<Option<Workload>, StoreError> {
        let Some(item) = self.get_row(Table::Capacity, (CLUSTERS, name)).await? else { return Ok(None) };
        let ClusterRow { tenant, workload } = value(item)?;
        self.workload(&tenant, workload).await
    }
}
