//! Rows to and from Rust values.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::StoreError;

/// A row as the SDK has it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A row's key.
pub(crate) type Key<'a> = (&'a str, &'a str);

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

pub(crate) fn millis(at: Timestamp) -> AttributeValue {
    number(at.millis())
}

/// A value as a row under `key`.
pub(crate) fn row<T: Serialize>(key: Key<'_>, value: &T) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(|error| StoreError::Broken(error.to_string()))?;
    item.insert("pk".to_owned(), text(key.0));
    item.insert("sk".to_owned(), text(key.1));
    Ok(item)
}

/// The value in a row.
pub(crate) fn value<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| StoreError::Broken(error.to_string()))
}

/// A text attribute of a row.
pub(crate) fn text_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// A whole-number attribute of a row; zero when it is absent, as counters begin.
pub(crate) fn count_of(item: &Item, name: &str) -> i64 {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Both parts of a row's key.
pub(crate) fn key_of(item: &Item) -> (String, String) {
    let part = |name| text_of(item, name).unwrap_or_default().to_owned();
    (part("pk"), part("sk"))
}
