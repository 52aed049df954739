//! What is on a disk, as its agent listed it when a snapshot was taken.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use domain::{DiskId, TenantId, agent::MOST_PARTS, policy};

use super::disk_pk;
use crate::{
    Store, StoreError, Table,
    items::{Item, count_of, number, text},
    requests::Range,
    tables::TTL,
};

impl Store {
    /// Keeps part `part` of `parts` of the list for a disk's snapshot `snapshot`. The same part again changes nothing.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn keep_contents(
        &self,
        (tenant, disk): (&TenantId, DiskId),
        snapshot: u64,
        (part, parts): (u32, u32),
        data: Vec<u8>,
    ) -> Result<(), StoreError> {
        let mut item = Item::from([
            ("pk".to_owned(), text(disk_pk(tenant, disk))),
            ("sk".to_owned(), text(format!("contents#{snapshot:010}#{part:04}"))),
            ("parts".to_owned(), number(parts)),
            ("list".to_owned(), AttributeValue::B(Blob::new(data))),
        ]);
        // It goes when the snapshot has long been gone; a snapshot that is older still has none.
        let kept = self.clock.now().plus(policy::HISTORY_TTL).plus(policy::DISK_RETENTION);
        item.insert(TTL.to_owned(), number(kept.seconds()));
        self.put_row(Table::Disks, item).await
    }

    /// The whole list for a disk's snapshot, compressed as it came; `None` where not all of its parts came.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn contents(
        &self,
        (tenant, disk): (&TenantId, DiskId),
        snapshot: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let pk = disk_pk(tenant, disk);
        let prefix = vec![(":list", text(format!("contents#{snapshot:010}#")))];
        let condition = Some(("begins_with(sk, :list)", prefix));
        let limit = i32::try_from(MOST_PARTS).ok();
        let rows = self.all(Table::Disks, &Range { hash: ("pk", &pk), condition, limit, ..Range::default() }).await?;
        let parts = rows.first().map_or(0, |first| count_of(first, "parts"));
        if parts == 0 || i64::try_from(rows.len()).is_ok_and(|there| there < parts) {
            return Ok(None);
        }
        let data = rows.iter().filter_map(|row| row.get("list")?.as_b().ok());
        Ok(Some(data.flat_map(|part| part.as_ref().to_vec()).collect()))
    }
}
