//! What calls consume, counted: a ceiling for each operation is a test, and so is what each operation may touch.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// One call and what it consumed.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What was asked, such as `TransactWriteItems`.
    pub action: String,
    /// What is done to which table, such as `("PutItem", "workloads")`, or index, such as `("Query", "workloads/index/due")`: what a role
    /// must allow. A write in a transaction counts as the write that it is.
    pub touches: Vec<(String, String)>,
    /// Read units, indexes included.
    pub reads: f64,
    /// Write units, indexes included.
    pub writes: f64,
}

/// A list of calls that is shared by everybody who makes them.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Option<Vec<Call>>>>);

impl Meter {
    /// Begins to count. A meter that was never started keeps nothing.
    pub fn start(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// The calls since the start or the last time that they were taken.
    #[must_use]
    pub fn take(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How many calls there are since the start, or since they were taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Vec::len)
    }

    /// The calls but for the first `skipped`; they stay.
    #[must_use]
    pub fn after(&self, skipped: usize) -> Vec<Call> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().and_then(|calls| calls.get(skipped..)).unwrap_or_default().to_vec()
    }

    pub(super) fn record(&self, action: &str, body: &str, answer: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = kept.as_mut() else { return };
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let (asked, answered) = (parse(body), parse(answer));
        let units = consumed(&answered["ConsumedCapacity"]);
        let is_read = matches!(action, "BatchGetItem" | "GetItem" | "Query");
        let (reads, writes) = if is_read { (units, 0.0) } else { (0.0, units) };
        kept.push(Call { action: action.to_owned(), touches: touched(action, &asked), reads, writes });
    }
}

fn consumed(capacity: &Value) -> f64 {
    match capacity {
        Value::Array(tables) => tables.iter().map(consumed).sum(),
        table => table["CapacityUnits"].as_f64().unwrap_or(0.0),
    }
}

fn touched(action: &str, asked: &Value) -> Vec<(String, String)> {
    let table = |request: &Value| {
        let table = request["TableName"].as_str().unwrap_or_default();
        request["IndexName"].as_str().map_or_else(|| table.to_owned(), |index| format!("{table}/index/{index}"))
    };
    if let Some(tables) = asked["RequestItems"].as_object() {
        return tables.keys().map(|table| (action.to_owned(), table.clone())).collect();
    }
    let Some(items) = asked["TransactItems"].as_array() else { return vec![(action.to_owned(), table(asked))] };
    let item = |item: &Value| {
        let (kind, request) = item.as_object()?.iter().find(|(_, request)| !request.is_null())?;
        Some((
            if kind == "ConditionCheck" { "ConditionCheckItem".to_owned() } else { format!("{kind}Item") },
            table(request),
        ))
    };
    items.iter().filter_map(item).collect()
}
