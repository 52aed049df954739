//! The wire between the store and its database, with an ear on it: which workloads a write touched, so that the checker reads those
//! again and no others, and whether a secret went over it in the open. It is also where seeded bugs of the database sit.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{
        BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
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
use domain::{TenantId, WorkloadId};
use store::embedded::Embedded;

use super::{mutants::Bug, secrets};

/// What was heard since somebody last asked.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Workloads whose rows a write may have changed.
    pub(crate) touched: Vec<(TenantId, WorkloadId)>,
    /// Secrets that went to the database as they are.
    pub(crate) leaks: Vec<String>,
    writes: u64,
}

/// The ear; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ear(Arc<Mutex<Heard>>);

impl Ear {
    /// What was heard since the last time; `None` when it was nothing.
    pub(crate) fn take(&self) -> Option<Heard> {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = heard.touched.is_empty() && heard.leaks.is_empty();
        let writes = heard.writes;
        (!nothing).then(|| std::mem::replace(&mut *heard, Heard { writes, ..Heard::default() }))
    }

    fn note(&self, touched: Vec<(TenantId, WorkloadId)>, leak: Option<String>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.touched.extend(touched);
        heard.leaks.extend(leak);
    }
}

/// A write under way. Whatever becomes of its caller, it is noted when it is over: its effect may be there.
struct UnderWay {
    ear: Ear,
    touched: Vec<(TenantId, WorkloadId)>,
    leak: Option<String>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.ear.note(std::mem::take(&mut self.touched), self.leak.take());
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

/// The workloads that a request names: every `TENANT#ID` in it.
fn named(body: &str) -> Vec<(TenantId, WorkloadId)> {
    let mut found = Vec::new();
    for text in body.split("\"S\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        // What is sorted by time names a workload after digits, and no tenant is all digits.
        if let Some((tenant, id)) = text.split_once('#')
            && tenant.contains(|c: char| !c.is_ascii_digit())
            && let Ok(id) = id.parse()
            && !found.iter().any(|(_, known)| *known == id)
        {
            found.push((TenantId::new(tenant), id));
        }
    }
    found
}

impl HttpConnector for Wire {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        if !target.ends_with("TransactWriteItems") {
            return self.embedded.call(request);
        }
        let body = request.body().bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        let under_way = UnderWay { ear: self.ear.clone(), touched: named(&body), leak: secrets::found_in(&body) };
        let writes = {
            let mut heard = self.ear.0.lock().unwrap_or_else(PoisonError::into_inner);
            heard.writes += 1;
            heard.writes
        };
        match self.bug {
            Some(Bug::LyingWrites) if writes.is_multiple_of(7) => {
                let response = HttpResponse::new(StatusCode::from(http::StatusCode::OK), SdkBody::from("{}"));
                return HttpConnectorFuture::ready(Ok(response));
            }
            Some(Bug::NoConditions) => *request.body_mut() = SdkBody::from(without_conditions(&body)),
            _ => {}
        }
        let answer = self.embedded.call(request);
        HttpConnectorFuture::new(async move {
            let _noted_when_over = under_way;
            answer.await
        })
    }
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
