//! The fields of one JSON object in a document, and the messages when they are not what they must be.

use std::time::Duration;

use serde_json::{Map, Value};

use super::parse::{Unsupported, refuse};

/// The longest time that Step Functions takes, in seconds.
///
/// Source: Developer Guide, "Task workflow state", `TimeoutSeconds`.
const LONGEST: u64 = 99_999_999;

/// An object and the JSON path where it stands.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    /// The path, for messages.
    pub(super) at: String,
    /// The object.
    pub(super) map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The object at `at`.
    pub(super) fn of(at: &str, value: &'a Value) -> Result<Self, Unsupported> {
        match value.as_object() {
            Some(map) => Ok(Self { at: at.to_owned(), map }),
            None => refuse(at, "this must be an object"),
        }
    }

    /// Refuses every field but those in `known`; `what` says in what.
    pub(super) fn only(&self, what: &str, known: &[&str]) -> Result<(), Unsupported> {
        match self.map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => refuse(
                &self.path(name),
                format!(
                    "{what} may have {} here: remove this field, or teach infra/local/src/machine it",
                    known.join(", ")
                ),
            ),
            None => self.comment(),
        }
    }

    /// The path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.at)
    }

    /// A field that may be missing.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&'a Value, Unsupported> {
        match self.get(name) {
            Some(value) => Ok(value),
            None => refuse(&self.path(name), "this field is required: add it"),
        }
    }

    /// A field that must be a string.
    pub(super) fn text(&self, name: &str) -> Result<&'a str, Unsupported> {
        match self.required(name)?.as_str() {
            Some(text) => Ok(text),
            None => refuse(&self.path(name), "this must be a string"),
        }
    }

    /// A field that must be an array with something in it; with each item's path.
    pub(super) fn list(&self, name: &str) -> Result<Vec<(String, &'a Value)>, Unsupported> {
        match self.required(name)?.as_array() {
            Some(items) if !items.is_empty() => Ok(items
                .iter()
                .enumerate()
                .map(|(index, item)| (format!("{}.{name}[{index}]", self.at), item))
                .collect()),
            Some(_) | None => refuse(&self.path(name), "this must be an array with something in it"),
        }
    }

    /// A field that must be a whole number of seconds, at least one; none if it is missing.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<Duration>, Unsupported> {
        Ok(self.whole(name, 1)?.map(Duration::from_secs))
    }

    /// A field that must be a whole number, at least `least`; none if it is missing.
    pub(super) fn whole(&self, name: &str, least: u64) -> Result<Option<u64>, Unsupported> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if (least..=LONGEST).contains(&number) => Ok(Some(number)),
            Some(_) | None => {
                refuse(&self.path(name), format!("this must be a whole number from {least} to {LONGEST}"))
            }
        }
    }

    /// Refuses a `Comment` that CloudFormation would change.
    fn comment(&self) -> Result<(), Unsupported> {
        match self.get("Comment").map(|comment| comment.as_str().is_some_and(|text| !text.contains("${"))) {
            Some(true) | None => Ok(()),
            Some(false) => {
                refuse(&self.path("Comment"), "this must be a string without \"${\", which is for placeholders")
            }
        }
    }
}
