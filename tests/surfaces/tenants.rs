//! Tenants and their keys (000#3 to #5, #20, #22), and who is an admin (K3).

use domain::tenant::Tier;
use http::Method;
use serde_json::{Value, json};

use super::check;
use crate::support::{
    ADMIN,
    drive::{A10G, Bench, small},
    wire::Ask,
};

const UNKNOWN: &str = "550e8400-e29b-41d4-a716-446655440099";

fn admin(ask: Ask) -> Ask {
    ask.with("x-admin-token", ADMIN)
}

fn put(path: String, body: &Value) -> Ask {
    admin(Ask::new(Method::PUT, path).json(body))
}

fn refused(message: &str, kind: &str, code: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "code": code}})
}

/// A tenant that the admin makes; its id, and a key.
fn made(bench: &Bench, body: &Value) -> (String, String) {
    let tenant = bench.send(admin(Ask::post("/admin/tenants").json(body))).json();
    let id = tenant["id"].as_str().expect("an id").to_owned();
    let key = admin(Ask::post("/admin/api-keys").json(&json!({"tenant_id": id, "name": "test-key"})));
    (id, bench.send(key).json()["key"].as_str().expect("a key").to_owned())
}

#[test]
fn t_000_03_04_05_a_tenants_life() {
    let bench = Bench::new();
    let body = json!({"name": "Test Organization", "email": "test@example.com"});
    let made = json!({
        "id": "<uuid>", "name": "Test Organization", "email": "test@example.com", "tier": "free", "status": "active",
        "created_at": "<time>", "updated_at": "<time>"
    });
    let tenant = check(&bench, admin(Ask::post("/admin/tenants").json(&body).once("a")), 201, &made).json();
    let again = bench.send(admin(Ask::post("/admin/tenants").json(&body).once("a")));
    assert_eq!((again.status, again.json()), (201, tenant.clone()), "a repetition makes no other");
    let path = format!("/admin/tenants/{}", tenant["id"].as_str().unwrap());
    check(&bench, admin(Ask::get(&path)), 200, &tenant);
    check(&bench, admin(Ask::get("/admin/tenants")), 200, &json!([tenant]));
    let changed = put(path.clone(), &json!({"name": "Other", "tier": "pro"}));
    check(&bench, changed, 200, &{
        let mut changed = made.clone();
        (changed["name"], changed["tier"]) = (json!("Other"), json!("pro"));
        changed
    });
    for (ask, status, kind) in [
        (admin(Ask::post("/admin/tenants").json(&json!({"name": "x", "email": "x"}))), 400, "invalid_request_error"),
        (
            admin(Ask::post("/admin/tenants").json(&json!({"name": "x", "email": "x@y", "tier": "gold"}))),
            400,
            "invalid_request_error",
        ),
        (
            admin(Ask::post("/admin/tenants").json(&json!({"name": "x", "email": "x@y", "status": "active"}))),
            400,
            "invalid_request_error",
        ),
        (put(path.clone(), &json!({"status": "deleted"})), 400, "invalid_request_error"),
        (admin(Ask::get(format!("/admin/tenants/{UNKNOWN}"))), 404, "not_found_error"),
        (admin(Ask::get("/admin/tenants/default")), 404, "not_found_error"),
        (Ask::get("/admin/tenants"), 401, "authentication_error"),
        (Ask::get("/admin/tenants").bearer(&bench.login("ann")), 401, "authentication_error"),
    ] {
        let (path, answer) = (ask.path.clone(), bench.send(ask));
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (status, Some(kind)), "{path}");
    }
    let gone = json!({"id": "<uuid>", "status": "deleting", "message": "Tenant deletion initiated"});
    check(&bench, admin(Ask::delete(&path)), 200, &gone);
    bench.pass(61);
    assert_eq!(bench.let_tenants_go(), 1);
    check(&bench, admin(Ask::get(&path)), 404, &refused("tenant not found", "not_found_error", "not_found"));
    check(&bench, admin(Ask::get("/admin/tenants")), 200, &json!([]));
}

#[test]
fn t_000_20_22_keys() {
    let bench = Bench::new();
    let (tenant, key) = made(&bench, &json!({"name": "A", "email": "a@example.com"}));
    assert!(key.starts_with("clsk_live_") && key.len() == "clsk_live_".len() + 32 + 6, "32 digits and a checksum");
    let known = json!({
        "id": "<uuid>", "tenant_id": tenant, "name": "<text>", "prefix": "<text>", "status": "active", "created_at": "<time>",
        "expires_at": null, "revoked_at": null
    });
    let new = json!({
        "id": "<uuid>", "tenant_id": tenant, "name": "laptop", "key": "<text>", "prefix": "<text>", "created_at": "<time>",
        "expires_at": "<time>"
    });
    check(&bench, Ask::get("/v1/api-keys").bearer(&key), 200, &json!({"data": [known]}));
    let body = json!({"name": "laptop", "expires_in_days": 1});
    let second = check(&bench, Ask::post("/v1/api-keys").json(&body).bearer(&key), 201, &new).json();
    let (id, second) = (second["id"].as_str().unwrap(), second["key"].as_str().unwrap());
    let listed = bench.send(admin(Ask::get(format!("/admin/api-keys?tenant_id={tenant}")))).text();
    assert!(!listed.contains(&key) && !listed.contains(second), "a key is shown once");
    // Another tenant's, an unknown and a malformed one look the same.
    let (_, other) = made(&bench, &json!({"name": "B", "email": "b@example.com"}));
    let unknown = refused("API key not found", "not_found_error", "not_found");
    for (key, id) in [(&other, id), (&key, UNKNOWN), (&key, "x")] {
        check(&bench, Ask::delete(format!("/v1/api-keys/{id}")).bearer(key), 404, &unknown);
    }
    check(&bench, admin(Ask::delete(format!("/admin/api-keys/{id}?tenant_id={UNKNOWN}"))), 404, &unknown);
    assert_eq!(bench.send(Ask::get("/v1/api-keys").bearer(second)).status, 200);
    let revoked = bench.send(Ask::delete(format!("/v1/api-keys/{id}")).bearer(&key));
    assert_eq!((revoked.status, revoked.json()["status"].as_str()), (200, Some("revoked")));
    let dead = refused("Invalid API key", "authentication_error", "unauthenticated");
    check(&bench, Ask::get("/v1/api-keys").bearer(second), 401, &dead);
    assert_eq!(bench.send(Ask::delete(format!("/v1/api-keys/{id}")).bearer(&key)).status, 200, "again");
    for days in [0, 3651] {
        let ask = Ask::post("/v1/api-keys").json(&json!({"name": "x", "expires_in_days": days})).bearer(&key);
        assert_eq!(bench.send(ask).json()["error"]["param"], "expires_in_days");
    }
}

/// A key with an end opens nothing from that instant on.
#[test]
fn t_i16_a_tenants_key_ends_in_time() {
    let bench = Bench::new();
    let (_, key) = made(&bench, &json!({"name": "A", "email": "a@example.com"}));
    let body = json!({"name": "short", "expires_in_days": 1});
    let short = bench.send(Ask::post("/v1/api-keys").json(&body).bearer(&key)).json();
    let short = short["key"].as_str().unwrap();
    bench.pass(24 * 3600 - 1);
    assert_eq!(bench.send(Ask::get("/v1/api-keys").bearer(short)).status, 200);
    bench.pass(1);
    let over = refused("API key has expired", "authentication_error", "unauthenticated");
    check(&bench, Ask::get("/v1/api-keys").bearer(short), 401, &over);
}

/// A suspended tenant's keys, and those of its people, open nothing from that moment on; what runs goes on.
#[test]
fn suspending_a_tenant_stops_its_keys_at_once() {
    let bench = Bench::new();
    let (tenant, key) = made(&bench, &json!({"name": "A", "email": "a@example.com"}));
    let user = bench.key_in(&tenant, "ann");
    let job = bench.submit(&user, &small());
    let path = format!("/admin/tenants/{tenant}");
    for (status, expected) in [("suspended", 403), ("active", 200)] {
        assert_eq!(bench.send(put(path.clone(), &json!({"status": status}))).status, 200);
        assert_eq!(bench.send(Ask::get("/v1/api-keys").bearer(&key)).status, expected, "{status}");
        assert_eq!(bench.send(Ask::get("/v1/jobs").bearer(&user)).status, expected, "{status}");
    }
    assert_eq!(bench.ok(&user, Ask::get(format!("/v1/jobs/{job}")))["status"], "queued");
}

#[test]
fn a_tenant_with_live_workloads_is_deleted_by_force_alone() {
    let bench = Bench::new();
    let (tenant, key) = made(&bench, &json!({"name": "A", "email": "a@example.com"}));
    let bench = bench.within(&tenant);
    let user = bench.key_in(&tenant, "ann");
    let (running, waiting) = (bench.submit(&user, &small()), bench.submit(&user, &small()));
    bench.dispatch(A10G);
    bench.launch(&running);
    let path = format!("/admin/tenants/{tenant}");
    let words = "The tenant has 2 live workloads: end them first, or delete it with ?force=true";
    check(&bench, admin(Ask::delete(&path)), 409, &refused(words, "conflict_error", "conflict"));
    assert_eq!(bench.send(Ask::get("/v1/api-keys").bearer(&key)).status, 200, "it was refused, and nothing changed");
    assert_eq!(bench.send(admin(Ask::delete(format!("{path}?force=true")))).status, 200);
    let dead = refused("Invalid API key", "authentication_error", "unauthenticated");
    check(&bench, Ask::get("/v1/api-keys").bearer(&key), 401, &dead);
    assert_eq!(bench.send(put(path.clone(), &json!({"status": "active"}))).status, 409, "there is no way back");
    bench.pass(61);
    assert_eq!(bench.let_tenants_go(), 0, "one of its jobs has not ended");
    for job in [&running, &waiting] {
        bench.end(job);
    }
    bench.pass(60);
    assert_eq!(bench.let_tenants_go(), 1);
    check(&bench, admin(Ask::get(path)), 404, &refused("tenant not found", "not_found_error", "not_found"));
    check(&bench, Ask::get("/v1/jobs").bearer(&user), 401, &json!({"detail": "Invalid API key"}));
}

/// After ten wrong tokens from an address, even the right one is refused there until the window is over.
#[test]
fn t_000_03_wrong_admin_tokens_are_counted() {
    let bench = Bench::new();
    let wrong = || Ask::get("/admin/tenants").with("x-admin-token", "a token that is long enough for nobody");
    for _ in 0..10 {
        let dead = refused("Invalid admin token", "authentication_error", "unauthenticated");
        check(&bench, wrong(), 401, &dead);
    }
    for ask in [wrong(), admin(Ask::get("/admin/tenants"))] {
        let answer = bench.send(ask);
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (429, Some("rate_limit_error")));
        assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 900);
    }
    bench.pass(900);
    assert_eq!(bench.send(admin(Ask::get("/admin/tenants"))).status, 200);
}

/// A tenant's key opens what is a tenant's; what is a person's needs a person.
#[test]
fn t_k03_kinds_of_keys() {
    let bench = Bench::new();
    let (key, _) = bench.a_tenant(UNKNOWN, Tier::Free);
    let person = json!({"detail": "This operation acts for a person: use that person's API key"});
    check(&bench, Ask::get("/v1/jobs").bearer(&key), 403, &person);
    let tenant = refused("This operation acts for a tenant: use one of its API keys", "permission_error", "forbidden");
    check(&bench, admin(Ask::get("/v1/api-keys")), 403, &tenant);
}
