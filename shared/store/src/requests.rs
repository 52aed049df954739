//! Single requests, retried while the tables are busy.

use std::{collections::HashMap, future::Future, time::Duration};

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::put_item::PutItemError,
    types::{AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure},
};

use domain::Timestamp;

use crate::{
    Store, StoreError, Table,
    error::{Failure, classify},
    items::{Item, Key, key_of, millis, text, text_of},
};

/// How often a request is made before the tables count as too busy. With the pauses below that is about four seconds.
pub(crate) const ATTEMPTS: u32 = 9;
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many due rows are read at once.
const DUE_PAGE: i32 = 200;

/// How far a sweep has read of what is due.
#[derive(Clone, Debug, PartialEq)]
pub struct DueMark(Item);

/// One page of a query.
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    /// Where the next page begins; `None` at the end.
    pub(crate) next: Option<Item>,
}

/// A query over one partition, of a table or of an index.
#[derive(Clone, Default)]
pub(crate) struct Range<'a> {
    pub(crate) index: Option<&'static str>,
    pub(crate) hash: (&'static str, &'a str),
    /// The sort key's condition, such as `sk BETWEEN :from AND :to`, with its values.
    pub(crate) condition: Option<(&'static str, Vec<(&'static str, AttributeValue)>)>,
    pub(crate) descending: bool,
    pub(crate) limit: Option<i32>,
    pub(crate) start: Option<Item>,
}

impl Store {
    /// Waits before attempt number `attempt`: full jitter below an exponential cap.
    pub(crate) async fn back_off(&self, attempt: u32) {
        let cap = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
        let [random, ..] = self.ids.random();
        self.clock.sleep(cap.mul_f64(f64::from(random) / 255.0)).await;
    }

    /// Repeats `request` while the answer is *come again*.
    pub(crate) async fn retrying<T, E, R, F>(
        &self,
        request: impl Fn() -> F,
    ) -> Result<Result<T, SdkError<E, R>>, StoreError>
    where
        F: Future<Output = Result<T, SdkError<E, R>>>,
        E: ProvideErrorMetadata + std::fmt::Debug,
    {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                self.back_off(attempt).await;
            }
            match request().await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(error) => match classify(&error) {
                    Failure::Retry => {}
                    Failure::Condition => return Ok(Err(error)),
                    Failure::Final(why) => return Err(StoreError::Broken(why)),
                },
            }
        }
        Err(StoreError::Contended)
    }

    /// One row, read strongly.
    pub(crate) async fn get_row(&self, table: Table, key: Key<'_>) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(self.name(table)).consistent_read(true);
        let request = request.key("pk", text(key.0)).key("sk", text(key.1));
        let answer = self.retrying(|| request.clone().send()).await?;
        Ok(answer.map_err(|_no_condition| StoreError::Moved)?.item)
    }

    /// Writes one row whatever was there.
    pub(crate) async fn put_row(&self, table: Table, item: Item) -> Result<(), StoreError> {
        let request = self.client.put_item().table_name(self.name(table)).set_item(Some(item));
        self.retrying(|| request.clone().send()).await?.map(drop).map_err(|_no_condition| StoreError::Moved)
    }

    /// Writes one row where there is none; false when there is one already.
    pub(crate) async fn put_new(&self, table: Table, item: Item) -> Result<bool, StoreError> {
        let request = self.client.put_item().table_name(self.name(table)).set_item(Some(item));
        let request = request.condition_expression("attribute_not_exists(pk)");
        Ok(self.retrying(|| request.clone().send()).await?.is_ok())
    }

    /// Writes a row unless one is there that is still good at `now`; false when there is. Time to live deletes late, so that a row whose
    /// `good_until` has passed may still lie there.
    pub(crate) async fn put_over(&self, table: Table, item: Item, now: Timestamp) -> Result<bool, StoreError> {
        let request = self.client.put_item().table_name(self.name(table)).set_item(Some(item));
        let request = request
            .condition_expression("attribute_not_exists(pk) OR good_until <= :now")
            .expression_attribute_values(":now", millis(now));
        Ok(self.retrying(|| request.clone().send()).await?.is_ok())
    }

    /// Writes one row under a condition; gives the row as it is where that fails. The row is marked as this write's own, so that a
    /// repetition after a lost answer finds its own work and says so.
    pub(crate) async fn put_if(
        &self,
        table: Table,
        mut item: Item,
        condition: &str,
        values: &[(&str, AttributeValue)],
    ) -> Result<Result<(), Item>, StoreError> {
        let write = self.write_id();
        item.insert("wrote".to_owned(), text(&write));
        let mut request = self
            .client
            .put_item()
            .table_name(self.name(table))
            .set_item(Some(item))
            .condition_expression(condition)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for (name, value) in values {
            request = request.expression_attribute_values(*name, value.clone());
        }
        let Err(error) = self.retrying(|| request.clone().send()).await? else { return Ok(Ok(())) };
        match error.into_service_error() {
            PutItemError::ConditionalCheckFailedException(failed) => {
                let there = failed.item.unwrap_or_default();
                let is_ours = text_of(&there, "wrote") == Some(&write);
                Ok(if is_ours { Ok(()) } else { Err(there) })
            }
            _ => Err(StoreError::Moved),
        }
    }

    /// Rows of several tables in one call: of each table, whether it is read strongly, and its rows' keys. What is not there is left out.
    pub(crate) async fn get_rows(
        &self,
        wanted: &[(Table, bool, Vec<Key<'_>>)],
    ) -> Result<HashMap<(Table, String, String), Item>, StoreError> {
        let mut open = HashMap::new();
        for (table, strongly, keys) in wanted.iter().filter(|(_, _, keys)| !keys.is_empty()) {
            let key = |(pk, sk): &Key<'_>| HashMap::from([("pk".to_owned(), text(*pk)), ("sk".to_owned(), text(*sk))]);
            let keys =
                KeysAndAttributes::builder().consistent_read(*strongly).set_keys(Some(keys.iter().map(key).collect()));
            open.insert(self.name(*table), keys.build().map_err(|error| StoreError::Broken(error.to_string()))?);
        }
        let mut found = HashMap::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                self.back_off(attempt).await;
            }
            let request = self.client.batch_get_item().set_request_items(Some(open.clone()));
            let answer = self.retrying(|| request.clone().send()).await?.map_err(|_no_condition| StoreError::Moved)?;
            let mut rows = answer.responses.unwrap_or_default();
            for (table, ..) in wanted {
                for item in rows.remove(&self.name(*table)).unwrap_or_default() {
                    let (pk, sk) = key_of(&item);
                    found.insert((*table, pk, sk), item);
                }
            }
            // A table that is busy answers in part.
            open = answer.unprocessed_keys.unwrap_or_default();
            if open.is_empty() {
                return Ok(found);
            }
        }
        Err(StoreError::Contended)
    }

    /// Removes one row; of an absent one it is no error.
    pub(crate) async fn delete_row(&self, table: Table, key: Key<'_>) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(self.name(table));
        let request = request.key("pk", text(key.0)).key("sk", text(key.1));
        self.retrying(|| request.clone().send()).await?.map(drop).map_err(|_no_condition| StoreError::Moved)
    }

    /// Changes one row under a condition and gives the row as it then is; `None` when the condition fails.
    pub(crate) async fn update_row(
        &self,
        table: Table,
        key: Key<'_>,
        expression: &str,
        condition: Option<&str>,
        values: &[(&str, AttributeValue)],
    ) -> Result<Option<Item>, StoreError> {
        let mut request = self.client.update_item().table_name(self.name(table)).return_values(ReturnValue::AllNew);
        request = request.key("pk", text(key.0)).key("sk", text(key.1)).update_expression(expression);
        for (name, value) in values {
            // As in a transaction, a name behind a hash is an attribute's, which an expression may not say as it is.
            request = match (name.strip_prefix('#'), value) {
                (Some(_), AttributeValue::S(attribute)) => request.expression_attribute_names(*name, attribute),
                _ => request.expression_attribute_values(*name, value.clone()),
            };
        }
        request = request.set_condition_expression(condition.map(str::to_owned));
        let answer = self.retrying(|| request.clone().send()).await?;
        Ok(answer.ok().map(|answer| answer.attributes.unwrap_or_default()))
    }

    /// One page of a query: strongly consistent on a table, eventually on an index.
    pub(crate) async fn page(&self, table: Table, range: &Range<'_>) -> Result<Page, StoreError> {
        let (name, value) = range.hash;
        let mut condition = format!("{name} = :hash");
        let mut request =
            self.client.query().table_name(self.name(table)).expression_attribute_values(":hash", text(value));
        if let Some((sort, values)) = &range.condition {
            condition = format!("{condition} AND {sort}");
            for (name, value) in values {
                request = request.expression_attribute_values(*name, value.clone());
            }
        }
        request = request
            .key_condition_expression(condition)
            .set_index_name(range.index.map(str::to_owned))
            .consistent_read(range.index.is_none())
            .scan_index_forward(!range.descending)
            .set_limit(range.limit)
            .set_exclusive_start_key(range.start.clone());
        let answer = self.retrying(|| request.clone().send()).await?.map_err(|_no_condition| StoreError::Moved)?;
        Ok(Page { items: answer.items.unwrap_or_default(), next: answer.last_evaluated_key })
    }

    /// Every row of a query. Only for partitions that are small by construction, or read to the end on purpose.
    pub(crate) async fn all(&self, table: Table, range: &Range<'_>) -> Result<Vec<Item>, StoreError> {
        let mut range = range.clone();
        let mut items = Vec::new();
        loop {
            let page = self.page(table, &range).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => range.start = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// The keys of what is due in `table` at `now`, earliest first: a page of them, after `after`.
    pub(crate) async fn due_keys(
        &self,
        table: Table,
        now: domain::Timestamp,
        after: Option<DueMark>,
    ) -> Result<(Vec<(String, String)>, Option<DueMark>), StoreError> {
        let range = Range {
            index: Some(crate::tables::DUE),
            hash: ("due_pk", crate::tables::DUE_NOW),
            condition: Some(("due_at <= :now", vec![(":now", crate::items::millis(now))])),
            limit: Some(DUE_PAGE),
            start: after.map(|DueMark(start)| start),
            ..Range::default()
        };
        let page = self.page(table, &range).await?;
        Ok((page.items.iter().map(key_of).collect(), page.next.map(DueMark)))
    }
}
