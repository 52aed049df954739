//! Streams of events that are open, counted for each tenant: `TENANT#streams` holds a row for each place that is, or was, taken.
//!
//! A place is taken with one conditional write, so that there are never more streams than places, and is good until the lease ends that
//! its holder renews. A process that is killed gives its places back by doing nothing.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{TenantId, Timestamp, policy};

use crate::{
    Store, StoreError, Table,
    items::{Item, count_of, millis, number, text, text_of},
    requests::Range,
    tables::TTL,
};

/// A stream's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    tenant: TenantId,
    place: String,
    holder: String,
}

fn streams_pk(tenant: &TenantId) -> String {
    format!("{tenant}#streams")
}

fn place(number: u32) -> String {
    format!("place#{number:04}")
}

impl Store {
    /// Takes a place for a stream of `tenant`'s, if fewer than `most` are taken. It is kept for [`policy::STREAM_LEASE`].
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn open_stream(&self, tenant: &TenantId, most: u32, now: Timestamp) -> Result<Option<Lease>, StoreError> {
        let pk = streams_pk(tenant);
        let range = Range { hash: ("pk", &pk), ..Range::default() };
        let rows = self.all(Table::Workloads, &range).await?;
        let is_taken = |place: &str| rows.iter().any(|row| text_of(row, "sk") == Some(place) && good(row, now));
        let holder = self.write_id();
        for place in (0..most).map(place).filter(|place| !is_taken(place)) {
            let lease = Lease { tenant: tenant.clone(), place, holder: holder.clone() };
            // Somebody else may have taken it since; and where an answer was lost, it may have been us.
            let free = "attribute_not_exists(pk) OR good_until <= :now OR holder = :me";
            if self.hold_stream(&lease, (free, Some((":now", millis(now)))), now).await? {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }

    /// Keeps a stream's place for another [`policy::STREAM_LEASE`]; false when it was given to another stream meanwhile.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn renew_stream(&self, lease: &Lease, now: Timestamp) -> Result<bool, StoreError> {
        self.hold_stream(lease, ("holder = :me", None), now).await
    }

    /// Gives a stream's place back, unless it is another's by now.
    ///
    /// # Errors
    /// When the tables fail; the place is free when the lease ends.
    pub async fn close_stream(&self, lease: &Lease) -> Result<(), StoreError> {
        let key = (&*streams_pk(&lease.tenant), &*lease.place);
        let values = [(":over", number(0)), (":me", text(&*lease.holder))];
        let own = Some("holder = :me");
        self.update_row(Table::Workloads, key, "SET good_until = :over", own, &values).await.map(drop)
    }

    async fn hold_stream(
        &self,
        lease: &Lease,
        (condition, value): (&str, Option<(&str, AttributeValue)>),
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let until = now.plus(policy::STREAM_LEASE);
        let key = (&*streams_pk(&lease.tenant), &*lease.place);
        let values = [
            ("#ttl", text(TTL)),
            (":me", text(&*lease.holder)),
            (":until", millis(until)),
            (":ttl", number(until.seconds())),
        ];
        let values = values.into_iter().chain(value).collect::<Vec<_>>();
        let set = "SET holder = :me, good_until = :until, #ttl = :ttl";
        Ok(self.update_row(Table::Workloads, key, set, Some(condition), &values).await?.is_some())
    }
}

fn good(row: &Item, now: Timestamp) -> bool {
    Timestamp::from_millis(count_of(row, "good_until")) > now
}
