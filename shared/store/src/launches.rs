//! How long launches took: `launches#POOL` holds a row for each kind of workload, with the durations of the last few.

use domain::{
    PoolId, WorkloadId,
    launch_log::estimate::{REMEMBERED, Sample},
};

use crate::{
    Store, StoreError, Table,
    items::{text, text_of},
};

fn launches_pk(pool: &PoolId) -> String {
    format!("launches#{pool}")
}

/// The attribute of the sample in place `place`.
fn sample_name(place: u8) -> String {
    format!("s{place:02}")
}

/// A workload's place among those that are remembered: its own, so that a repetition changes nothing, and like any other's, so that the one
/// whose place it takes is an old one as a rule. A counter would be another write.
fn place_of(workload: WorkloadId) -> u8 {
    workload.to_string().bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % REMEMBERED
}

impl Store {
    /// Remembers how long a launch took, in the place of an older one. One that is lost does no harm.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn remember_launch(
        &self,
        (pool, kind): (&PoolId, &str),
        workload: WorkloadId,
        sample: &Sample,
    ) -> Result<(), StoreError> {
        let values = [("#place", text(sample_name(place_of(workload)))), (":sample", text(sample.to_string()))];
        let key = (&*launches_pk(pool), kind);
        self.update_row(Table::Capacity, key, "SET #place = :sample", None, &values).await.map(drop)
    }

    /// How long the launches took that are remembered of a pool and a kind of workload.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn past_launches(&self, pool: &PoolId, kind: &str) -> Result<Vec<Sample>, StoreError> {
        let Some(item) = self.get_row(Table::Capacity, (&launches_pk(pool), kind)).await? else {
            return Ok(Vec::new());
        };
        let samples = (0..REMEMBERED).filter_map(|place| text_of(&item, &sample_name(place))?.parse().ok());
        Ok(samples.collect())
    }
}
