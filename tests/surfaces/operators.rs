//! What was used and what it cost, and clusters for operators' tools (000#2, #22).

use domain::tenant::Tier;
use http::Method;
use serde_json::{Value, json};

use super::{
    check,
    nodes::{admin, wanted, with_model},
};
use crate::support::{
    SERVICE,
    drive::{A10G, Bench, small},
    wire::Ask,
};

const PRO: &str = "550e8400-e29b-41d4-a716-446655440001";

fn usage(bench: &Bench, key: &str, query: &str) -> Value {
    let answer = bench.send(Ask::get(format!("/v1/usage{query}")).bearer(key));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The sum of a report's parts, in millionths of a dollar where it is money.
fn summed(report: &Value) -> (u64, i64) {
    let parts = report["parts"].as_object().expect("parts").values();
    parts.fold((0, 0), |(seconds, cost), part| (seconds + part["gpu_seconds"].as_u64().unwrap(), cost + micros(part)))
}

fn micros(amount: &Value) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a few dollars")]
    let micros = (amount["cost_usd"].as_f64().unwrap() * 1e6).round() as i64;
    micros
}

/// An instance of the tenant's runs for a while, and then a job of one of its people; what both used is theirs, and nobody else's.
#[test]
fn t_000_22_usage() {
    let bench = with_model();
    let (key, key_id) = bench.a_tenant(PRO, Tier::Pro);
    let (free, _) = bench.a_tenant("550e8400-e29b-41d4-a716-446655440002", Tier::Free);
    let nothing = json!({
        "gpu_seconds": 0, "requests": 0, "input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0
    });
    let empty = json!({"tenant_id": PRO, "from": "2026-01-01", "to": "2026-01-20", "total": nothing, "by": null, "parts": null});
    assert_eq!(usage(&bench, &key, ""), empty);
    let made = bench.send(Ask::post("/v1/instances").json(&wanted()).bearer(&key)).json();
    let id = made["id"].as_str().unwrap().strip_prefix("node-").unwrap().to_owned();
    assert_eq!(usage(&bench, &key, "?by=workload")["parts"], json!({}), "what waits uses nothing");
    bench.dispatch(A10G);
    let within = bench.within(PRO);
    within.launch(&id);
    bench.pass(3_000);
    let running = usage(&bench, &key, "")["total"]["gpu_seconds"].as_u64().unwrap();
    assert!((3_000..3_100).contains(&running), "{running}");
    bench.pass(600);
    bench.send(Ask::delete(format!("/v1/instances/node-{id}?purge=true")).bearer(&key));
    within.end(&id);
    let person = bench.key_in(PRO, "ann");
    let job = bench.submit(&person, &small());
    bench.dispatch(A10G);
    within.launch(&job);
    bench.pass(6 * 3600);
    let person = bench.key_in(PRO, "ann");
    let shown = bench.send(Ask::get(format!("/v1/instances/node-{id}")).bearer(&key)).json();
    let whole = usage(&bench, &key, "");
    for by in ["model", "key", "day", "workload"] {
        let report = usage(&bench, &person, &format!("?by={by}"));
        assert_eq!((&report["total"], &report["by"]), (&whole["total"], &json!(by)));
        let total = &whole["total"];
        assert_eq!(summed(&report), (total["gpu_seconds"].as_u64().unwrap(), micros(total)), "{report}");
        let of = |part: &str| report["parts"][part]["gpu_seconds"].clone();
        match by {
            "model" => assert_eq!(of("meta-llama/Llama-3.1-8B-Instruct"), shown["gpu_seconds"]),
            "key" => {
                let parts = (of(&format!("key-{key_id}")), of("ann").is_u64());
                assert_eq!(parts, (shown["gpu_seconds"].clone(), true));
            }
            "day" => assert_eq!(report["parts"].as_object().unwrap().len(), 2, "{report}"),
            _ => assert_eq!(of(&id), shown["gpu_seconds"]),
        }
    }
    let seconds = shown["gpu_seconds"].as_f64().unwrap();
    let by_model = usage(&bench, &key, "?by=model");
    let cost = by_model["parts"]["meta-llama/Llama-3.1-8B-Instruct"]["cost_usd"].as_f64().unwrap();
    assert!((cost - seconds * 2.036 / 3600.0).abs() < 2e-6, "{cost} for {seconds} s");
    assert_eq!(usage(&bench, &free, "")["total"], nothing);
    let of_tenant = |id: &str| admin(Ask::get(format!("/admin/tenants/{id}/usage")));
    assert_eq!(bench.send(of_tenant(PRO)).json(), whole);
    for (id, status) in
        [("platform", 200), ("default", 200), ("nobody", 404), ("550e8400-e29b-41d4-a716-44665544ffff", 404)]
    {
        assert_eq!(bench.send(of_tenant(id)).status, status, "{id}");
    }
}

#[test]
fn a_report_says_which_days() {
    let bench = Bench::new();
    let key = bench.login("ann");
    for (query, from, to) in [
        ("?to=2025-12-05", "2025-12-01", "2025-12-05"),
        ("?from=2025-06-01&to=2025-06-01", "2025-06-01", "2025-06-01"),
        ("?from=2026-01-20", "2026-01-20", "2026-01-20"),
    ] {
        let report = usage(&bench, &key, query);
        assert_eq!((report["from"].as_str(), report["to"].as_str()), (Some(from), Some(to)));
    }
    for (query, param) in [
        ("?by=tenant", "by"),
        ("?from=yesterday", "from"),
        ("?to=2026-02-30", "to"),
        ("?from=2026-01-21", "from"),
        ("?from=2020-01-01", "from"),
        ("?tenant_id=platform", "tenant_id"),
    ] {
        let answer = bench.send(Ask::get(format!("/v1/usage{query}")).bearer(&key));
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some(param)), "{}", answer.text());
    }
}

#[test]
fn t_000_02_clusters() {
    let bench = with_model();
    let service = |path: &str| Ask::get(path.to_owned()).bearer(SERVICE);
    check(&bench, Ask::get("/api/health"), 200, &json!({"status": "healthy", "version": "<text>"}));
    check(&bench, service("/api/v1/clusters"), 200, &json!([]));
    let (key, _) = bench.a_tenant(PRO, Tier::Pro);
    let node = bench.send(admin(Ask::post("/admin/nodes/launch").json(&wanted()))).json();
    let instance = bench.send(Ask::post("/v1/instances").json(&wanted()).bearer(&key)).json();
    bench.submit(&bench.login("ann"), &small());
    bench.dispatch(A10G);
    let platform = bench.within("platform");
    let uuid = node["id"].as_str().unwrap().strip_prefix("node-").unwrap().to_owned();
    platform.launch(&uuid);
    let shown = |of: &Value, tenant: &str, status: &str, phase: &str, endpoint: Value| {
        json!({
            "name": of["cluster_name"], "status": status, "node_id": of["id"], "tenant_id": tenant, "provider": "aws",
            "region": "us-west-2", "resources": "1x A10G", "use_spot": false, "autostop_minutes": 30, "launched_at": "<time>",
            "phase": phase, "endpoint": endpoint
        })
    };
    let node_shown = shown(&node, "platform", "UP", "active", json!("<text>"));
    let mut both = [node_shown.clone(), shown(&instance, PRO, "INIT", "placed", Value::Null)];
    both.sort_by_key(|cluster| cluster["name"].as_str().unwrap().to_owned());
    check(&bench, service("/api/v1/clusters"), 200, &json!(both));
    check(&bench, service("/api/v1/clusters?limit=1"), 200, &json!(both[..1]));
    let after = format!("/api/v1/clusters?after={}", both[0]["name"].as_str().unwrap());
    check(&bench, service(&after), 200, &json!(both[1..]));
    let path = format!("/api/v1/clusters/{}", node["cluster_name"].as_str().unwrap());
    check(&bench, service(&path), 200, &node_shown);
    for path in ["/api/v1/clusters/cl-000000000000", "/api/v1/clusters/%00", "/api/v1/clusters/x"] {
        assert_eq!(bench.send(service(path)).status, 404, "{path}");
    }
    for query in ["?limit=0", "?limit=501", "?x=1", "?after=x"] {
        assert_eq!(bench.send(service(&format!("/api/v1/clusters{query}"))).status, 400, "{query}");
    }
    let purge = format!("/admin/nodes/{}/terminate?purge=true", node["id"].as_str().unwrap());
    assert_eq!(bench.send(admin(Ask::new(Method::POST, purge))).status, 200);
    platform.end(&uuid);
    assert_eq!(bench.send(service(&path)).status, 404, "it has ended");
    assert_eq!(bench.send(service("/api/v1/clusters")).json().as_array().map(Vec::len), Some(1));
    let wrong = || bench.send(Ask::get("/api/v1/clusters").bearer("a token that is long enough, and wrong")).status;
    assert_eq!((0..10).map(|_| wrong()).collect::<Vec<_>>(), [401; 10]);
    assert_eq!((wrong(), bench.send(service(&path)).status), (429, 429));
}
