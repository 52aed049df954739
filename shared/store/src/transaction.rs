//! Transactions: several rows, or none.

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{
        AttributeValue, CancellationReason, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};

use crate::{
    Store, StoreError, Table,
    error::{Failure, classify},
    items::{Item, Key, text, text_of},
    requests::ATTEMPTS,
};

/// What it means when a row's condition fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The row was changed since it was read.
    Version,
    /// The idempotency key was used before.
    Claim,
    /// The node has no room.
    Room,
    /// The owner's limit is reached.
    Limit,
    /// The owner has as many disks as the limits allow.
    DiskLimit,
    /// The tenant has as many credentials as it may.
    CredentialLimit,
    /// The owner has a disk of this name.
    Name,
    /// The snapshot is going, because no disk had it.
    Snapshot,
}

/// A transaction that lost against somebody else.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) guard: Guard,
    /// The row as it is, whose condition failed.
    pub(crate) row: Item,
}

/// What became of a transaction.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is written, now or by an earlier try whose answer was lost.
    Written,
    /// A condition failed, and nothing was written.
    Lost(Lost),
}

/// A transaction in the making. Its write id is on every row that it puts, and tells a repeated try that the first one came through.
pub(crate) struct Transaction<'a> {
    store: &'a Store,
    write: String,
    writes: Vec<TransactWriteItem>,
    guards: Vec<Guard>,
}

impl Store {
    pub(crate) fn transaction(&self) -> Transaction<'_> {
        Transaction { store: self, write: self.write_id(), writes: Vec::new(), guards: Vec::new() }
    }
}

impl Transaction<'_> {
    /// The id that marks this transaction's rows as its own.
    pub(crate) fn write_id(&self) -> &str {
        &self.write
    }

    fn push(&mut self, guard: Guard, write: TransactWriteItem) {
        self.guards.push(guard);
        self.writes.push(write);
    }

    /// Puts a row, under a condition or whatever was there.
    pub(crate) fn put(
        &mut self,
        guard: Guard,
        table: Table,
        mut item: Item,
        condition: Option<(&str, &[(&str, AttributeValue)])>,
    ) -> Result<(), StoreError> {
        item.insert("wrote".to_owned(), text(&self.write));
        let mut put = Put::builder().table_name(self.store.name(table)).set_item(Some(item));
        if let Some((expression, values)) = condition {
            put = put
                .condition_expression(expression)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            for (name, value) in values {
                put = put.expression_attribute_values(*name, value.clone());
            }
        }
        let put = put.build().map_err(|error| StoreError::Broken(error.to_string()))?;
        self.push(guard, TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    /// Changes a row.
    pub(crate) fn update(
        &mut self,
        guard: Guard,
        table: Table,
        key: Key<'_>,
        (expression, condition): (&str, Option<&str>),
        values: &[(&str, AttributeValue)],
    ) -> Result<(), StoreError> {
        let mut update = Update::builder()
            .table_name(self.store.name(table))
            .key("pk", text(key.0))
            .key("sk", text(key.1))
            .update_expression(expression)
            .set_condition_expression(condition.map(str::to_owned))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for (name, value) in values {
            // A name behind a hash is an attribute's, which an expression may not say as it is.
            update = match (name.strip_prefix('#'), value) {
                (Some(_), AttributeValue::S(attribute)) => update.expression_attribute_names(*name, attribute),
                _ => update.expression_attribute_values(*name, value.clone()),
            };
        }
        let update = update.build().map_err(|error| StoreError::Broken(error.to_string()))?;
        self.push(guard, TransactWriteItem::builder().update(update).build());
        Ok(())
    }

    /// Removes a row under a condition.
    pub(crate) fn remove(
        &mut self,
        guard: Guard,
        table: Table,
        key: Key<'_>,
        condition: &str,
        values: &[(&str, AttributeValue)],
    ) -> Result<(), StoreError> {
        let mut delete = Delete::builder()
            .table_name(self.store.name(table))
            .key("pk", text(key.0))
            .key("sk", text(key.1))
            .condition_expression(condition)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for (name, value) in values {
            delete = match (name.strip_prefix('#'), value) {
                (Some(_), AttributeValue::S(attribute)) => delete.expression_attribute_names(*name, attribute),
                _ => delete.expression_attribute_values(*name, value.clone()),
            };
        }
        let delete = delete.build().map_err(|error| StoreError::Broken(error.to_string()))?;
        self.push(guard, TransactWriteItem::builder().delete(delete).build());
        Ok(())
    }

    /// Removes a row, if it is there.
    pub(crate) fn delete(&mut self, table: Table, key: Key<'_>) -> Result<(), StoreError> {
        let delete = Delete::builder().table_name(self.store.name(table)).key("pk", text(key.0)).key("sk", text(key.1));
        let delete = delete.build().map_err(|error| StoreError::Broken(error.to_string()))?;
        self.push(Guard::Version, TransactWriteItem::builder().delete(delete).build());
        Ok(())
    }

    /// Writes all of it, or nothing.
    pub(crate) async fn commit(self) -> Result<Outcome, StoreError> {
        // DynamoDB remembers the token for ten minutes only, so it is never the only guard: every transaction has conditions as well.
        let request = self
            .store
            .client
            .transact_write_items()
            .set_transact_items(Some(self.writes))
            .client_request_token(&self.write);
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                self.store.back_off(attempt).await;
            }
            let error = match request.clone().send().await {
                Ok(_) => return Ok(Outcome::Written),
                Err(error) => error,
            };
            if let Some(reasons) = cancelled(&error) {
                if let Some(outcome) = verdict(reasons, &self.guards, &self.write) {
                    return Ok(outcome);
                }
                if !reasons.iter().any(|reason| reason.code().is_some_and(|code| BUSY.contains(&code))) {
                    return Err(StoreError::Broken(format!("{reasons:?}")));
                }
                continue;
            }
            match classify(&error) {
                Failure::Retry => {}
                Failure::Condition => return Err(StoreError::Moved),
                Failure::Final(why) => return Err(StoreError::Broken(why)),
            }
        }
        Err(StoreError::Contended)
    }
}

/// Reasons for a cancelled transaction that say *come again* (`TransactionCanceledException` in the API reference).
const BUSY: [&str; 3] = ["TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"];

fn cancelled<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<&[CancellationReason]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
        _ => None,
    }
}

/// What a cancelled transaction means; `None` when no condition failed.
fn verdict(reasons: &[CancellationReason], guards: &[Guard], write: &str) -> Option<Outcome> {
    let failed = |reason: &&CancellationReason| reason.code() == Some("ConditionalCheckFailed");
    // A row that carries our own write id: an earlier try came through, and only its answer was lost.
    let ours = |reason: &CancellationReason| reason.item().and_then(|item| text_of(item, "wrote")) == Some(write);
    if reasons.iter().filter(failed).any(ours) {
        return Some(Outcome::Written);
    }
    let (guard, reason) = guards.iter().zip(reasons).find(|(_, reason)| failed(reason))?;
    Some(Outcome::Lost(Lost { guard: *guard, row: reason.item().cloned().unwrap_or_default() }))
}
