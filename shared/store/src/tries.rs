//! Wrong tries of a credential, counted by the address that they came from.

use domain::{Timestamp, policy};

use crate::{
    Store, StoreError, Table,
    items::{count_of, number, text},
    tables::TTL,
};

const ONLY: &str = "-";

impl Store {
    /// How often somebody at this address has tried a wrong credential of this kind in the present window.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn wrong_tries(&self, kind: &str, address: &str, now: Timestamp) -> Result<u64, StoreError> {
        let item = self.get_row(Table::Identity, (&tries_pk(kind, address, now), ONLY)).await?;
        Ok(item.map_or(0, |item| u64::try_from(count_of(&item, "tries")).unwrap_or(0)))
    }

    /// Counts a wrong try.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn count_wrong_try(&self, kind: &str, address: &str, now: Timestamp) -> Result<(), StoreError> {
        let pk = tries_pk(kind, address, now);
        let ttl = now.plus(policy::WRONG_TRIES.1.saturating_mul(2)).seconds();
        let values = [("#ttl", text(TTL)), (":ttl", number(ttl)), (":one", number(1))];
        let add = "ADD tries :one SET #ttl = :ttl";
        self.update_row(Table::Identity, (&pk, ONLY), add, None, &values).await.map(drop)
    }
}

/// The row of a window: whole windows since 1970, so that none is read or written to close one.
fn tries_pk(kind: &str, address: &str, now: Timestamp) -> String {
    let window = now.millis() / i64::try_from(policy::WRONG_TRIES.1.as_millis()).unwrap_or(i64::MAX);
    format!("tries#{kind}#{address}#{window}")
}
