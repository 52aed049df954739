//! What requests to models used.
//!
//! Three partitions of a tenant's in the table `usage`: `TENANT#requests` with the records, many in a row, by their hour; `TENANT#hours` with
//! the sums of an hour by model and key; and `TENANT#open` with a row for each hour that has records which are not in its sums yet. A report
//! reads the sums of the hours that are closed and the records of those that are open. A batch has an id before it is written, and to write it
//! again changes nothing, so that each record counts once (invariant I21).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
};

use domain::{
    TenantId, Timestamp,
    metering::{Hour, Metered, Served, sums},
    policy,
};

use crate::{
    Plane, Store, StoreError, Table,
    items::{Item, key_of, millis, number, row, text, text_of, value},
    memory::lock,
    requests::{DueMark, Range},
    tables::{DUE_NOW, TTL},
    transaction::Guard,
};

const OPEN: &str = "#open";

fn hour_key(hour: Hour) -> String {
    format!("{:010}", hour.number())
}

fn requests_pk(tenant: &TenantId) -> String {
    format!("{tenant}#requests")
}

fn hours_pk(tenant: &TenantId) -> String {
    format!("{tenant}#hours")
}

fn open_pk(tenant: &TenantId) -> String {
    format!("{tenant}{OPEN}")
}

fn broken(error: &serde_json::Error) -> StoreError {
    StoreError::Broken(error.to_string())
}

impl Store {
    /// Opens an hour of a tenant's: from now on until its sums are made, reports read its records.
    async fn open_hour(&self, tenant: &TenantId, hour: Hour) -> Result<(), StoreError> {
        let due = hour.end().plus(policy::HOUR_CLOSES);
        let item = Item::from([
            ("pk".to_owned(), text(open_pk(tenant))),
            ("sk".to_owned(), text(hour_key(hour))),
            ("wrote".to_owned(), text(self.write_id())),
            ("due_pk".to_owned(), text(DUE_NOW)),
            ("due_at".to_owned(), millis(due)),
        ]);
        self.put_row(Table::Usage, item).await
    }

    /// Writes records of an hour that is open, under a batch's id.
    async fn put_records(
        &self,
        tenant: &TenantId,
        (hour, batch): (Hour, &str),
        records: &[Metered],
    ) -> Result<(), StoreError> {
        let said = serde_json::to_string(records).map_err(|error| broken(&error))?;
        let item = Item::from([
            ("pk".to_owned(), text(requests_pk(tenant))),
            ("sk".to_owned(), text(format!("{}#{batch}", hour_key(hour)))),
            ("records".to_owned(), text(said)),
            (TTL.to_owned(), number(hour.end().plus(policy::HISTORY_TTL).seconds())),
        ]);
        self.put_row(Table::Usage, item).await
    }

    /// The records of an hour.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn records(&self, tenant: &TenantId, hour: Hour) -> Result<Vec<Metered>, StoreError> {
        let condition = Some(("begins_with(sk, :hour)", vec![(":hour", text(format!("{}#", hour_key(hour))))]));
        let range = Range { hash: ("pk", &requests_pk(tenant)), condition, ..Range::default() };
        let mut records = Vec::new();
        for item in self.all(Table::Usage, &range).await? {
            let said = text_of(&item, "records").unwrap_or_default();
            records.extend(serde_json::from_str::<Vec<Metered>>(said).map_err(|error| broken(&error))?);
        }
        Ok(records)
    }

    /// What a tenant's keys asked of models from `since` on, by the hour.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn served(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<Served>, StoreError> {
        let first = Hour::of(since);
        // Which hours are open is read first: one that is closed meanwhile is read from its records, which are still there.
        let condition = || Some(("sk >= :first", vec![(":first", text(hour_key(first)))]));
        let range = Range { hash: ("pk", &open_pk(tenant)), condition: condition(), ..Range::default() };
        let open = self.all(Table::Usage, &range).await?;
        let open = open.iter().filter_map(|item| Some(Hour::numbered(key_of(item).1.parse().ok()?)));
        let open = open.collect::<BTreeSet<_>>();
        let range = Range { hash: ("pk", &hours_pk(tenant)), condition: condition(), ..Range::default() };
        let closed = self.all(Table::Usage, &range).await?.into_iter().map(value::<Served>);
        let mut served = closed.collect::<Result<Vec<_>, _>>()?;
        served.retain(|sum| !open.contains(&sum.hour));
        for hour in open {
            served.extend(sums(hour, &self.records(tenant, hour).await?));
        }
        Ok(served)
    }

    /// The hours that are to be closed: a page of them, after `after`.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn due_hours(
        &self,
        now: Timestamp,
        after: Option<DueMark>,
    ) -> Result<(Vec<(TenantId, Hour)>, Option<DueMark>), StoreError> {
        let (keys, next) = self.due_keys(Table::Usage, now, after).await?;
        let hour = |(pk, sk): (String, String)| {
            Some((TenantId::new(pk.strip_suffix(OPEN)?), Hour::numbered(sk.parse().ok()?)))
        };
        Ok((keys.into_iter().filter_map(hour).collect(), next))
    }

    /// Makes the sums of an hour and closes it, unless more was written meanwhile: then it stays open.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn close_hour(&self, tenant: &TenantId, hour: Hour) -> Result<(), StoreError> {
        let (pk, sk) = (open_pk(tenant), hour_key(hour));
        let Some(mark) = self.get_row(Table::Usage, (&pk, &sk)).await? else { return Ok(()) };
        for sum in sums(hour, &self.records(tenant, hour).await?) {
            let key = format!("{sk}#{}#{}", sum.model.as_str(), sum.key);
            let mut item = row((&hours_pk(tenant), &key), &sum)?;
            item.insert(TTL.to_owned(), number(hour.end().plus(policy::USAGE_TTL).seconds()));
            self.put_row(Table::Usage, item).await?;
        }
        let mut transaction = self.transaction();
        let same = [(":seen", text(text_of(&mark, "wrote").unwrap_or_default()))];
        transaction.remove(Guard::Version, Table::Usage, (&pk, &sk), "wrote = :seen", &same)?;
        match transaction.commit().await?.written() {
            Ok(()) | Err(StoreError::Moved) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What a process has not written yet.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    records: Mutex<HashMap<(TenantId, Hour), Vec<Metered>>>,
    /// What is being written. Each batch stays as it is until it is known to be written, since a repetition must say the same.
    batches: Mutex<BTreeMap<BatchId, Arc<Vec<Metered>>>>,
    /// Hours that this process has opened.
    open: Mutex<HashSet<(TenantId, Hour)>>,
}

/// A tenant, an hour, and the id of the first record.
type BatchId = (TenantId, Hour, String);

/// The most records of one row.
const A_BATCH: usize = 500;

impl Plane {
    /// A record is to be written.
    pub fn record(&self, tenant: &TenantId, record: Metered) {
        let hour = Hour::of(record.at);
        lock(&self.memory.unwritten.records).entry((tenant.clone(), hour)).or_default().push(record);
    }

    /// Writes the records that are to be written. What cannot be written is tried again the next time.
    pub async fn write_records(&self) {
        let records = std::mem::take(&mut *lock(&self.memory.unwritten.records));
        for ((tenant, hour), records) in records {
            for batch in records.chunks(A_BATCH) {
                let Some(first) = batch.first() else { continue };
                let id = (tenant.clone(), hour, first.request.to_string());
                lock(&self.memory.unwritten.batches).insert(id, Arc::new(batch.to_vec()));
            }
        }
        let batches = lock(&self.memory.unwritten.batches).clone();
        for (id, batch) in batches {
            match self.write_batch(&id, &batch).await {
                Ok(()) => drop(lock(&self.memory.unwritten.batches).remove(&id)),
                Err(error) => tracing::error!(%error, records = batch.len(), "metering.again_later"),
            }
        }
    }

    async fn write_batch(&self, (tenant, hour, id): &BatchId, batch: &[Metered]) -> Result<(), StoreError> {
        let mark = (tenant.clone(), *hour);
        let now = self.ports.clock.now();
        // An hour that is over may be closed by now.
        if now >= hour.end() || !lock(&self.memory.unwritten.open).contains(&mark) {
            self.store.open_hour(tenant, *hour).await?;
            let mut open = lock(&self.memory.unwritten.open);
            open.retain(|(_, open)| now < open.end());
            open.insert(mark);
        }
        self.store.put_records(tenant, (*hour, id), batch).await
    }
}
