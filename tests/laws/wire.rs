//! The wire between the store and its database, with an ear on it: which workloads and pools a write touched, so that the checker reads
//! those again and no others, and whether a secret went over it in the open. It is also where seeded bugs of the database sit.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{
        BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    types::AttributeValue,
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use domain::{PoolId, TenantId, Timestamp, WorkloadId};
use store::embedded::Embedded;

use super::{mutants::Bug, secrets};

/// What was heard since somebody last asked.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Workloads whose rows a write may have changed.
    pub(crate) touched: Vec<(TenantId, WorkloadId)>,
    /// Pools of which a write may have changed a row.
    pub(crate) pools: Vec<PoolId>,
    /// A write may have changed a row about disks.
    pub(crate) disks: bool,
    /// Secrets that went out as they are, with where to.
    pub(crate) leaks: Vec<String>,
    writes: u64,
}

/// The ear; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ear(Arc<Mutex<Heard>>);

impl Ear {
    /// What was heard since the last time; `None` when it was nothing.
    pub(crate) fn take(&self) -> Option<Heard> {
        let mut heard = self.heard();
        let nothing = heard.touched.is_empty() && heard.pools.is_empty() && !heard.disks && heard.leaks.is_empty();
        let writes = heard.writes;
        (!nothing).then(|| std::mem::replace(&mut *heard, Heard { writes, ..Heard::default() }))
    }

    /// Something is said to `whom`, where no secret may be.
    pub(crate) fn said(&self, whom: &str, text: &str) {
        let leak = secrets::found_in(text).map(|leak| format!("{leak} went to {whom} as it is"));
        self.heard().leaks.extend(leak);
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write under way. Whatever becomes of its caller, it is noted when it is over: its effect may be there.
struct UnderWay {
    ear: Ear,
    body: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.ear.said("the tables", &self.body);
        let (touched, pools) = named(&self.body);
        let mut heard = self.ear.heard();
        heard.touched.extend(touched);
        heard.pools.extend(pools);
        heard.disks |= self.body.contains("\"TableName\":\"disks\"");
    }
}

/// The connector that the SDK is given.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    embedded: Embedded,
    ear: Ear,
    bug: Option<Bug>,
}

/// The SDK's client over `embedded`, heard by `ear`.
pub(crate) fn client(embedded: Embedded, ear: Ear, bug: Option<Bug>) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("local"))
        .endpoint_url("http://embedded.invalid")
        // Nobody looks at a signature here, and making it is a tenth of a call's cost.
        .allow_no_auth()
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .identity_cache(IdentityCache::no_cache())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(Wire { embedded, ear, bug });
    Client::from_conf(config.build())
}

/// The workloads and the pools that a request names: every `TENANT#ID` and every `pool#POOL` in it.
fn named(body: &str) -> (Vec<(TenantId, WorkloadId)>, Vec<PoolId>) {
    let (mut found, mut pools) = (Vec::new(), Vec::new());
    for text in body.split("\"S\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        if let Some(pool) = text.strip_prefix("pool#") {
            pools.push(PoolId::new(pool));
        }
        // What is sorted by time names a workload after digits, and no tenant is all digits.
        if let Some((tenant, id)) = text.split_once('#')
            && tenant.contains(|c: char| !c.is_ascii_digit())
            && let Ok(id) = id.parse()
            && !found.iter().any(|(_, known)| *known == id)
        {
            found.push((TenantId::new(tenant), id));
        }
    }
    (found, pools)
}

/// Every action that writes. One that is missing here would write unheard.
const WRITES: [&str; 4] = ["TransactWriteItems", "PutItem", "UpdateItem", "DeleteItem"];
/// And those that do not.
const READS: [&str; 4] = ["GetItem", "BatchGetItem", "Query", "CreateTable"];

impl HttpConnector for Wire {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let action = target.rsplit('.').next().unwrap_or_default().to_owned();
        if READS.contains(&action.as_str()) {
            return self.read(request);
        }
        assert!(WRITES.contains(&action.as_str()), "say in tests/laws/wire.rs whether {action} writes");
        let body = request.body().bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        match self.sown(&action, &body) {
            Sown::Nothing => {}
            Sown::Instead(body) => *request.body_mut() = SdkBody::from(body),
            Sown::NotDone => {
                let response = HttpResponse::new(StatusCode::from(http::StatusCode::OK), SdkBody::from("{}"));
                return HttpConnectorFuture::ready(Ok(response));
            }
        }
        let under_way = UnderWay { ear: self.ear.clone(), body };
        let answer = self.embedded.call(request);
        HttpConnectorFuture::new(async move {
            let _noted_when_over = under_way;
            answer.await
        })
    }
}

/// What a sown bug makes of a write.
enum Sown {
    Nothing,
    /// Another request goes to the database.
    Instead(String),
    /// It is acknowledged, and nothing is done.
    NotDone,
}

impl Wire {
    fn read(&self, request: HttpRequest) -> HttpConnectorFuture {
        let asked = request.body().bytes().map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default();
        let answer = self.embedded.call(request);
        let wrong: fn(&str) -> String = match self.bug {
            Some(Bug::LateKeys) if asked.contains("\"key#") => |body| ending_later(body, 24 * 3600),
            Some(Bug::LeasesOverlooked) if asked.contains(LIMITS) => without_leases,
            _ => return answer,
        };
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let body =
                answer.body().bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
            *answer.body_mut() = SdkBody::from(wrong(&body));
            Ok(answer)
        })
    }

    fn sown(&self, action: &str, body: &str) -> Sown {
        let transaction = action == "TransactWriteItems";
        match self.bug {
            Some(Bug::LyingWrites) if transaction => {
                let mut heard = self.ear.heard();
                heard.writes += 1;
                if heard.writes.is_multiple_of(7) { Sown::NotDone } else { Sown::Nothing }
            }
            Some(Bug::OldSessionLives) if action == "DeleteItem" && body.contains("\"key#") => Sown::NotDone,
            Some(Bug::RenamedInTwo) if transaction => renamed_in_two(body),
            Some(Bug::LeasesForgotten) if action == "PutItem" && body.contains(LIMITS) => Sown::NotDone,
            Some(Bug::LimitsOverwritten) if action == "PutItem" && body.contains(LIMITS) => {
                Sown::Instead(overwriting(body))
            }
            Some(Bug::NoConditions) if transaction => Sown::Instead(without_conditions(body)),
            Some(Bug::ExtendsTwice) if body.contains("{\"S\":\"extended\"}") => Sown::Instead(ending_later(body, 3600)),
            Some(Bug::BooksNothing) => Sown::Instead(body.replace("\":change\":{\"N\":\"-", "\":change\":{\"N\":\"0")),
            Some(Bug::CountsDownTwice) => Sown::Instead(body.replace("\":less\":{\"N\":\"-1", "\":less\":{\"N\":\"-2")),
            _ => Sown::Nothing,
        }
    }
}

/// Of a change of a disk's name only the first half: whoever does it in two writes may die between them.
fn renamed_in_two(body: &str) -> Sown {
    let mut request: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let Some(items) = request["TransactItems"].as_array_mut() else { return Sown::Nothing };
    let of_name = |key: &serde_json::Value| key["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("disk#"));
    let removes = items.iter().any(|item| of_name(&item["Delete"]["Key"]));
    if !removes || !items.iter().any(|item| of_name(&item["Put"]["Item"])) {
        return Sown::Nothing;
    }
    items.retain(|item| !of_name(&item["Put"]["Item"]));
    Sown::Instead(request.to_string())
}

/// The text with its first end so many seconds later.
fn ending_later(body: &str, seconds: u64) -> String {
    let mark = "\"expires_at\":{\"S\":\"";
    let later = |rest: &str| {
        let (end, after) = rest.split_once('"')?;
        Some(format!("{}\"{after}", Timestamp::parse(end)?.plus(Duration::from_secs(seconds))))
    };
    match body.split_once(mark).and_then(|(before, rest)| Some((before, later(rest)?))) {
        Some((before, rest)) => format!("{before}{mark}{rest}"),
        None => body.to_owned(),
    }
}

/// How a request says that it is about limits.
const LIMITS: &str = "\"TableName\":\"limits\"";

/// The write without its condition.
fn overwriting(body: &str) -> String {
    let mut request: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    for field in ["ConditionExpression", "ExpressionAttributeValues"] {
        request.as_object_mut().map(|request| request.remove(field));
    }
    request.to_string()
}

/// A limit's row as if nobody had leased anything of it.
fn without_leases(body: &str) -> String {
    let mut answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let said = answer["Item"]["ledger"]["S"].as_str().and_then(|said| serde_json::from_str(said).ok());
    let Some(mut said): Option<serde_json::Value> = said else { return body.to_owned() };
    said["holders"] = serde_json::json!({});
    answer["Item"]["ledger"]["S"] = said.to_string().into();
    answer.to_string()
}

/// The numbers below zero in a partition, each as it stands in its row.
pub(crate) async fn negatives(client: &Client, table: &str, pk: &str) -> Vec<String> {
    let query = client.query().table_name(table).consistent_read(true).key_condition_expression("pk = :pk");
    let answer = query.expression_attribute_values(":pk", AttributeValue::S(pk.to_owned())).send().await;
    let below = |(name, value): (String, AttributeValue)| match value {
        AttributeValue::N(digits) if digits.starts_with('-') => Some(format!("{pk}: {name} is {digits}")),
        _ => None,
    };
    answer.expect("the tables are read").items.unwrap_or_default().into_iter().flatten().filter_map(below).collect()
}

/// The request without its conditions, and without the values that only they used.
fn without_conditions(body: &str) -> String {
    let mut request: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    for write in request["TransactItems"].as_array_mut().into_iter().flatten().filter_map(|item| item.as_object_mut()) {
        for request in write.values_mut().filter_map(|request| request.as_object_mut()) {
            request.remove("ConditionExpression");
            let update = request.get("UpdateExpression").and_then(|text| text.as_str()).unwrap_or_default().to_owned();
            let words = update.split([' ', ',']).collect::<Vec<_>>();
            let none_left = request
                .get_mut("ExpressionAttributeValues")
                .and_then(|values| values.as_object_mut())
                .is_some_and(|values| {
                    values.retain(|name, _| words.contains(&name.as_str()));
                    values.is_empty()
                });
            if none_left {
                request.remove("ExpressionAttributeValues");
            }
        }
    }
    request.to_string()
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

#[test]
fn a_write_names_what_it_touches() {
    let id = "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11";
    for (key, workloads, pools) in [
        (format!("default#{id}"), 1, 0),
        (format!("000001768932000#{id}"), 0, 0),
        ("pool#local/h100".to_owned(), 0, 1),
        ("default#owner#ann".to_owned(), 0, 0),
        ("key#3e1a5b".to_owned(), 0, 0),
    ] {
        let body = format!(r#"{{"Key":{{"pk":{{"S":"{key}"}},"sk":{{"S":"-"}}}}}}"#);
        let (touched, touched_pools) = named(&body);
        assert_eq!((touched.len(), touched_pools.len()), (workloads, pools), "{key}");
    }
}
