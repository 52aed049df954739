//! Credentials that are changed in every way, and some that are not there.

use domain::tenant::Tier;
use http::Method;
use serde_json::json;

use crate::support::{
    ADMIN,
    drive::Bench,
    operations::{Caller, Scene, a_credential, operations},
    wire::Ask,
};

const TENANT: &str = "550e8400-e29b-41d4-a716-446655440007";

pub(super) fn all() {
    changes();
    unknown();
}

/// New keys, and what is the default and then is not, on both surfaces; the list of none and of some.
fn changes() {
    let bench = Bench::new();
    let (key, _) = bench.a_tenant(TENANT, Tier::Pro);
    for admin in [false, true] {
        let (base, query) = if admin { ("/admin", format!("?tenant_id={TENANT}")) } else { ("/v1", String::new()) };
        let send = |method: Method, path: &str, body: &serde_json::Value| {
            let ask = Ask::new(method, format!("{base}/credentials{path}{query}")).json(body).once("k");
            let ask = if admin { ask.with("x-admin-token", ADMIN) } else { ask.bearer(&key) };
            assert!(bench.send(ask).status < 300, "{base}{path}");
        };
        let id = a_credential(&bench, TENANT);
        let keys =
            json!({"access_key_id": "AKIA0123456789ABCDEF", "secret_access_key": "other", "region": "us-west-2"});
        send(Method::PUT, &format!("/{id}"), &json!({"is_default": false, "credentials": keys}));
        send(Method::POST, &format!("/{id}/default"), &json!({}));
        send(Method::POST, &format!("/{id}/validate"), &json!({}));
        send(Method::DELETE, &format!("/{id}"), &json!({}));
    }
}

/// Each operation about a credential of somebody else's.
fn unknown() {
    for operation in operations() {
        if !operation.path.contains("{credential_id}") {
            continue;
        }
        let mut scene = Scene::new();
        let (other, _) = scene.bench.a_tenant(TENANT, Tier::Pro);
        if operation.caller == Caller::Tenant {
            scene.tenant_key = other;
        } else {
            scene.own.insert("tenant_id".to_owned(), TENANT.to_owned());
        }
        assert_eq!(scene.bench.send(scene.ask(&operation)).status, 404, "{}", operation.id);
    }
}
