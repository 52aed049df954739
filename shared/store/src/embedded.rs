//! An embedded DynamoDB under the SDK, in place of its HTTP connector: for one machine and for every test.
//!
//! `X-Amz-Target` in, a call of the `dynoxide-rs` database, JSON out, errors as DynamoDB words them. It is a fault point of the
//! simulated cloud, because what real DynamoDB does to hot items (conflicts, throttling, lost answers) no emulator does by itself;
//! and it counts what each call consumes.

mod meter;
pub mod simulated;

use std::{fmt, path::Path, sync::Arc};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{
        BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
};
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use cloud::sim::{Failure, FaultPoint, Verdict};
use dynoxide::{Database, DynoxideError};
use serde_json::{Value, json};

use crate::{Changes, StoreError, tables::TTL};

pub use meter::{Call, Meter};

/// An embedded database: in memory, or in a file.
#[derive(Clone)]
pub struct Embedded {
    database: Database,
    meter: Meter,
    changes: Changes,
    faults: Option<Arc<dyn FaultPoint>>,
}

/// The database could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the database cannot be opened: {0}")]
pub struct OpenError(String);

impl Embedded {
    /// A database that is gone with the process.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn in_memory() -> Result<Self, OpenError> {
        Database::memory().map(Self::over).map_err(|error| OpenError(error.to_string()))
    }

    /// A database in a file, made if it is missing. It takes `kill -9` at any moment: what was acknowledged is there.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Database::new(&path.to_string_lossy()).map(Self::over).map_err(|error| OpenError(error.to_string()))
    }

    fn over(database: Database) -> Self {
        Self { database, meter: Meter::default(), changes: Changes::default(), faults: None }
    }

    /// The same database, each of whose calls may go wrong.
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn FaultPoint>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// What its calls consume.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// What is written to it, for a store that need not read again what nobody has changed: where no other process opens the same file.
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// The SDK's own client, over this database. Retries are the store's, so that each is one call.
    #[must_use]
    pub fn client(&self) -> Client {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("local"))
            .endpoint_url("http://embedded.invalid")
            // Nobody is there who would check a signature, and making one costs as much as the database itself.
            .allow_no_auth()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            // Both of these would want a runtime's timers, and there is nothing here to cache or to stall.
            .identity_cache(IdentityCache::no_cache())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(self.clone());
        Client::from_conf(config.build())
    }

    /// Removes every row whose `ttl` has passed, as DynamoDB does by itself where the template has switched that on. Gives how many there
    /// were. It blocks, and lets requests that wait go first every now and then.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn expire(&self) -> Result<usize, StoreError> {
        let broken = |error: DynoxideError| StoreError::Broken(error.to_string());
        let unreadable = |error: serde_json::Error| StoreError::Broken(error.to_string());
        let every = serde_json::from_value(json!({})).map_err(unreadable)?;
        for table in self.database.list_tables(every).map_err(broken)?.table_names {
            // Switched on each time, because the tables may be older than this.
            let switch =
                json!({ "TableName": table, "TimeToLiveSpecification": { "AttributeName": TTL, "Enabled": true } });
            self.database.update_time_to_live(serde_json::from_value(switch).map_err(unreadable)?).map_err(broken)?;
        }
        let _writing = self.changes.writing();
        self.database.sweep_ttl().map_err(broken)
    }

    async fn answer(self, action: String, body: String) -> Result<HttpResponse, ConnectorError> {
        let verdict = match &self.faults {
            Some(faults) => faults.before(&format!("store.{action}")).await,
            None => Verdict::Proceed,
        };
        match verdict {
            Verdict::Proceed => respond(self.run(&action, &body)),
            Verdict::Stale if body.contains("\"IndexName\"") => {
                respond(Ok(json!({"Items": [], "Count": 0}).to_string()))
            }
            // Base tables are read strongly, so they are never stale.
            Verdict::Stale => respond(self.run(&action, &body)),
            Verdict::FailBefore(failure) => fail(failure, &action, &body),
            Verdict::FailAfter(failure) | Verdict::FailLate(failure) => {
                drop(self.run(&action, &body));
                fail(failure, &action, &body)
            }
            Verdict::Twice => {
                drop(self.run(&action, &body));
                respond(self.run(&action, &body))
            }
            Verdict::CrashAfter => {
                drop(self.run(&action, &body));
                match &self.faults {
                    Some(faults) => match faults.crash().await {},
                    None => fail(Failure::Timeout, &action, &body),
                }
            }
        }
    }

    /// Runs one action and counts what it consumed.
    fn run(&self, action: &str, body: &str) -> Result<String, DynoxideError> {
        let asked = body.replacen('{', "{\"ReturnConsumedCapacity\":\"TOTAL\",", 1);
        let counted = ["BatchGetItem", "GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "TransactWriteItems"]
            .contains(&action);
        let reads = ["BatchGetItem", "GetItem", "Query"].contains(&action);
        let _writing = (!reads).then(|| self.changes.writing());
        let answer = dispatch(&self.database, action, if counted { &asked } else { body })?;
        self.meter.record(action, body, &answer);
        Ok(answer)
    }
}

/// Decodes, calls and encodes one action.
fn dispatch(database: &Database, action: &str, body: &str) -> Result<String, DynoxideError> {
    macro_rules! call {
        ($method:ident) => {{
            let request = serde_json::from_str(body).map_err(|error| undecodable(&error))?;
            let answer = database.$method(request)?;
            serde_json::to_string(&answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
        }};
    }
    match action {
        "BatchGetItem" => call!(batch_get_item),
        "GetItem" => call!(get_item),
        "PutItem" => call!(put_item),
        "UpdateItem" => call!(update_item),
        "DeleteItem" => call!(delete_item),
        "Query" => call!(query),
        "TransactWriteItems" => call!(transact_write_items),
        "CreateTable" => call!(create_table),
        other => Err(DynoxideError::ValidationException(format!("{other} is not used here"))),
    }
}

/// A request that does not decode carries a marker when it is really a validation error, which the SDK must be told of as one.
fn undecodable(error: &serde_json::Error) -> DynoxideError {
    let text = error.to_string();
    let validation = text.split_once("VALIDATION:").map(|(_, message)| message.to_owned());
    DynoxideError::ValidationException(validation.unwrap_or(text))
}

fn respond(result: Result<String, DynoxideError>) -> Result<HttpResponse, ConnectorError> {
    match result {
        Ok(body) => Ok(response(200, body)),
        Err(error) => Ok(response(error.status_code(), error.to_json())),
    }
}

fn response(status: u16, body: String) -> HttpResponse {
    // A status that cannot be written is one that no DynamoDB answers: the SDK is then told of a failure of the service.
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::new(StatusCode::from(status), SdkBody::from(body))
}

/// The answer to a call that the simulated cloud made fail, as DynamoDB words it.
fn fail(failure: Failure, action: &str, body: &str) -> Result<HttpResponse, ConnectorError> {
    let error = |name: &str, status| {
        let body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "simulated"});
        Ok(response(status, body.to_string()))
    };
    match failure {
        Failure::Timeout => Err(ConnectorError::timeout("simulated time-out".into())),
        Failure::Unavailable => error("InternalServerError", 500),
        Failure::Throttled => error("ProvisionedThroughputExceededException", 400),
        Failure::Conflict if action == "TransactWriteItems" => {
            let items = serde_json::from_str::<Value>(body).ok();
            let count = items.and_then(|body| body.get("TransactItems")?.as_array().map(Vec::len)).unwrap_or(1);
            let reasons = (0..count).map(|at| json!({"Code": if at == 0 { "TransactionConflict" } else { "None" }}));
            let cancelled = json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons [TransactionConflict]",
                "CancellationReasons": reasons.collect::<Vec<_>>(),
            });
            Ok(response(400, cancelled.to_string()))
        }
        Failure::Conflict => error("TransactionConflictException", 400),
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Embedded(..)")
    }
}

impl HttpConnector for Embedded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let action = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = request.body().bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        HttpConnectorFuture::new(self.clone().answer(action, body))
    }
}

impl HttpClient for Embedded {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use cloud::sim::World;

    use super::*;
    use crate::{
        Store, Table,
        items::{millis, number, text},
        tables::DUE_NOW,
    };

    #[tokio::test]
    async fn rows_go_when_their_time_is_over() {
        let (embedded, world) = (Embedded::in_memory().unwrap(), World::new(1));
        let (clock, ids) = (world.ports().clock, world.ports().ids);
        let store = Store::new(embedded.client(), "", clock, ids);
        store.create_tables().await.unwrap();
        // Seconds since 1970: 1970, 2096, and never.
        for (name, ttl) in [("over", Some(1)), ("later", Some(4_000_000_000_i64)), ("never", None)] {
            for table in Table::ALL {
                let mut row = crate::items::Item::from([("pk".to_owned(), text("p")), ("sk".to_owned(), text(name))]);
                row.insert("due_pk".to_owned(), text(DUE_NOW));
                row.insert("due_at".to_owned(), millis(world.now()));
                row.extend(ttl.map(|ttl| (TTL.to_owned(), number(ttl))));
                store.put_row(table, row).await.unwrap();
            }
        }
        assert_eq!(embedded.expire().unwrap(), Table::ALL.len());
        for table in Table::ALL {
            for name in ["over", "later", "never"] {
                assert_eq!(
                    store.get_row(table, ("p", name)).await.unwrap().is_some(),
                    name != "over",
                    "{table:?} {name}"
                );
            }
        }
        assert_eq!(store.due_keys(Table::Workloads, world.now(), None).await.unwrap().0.len(), 2, "indexes follow");
        assert_eq!(embedded.expire().unwrap(), 0);
    }
}
