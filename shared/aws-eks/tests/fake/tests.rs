//! The server against what Kubernetes promises.

use std::time::Duration;

use domain::Timestamp;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Fake, Scheduler, merge::merge, router, selectors};
use crate::contract::Time;

const PODS: &str = "/api/v1/namespaces/jobs/pods";

fn fake() -> Fake {
    let fake = Fake::new(Time::new());
    fake.schedule(Scheduler::Asleep);
    fake
}

async fn ask(fake: &Fake, method: &str, path: &str, body: Value) -> (u16, Value) {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let built = http::Request::builder().method(method).uri(path).header("content-type", kind);
    let sent = if body.is_null() { String::new() } else { body.to_string() };
    let answer = router(fake.clone()).oneshot(built.body(axum::body::Body::from(sent)).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn pod(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": []}})
}

#[tokio::test]
async fn a_name_is_made_once_and_changed_at_its_version() {
    let fake = fake();
    let (code, made) = ask(&fake, "POST", PODS, pod("a", &json!({}))).await;
    assert_eq!((code, made["status"]["phase"].as_str()), (201, Some("Pending")));
    let (code, status) = ask(&fake, "POST", PODS, pod("a", &json!({}))).await;
    assert_eq!(
        (code, status["kind"].as_str(), status["reason"].as_str()),
        (409, Some("Status"), Some("AlreadyExists"))
    );
    let path = format!("{PODS}/a");
    let mut stale = made.clone();
    stale["metadata"]["labels"]["x"] = json!("1");
    assert_eq!(ask(&fake, "PUT", &path, stale.clone()).await.0, 200);
    let (code, status) = ask(&fake, "PUT", &path, stale).await;
    assert_eq!((code, status["reason"].as_str()), (409, Some("Conflict")));
    for (patch, code) in [
        (json!({"metadata": {"labels": {"y": "2"}}}), 200),
        (json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}), 409),
        (json!({"metadata": {"uid": "another"}}), 409),
        (json!({"spec": {"schedulingGates": [{"name": "late"}]}}), 422),
        (json!({"spec": {"containers": [{"name": "other"}]}}), 422),
    ] {
        assert_eq!(ask(&fake, "PATCH", &path, patch.clone()).await.0, code, "{patch}");
    }
    for (path, code) in [(format!("{PODS}/b"), 404), ("/api/v1/nodes".into(), 404), ("/api/v1/pods".into(), 200)] {
        assert_eq!(ask(&fake, "GET", &path, Value::Null).await.0, code, "{path}");
    }
    let labels = &fake.objects("pods")[0]["metadata"]["labels"];
    assert_eq!(*labels, json!({"x": "1", "y": "2"}));
}

#[tokio::test]
async fn deletion_waits_for_finalizers_and_for_the_node_and_takes_what_is_owned() {
    let fake = fake();
    let (_, first) =
        ask(&fake, "POST", PODS, json!({"metadata": {"name": "a", "finalizers": ["x/y"]}, "spec": {}})).await;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": first["metadata"]["uid"]});
    let secret = json!({"metadata": {"name": "s", "ownerReferences": [owner]}});
    assert_eq!(ask(&fake, "POST", "/api/v1/namespaces/jobs/secrets", secret.clone()).await.0, 201);
    let path = format!("{PODS}/a");
    let other = json!({"preconditions": {"uid": "another"}});
    assert_eq!(ask(&fake, "DELETE", &path, other).await.0, 409);
    let (code, deleted) = ask(&fake, "DELETE", &path, Value::Null).await;
    assert!(code == 200 && deleted["metadata"]["deletionTimestamp"].is_string());
    fake.schedule(Scheduler::Eager);
    assert_eq!((fake.bound(), fake.names("pods").len()), (0, 1), "what is deleted is not bound");
    ask(&fake, "PATCH", &path, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!((fake.names("pods").len(), fake.names("secrets").len()), (0, 0));
    ask(&fake, "POST", "/api/v1/namespaces/jobs/secrets", secret).await;
    assert_eq!(fake.names("secrets").len(), 0, "its owner has gone");
    ask(&fake, "POST", PODS, pod("b", &json!({}))).await;
    let (_, deleted) = ask(&fake, "DELETE", &format!("{PODS}/b"), Value::Null).await;
    assert_eq!((deleted["metadata"]["deletionGracePeriodSeconds"].as_u64(), fake.bound()), (Some(30), 1));
    assert_eq!(fake.names("pods"), ["b"], "its node ends it first");
    fake.act(|state| state.stop_deleted(Timestamp::from_seconds(7)));
    assert_eq!(fake.names("pods").len(), 0);
}

#[test]
fn selectors_choose() {
    let object = json!({"metadata": {"name": "n", "labels": {"a": "1", "b": "2"}}, "status": {"phase": "Running"}});
    for (selector, chosen) in [
        ("", Some(true)),
        ("a=1", Some(true)),
        ("a==1,b!=3", Some(true)),
        ("a=2", Some(false)),
        ("a in (1, 2),b", Some(true)),
        ("a in (2,3)", Some(false)),
        ("a notin (2,3),c notin (1)", Some(true)),
        ("!a", Some(false)),
        ("!c,c!=1", Some(true)),
        ("a within (1)", None),
    ] {
        assert_eq!(selectors::labels(selector, &object), chosen, "{selector}");
    }
    for (selector, chosen) in [
        ("metadata.name=n,status.phase!=Failed", Some(true)),
        ("status.phase=Pending", Some(false)),
        ("spec.image=x", None),
    ] {
        assert_eq!(selectors::fields(selector, &object), chosen, "{selector}");
    }
}

#[test]
fn patches_merge() {
    for (target, patch, merged) in [
        (json!({"a": 1, "b": {"c": 2}}), json!({"b": {"c": null, "d": 3}}), json!({"a": 1, "b": {"d": 3}})),
        (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
        (json!({"a": 1}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
        (json!(7), json!({"a": 1}), json!({"a": 1})),
    ] {
        let mut found = target.clone();
        merge(&mut found, &patch);
        assert_eq!(found, merged, "{target} with {patch}");
    }
}

#[tokio::test]
async fn lists_have_pages() {
    let fake = fake();
    for name in ["a", "b", "c"] {
        ask(&fake, "POST", PODS, pod(name, &json!({"x": "1"}))).await;
    }
    let (_, first) = ask(&fake, "GET", &format!("{PODS}?limit=2&labelSelector=x%3D1"), Value::Null).await;
    assert_eq!((first["items"].as_array().unwrap().len(), &first["metadata"]["remainingItemCount"]), (2, &json!(1)));
    let next = first["metadata"]["continue"].as_str().unwrap().replace('~', "%7E").replace('/', "%2F");
    let path = format!("{PODS}?limit=2&continue={next}");
    let (_, rest) = ask(&fake, "GET", &path, Value::Null).await;
    assert_eq!((&rest["items"][0]["metadata"]["name"], rest["metadata"]["continue"].is_null()), (&json!("c"), true));
    fake.act(|state| state.store.compact());
    ask(&fake, "POST", PODS, pod("d", &json!({}))).await;
    fake.act(|state| state.store.compact());
    assert_eq!(ask(&fake, "GET", &path, Value::Null).await.0, 410);
}

/// The next batch of a watch, without bookmarks: kinds and names.
async fn batch(body: &mut axum::body::Body) -> Vec<String> {
    let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.unwrap().unwrap().unwrap();
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .map(|event| {
            format!(
                "{} {}",
                event["type"].as_str().unwrap(),
                event["object"]["metadata"]["name"].as_str().unwrap_or("-")
            )
        })
        .collect()
}

#[tokio::test]
async fn a_watch_tells_what_changes() {
    let fake = fake();
    ask(&fake, "POST", PODS, pod("a", &json!({"x": "1"}))).await;
    let (_, listed) = ask(&fake, "GET", PODS, Value::Null).await;
    let version = listed["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let watch = async |query: String| {
        let built = http::Request::get(format!("{PODS}?watch=1&{query}")).body(axum::body::Body::empty()).unwrap();
        router(fake.clone()).oneshot(built).await.unwrap()
    };
    let mut all = watch(format!("resourceVersion={version}&allowWatchBookmarks=true")).await.into_body();
    let mut some = watch("labelSelector=x%3D1".to_owned()).await.into_body();
    assert_eq!(batch(&mut some).await, ["ADDED a"]);
    ask(&fake, "POST", PODS, pod("b", &json!({}))).await;
    assert_eq!(batch(&mut all).await, ["ADDED b", "BOOKMARK -"]);
    ask(&fake, "PATCH", &format!("{PODS}/a"), json!({"metadata": {"labels": {"x": "2"}}})).await;
    assert_eq!(batch(&mut all).await, ["MODIFIED a", "BOOKMARK -"]);
    assert_eq!(batch(&mut some).await, ["DELETED a"], "it has left what is watched");
    ask(&fake, "DELETE", &format!("{PODS}/b"), Value::Null).await;
    assert_eq!(batch(&mut all).await, ["MODIFIED b", "DELETED b", "BOOKMARK -"][1..]);
    fake.act(|state| state.store.compact());
    assert_eq!(watch(format!("resourceVersion={version}")).await.status(), 410);
    let short = watch("timeoutSeconds=0".to_owned()).await.into_body();
    assert!(short.collect().await.is_ok(), "it ends when its time is over");
}

#[tokio::test]
async fn clients_find_out_what_there_is() {
    let fake = fake();
    for (path, kind) in [("/api", "APIVersions"), ("/apis", "APIGroupList"), ("/api/v1", "APIResourceList")] {
        assert_eq!(ask(&fake, "GET", path, Value::Null).await.1["kind"], kind, "{path}");
    }
    let address = fake.listen().await;
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    let client = kube::Client::try_from(config).unwrap();
    assert_eq!(client.apiserver_version().await.unwrap().major, "1");
    let pods = client.list_core_api_resources("v1").await.unwrap().resources;
    assert!(pods.iter().any(|one| one.name == "pods" && one.short_names.iter().flatten().any(|short| short == "po")));
}
