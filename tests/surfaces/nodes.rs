//! The registry of models, nodes and instances (000#11 to #15, #22, #24; K9, K16).

use domain::tenant::Tier;
use http::Method;
use serde_json::{Value, json};

use super::check;
use crate::support::{
    ADMIN,
    drive::{A10G, Bench, report},
    operations::a_credential,
    wire::Ask,
};

const LLAMA: &str = "meta-llama/Llama-3.1-8B-Instruct";

pub(super) fn admin(ask: Ask) -> Ask {
    ask.with("x-admin-token", ADMIN)
}

pub(super) fn llama() -> Value {
    json!({
        "name": LLAMA, "family": "llama", "size": "8B", "type": "chat", "context_length": 8192, "vram_required_gb": 16,
        "price_input_per_million": 0.15, "price_output_per_million": 0.60, "huggingface_id": LLAMA
    })
}

pub(super) fn with_model() -> Bench {
    let bench = Bench::new();
    assert_eq!(bench.send(admin(Ask::post("/admin/models").json(&llama()))).status, 201);
    bench
}

pub(super) fn wanted() -> Value {
    json!({
        "provider": "aws", "region": "us-west-2", "gpu": "A10G", "gpu_count": 1, "model": LLAMA, "idle_minutes_to_autostop": 30
    })
}

fn launched() -> Value {
    json!({
        "id": "<text>", "cluster_name": "<text>", "model_name": LLAMA, "provider": "aws", "region": "us-west-2", "gpu": "A10G",
        "gpu_count": 1, "status": "launching", "request_id": "<text>", "created_at": "<time>", "phase": "queued", "progress": 0,
        "endpoint": null, "use_spot": false, "idle_minutes_to_autostop": 30, "error": null, "gpu_seconds": 0
    })
}

#[test]
fn t_000_11_models() {
    let bench = Bench::new();
    let mut shown = llama();
    (shown["created_at"], shown["updated_at"]) = (json!("<time>"), json!("<time>"));
    let create = || admin(Ask::post("/admin/models").json(&llama()));
    check(&bench, create().once("a"), 201, &shown);
    check(&bench, create().once("a"), 201, &shown);
    assert_eq!(bench.send(create()).status, 409, "it is registered already");
    let path = format!("/admin/models/{LLAMA}");
    check(&bench, admin(Ask::get(&path)), 200, &shown);
    check(&bench, admin(Ask::get("/admin/models")), 200, &json!([shown]));
    let put = |path: &str, body: &Value| admin(Ask::new(Method::PUT, path.to_owned()).json(body));
    (shown["vram_required_gb"], shown["price_input_per_million"]) = (json!(20), json!(0.000_001));
    let change = json!({"vram_required_gb": 20, "price_input_per_million": 0.000001});
    check(&bench, put(&path, &change), 200, &shown);
    let with = |field: &str, value: Value| {
        let mut body = llama();
        body["name"] = json!("other/model");
        body[field] = value;
        body
    };
    for (field, value) in [
        ("name", json!("a/../b")),
        ("name", json!("-rf")),
        ("type", json!("vision")),
        ("context_length", json!(0)),
        ("vram_required_gb", json!(0)),
        ("price_input_per_million", json!(-1)),
        ("price_output_per_million", json!(0.000_000_1)),
        ("version", json!(7)),
    ] {
        let answer = bench.send(admin(Ask::post("/admin/models").json(&with(field, value))));
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some(field)), "{}", answer.text());
    }
    assert_eq!(bench.send(put(&path, &json!({"name": "gpt2"}))).json()["error"]["param"], "name");
    for unknown in ["gpt2", "a/b/c", "%00", ".."] {
        assert_eq!(bench.send(admin(Ask::get(format!("/admin/models/{unknown}")))).status, 404, "{unknown}");
    }
    check(&bench, admin(Ask::delete(&path)), 200, &json!({"name": LLAMA, "status": "deleted"}));
    assert_eq!(bench.send(admin(Ask::delete(&path))).status, 404);
}

#[test]
fn t_000_12_14_15_a_nodes_life() {
    let bench = with_model();
    let launch = || admin(Ask::post("/admin/nodes/launch").json(&wanted()));
    let node = check(&bench, launch().once("a"), 201, &launched()).json();
    assert_eq!(bench.send(launch().once("a")).json(), node, "a repetition launches no other");
    let id = node["id"].as_str().unwrap();
    let (_, uuid) = id.split_once("node-").unwrap();
    let cluster = node["cluster_name"].as_str().unwrap();
    assert_eq!((cluster.len(), cluster.starts_with("cl-")), (15, true), "{cluster}");
    assert!(node["request_id"].as_str().unwrap().starts_with("req-"));
    let path = format!("/admin/nodes/{id}");
    check(&bench, admin(Ask::get(&path)), 200, &launched());
    bench.send(launch());
    for (query, count) in [
        ("", 2),
        ("?limit=1", 1),
        ("?limit=1&offset=1", 1),
        ("?offset=2", 0),
        ("?status=launching,active", 2),
        ("?status=terminated", 0),
        ("?provider=aws&gpu=NVIDIA%20A10G", 2),
        ("?provider=gcp", 0),
        ("?gpu=h100", 0),
    ] {
        let listed = bench.send(admin(Ask::get(format!("/admin/nodes{query}")))).json();
        assert_eq!(listed.as_array().map(Vec::len), Some(count), "{query}");
    }
    for query in ["?limit=0", "?limit=501", "?status=gone", "?provider=ibm", "?gpu=4090", "?x=1"] {
        assert_eq!(bench.send(admin(Ask::get(format!("/admin/nodes{query}")))).status, 400, "{query}");
    }
    let said = json!({"status": "terminating", "message": "Node termination initiated"});
    check(&bench, admin(Ask::post(format!("{path}/terminate"))), 200, &said);
    let over = bench.send(admin(Ask::get(&path))).json();
    assert_eq!((over["status"].as_str(), over["endpoint"].is_null()), (Some("terminated"), true), "it waited only");
    for purge in ["", "?purge=true"] {
        let again = bench.send(admin(Ask::post(format!("{path}/terminate{purge}"))));
        assert_eq!((again.status, again.json()["status"].as_str()), (200, Some("terminated")));
    }
    for unknown in [uuid, "node-x", &id.to_uppercase(), "node-0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11"] {
        let answer = bench.send(admin(Ask::get(format!("/admin/nodes/{unknown}"))));
        assert_eq!((answer.status, answer.json()["error"]["message"].as_str()), (404, Some("node not found")));
    }
}

#[test]
fn a_launch_says_what_is_known() {
    let bench = with_model();
    let large = json!({
        "name": "a/large", "family": "llama", "size": "70B", "type": "chat", "context_length": 8192, "vram_required_gb": 140,
        "price_input_per_million": 1, "price_output_per_million": 1
    });
    assert_eq!(bench.send(admin(Ask::post("/admin/models").json(&large))).status, 201);
    for (field, value, words) in [
        ("provider", json!("ibm"), "known are: aws, azure, gcp"),
        ("region", json!("us/west"), "a region has"),
        ("gpu", json!("4090"), "known are: a10g, h100"),
        ("gpu_count", json!(5), "ask for 1 to 4"),
        ("gpu_count", json!(0), "ask for 1 to 4"),
        ("model", json!("gpt2"), "known are: a/large, meta-llama/Llama-3.1-8B-Instruct"),
        ("idle_minutes_to_autostop", json!(0), "1 to 10080 minutes"),
        ("status", json!("active"), "not permitted"),
    ] {
        let mut body = wanted();
        body[field] = value;
        let answer = bench.send(admin(Ask::post("/admin/nodes/launch").json(&body)));
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["param"].as_str()), (400, Some(field)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    let mut body = wanted();
    body["model"] = json!("a/large");
    let error = bench.send(admin(Ask::post("/admin/nodes/launch").json(&body))).json();
    let words = "gpu_count: a/large needs 140 GB and 1 x A10G has 24 GB: 116 GB too little";
    assert_eq!(error["error"]["message"], words);
}

#[test]
fn t_000_22_24_instances_are_their_tenants() {
    let bench = with_model();
    let (pro, _) = bench.a_tenant("550e8400-e29b-41d4-a716-446655440001", Tier::Pro);
    let (pro_too, _) = bench.a_tenant_key("550e8400-e29b-41d4-a716-446655440001");
    let (free, _) = bench.a_tenant("550e8400-e29b-41d4-a716-446655440002", Tier::Free);
    let (other, _) = bench.a_tenant("550e8400-e29b-41d4-a716-446655440003", Tier::Enterprise);
    let mut spot = wanted();
    spot["use_spot"] = json!(true);
    let mut shown = launched();
    shown["use_spot"] = json!(true);
    let launch = |key: &str| Ask::post("/v1/instances").json(&spot).bearer(key);
    let instance = check(&bench, launch(&pro), 201, &shown).json();
    let path = format!("/v1/instances/{}", instance["id"].as_str().unwrap());
    for key in [&pro, &pro_too] {
        check(&bench, Ask::get("/v1/instances").bearer(key), 200, &json!({"data": [shown]}));
        check(&bench, Ask::get(&path).bearer(key), 200, &shown);
    }
    check(&bench, Ask::get("/v1/instances").bearer(&other), 200, &json!({"data": []}));
    for ask in [Ask::get(&path), Ask::delete(&path), Ask::delete(format!("{path}?purge=true"))] {
        let answer = bench.send(ask.bearer(&other));
        assert_eq!((answer.status, answer.json()["error"]["message"].as_str()), (404, Some("instance not found")));
    }
    assert_eq!(bench.send(admin(Ask::get(format!("/admin/nodes/{}", instance["id"].as_str().unwrap())))).status, 404);
    for ask in [launch(&free), Ask::get("/v1/instances").bearer(&free), Ask::get(&path).bearer(&free)] {
        let answer = bench.send(ask);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["type"].as_str()), (403, Some("tier_restriction_error")));
        assert!(error["message"].as_str().unwrap().contains("pro"), "{error}");
    }
    let said = json!({"status": "terminating", "message": "Instance termination initiated"});
    check(&bench, Ask::delete(format!("{path}?purge=true")).bearer(&pro_too), 200, &said);
    assert_eq!(bench.send(Ask::get(&path).bearer(&pro)).json()["status"], "terminated");
}

#[test]
fn a_tenant_has_so_many_and_no_more() {
    let bench = Bench::with(|settings| settings.policy.nodes_per_tenant = 1);
    assert_eq!(bench.send(admin(Ask::post("/admin/models").json(&llama()))).status, 201);
    let launch = || bench.send(admin(Ask::post("/admin/nodes/launch").json(&wanted())));
    assert_eq!((launch().status, launch().status), (201, 409));
}

/// What an instance shows while it goes from its launch to its end (000#13, #18, #19).
#[test]
fn t_000_13_19_it_is_launched_and_idles_away() {
    let bench = with_model();
    let key = bench.login("ann");
    let made = bench.send(Ask::post("/v1/instances").json(&wanted()).bearer(&key)).json();
    let id = made["id"].as_str().unwrap().strip_prefix("node-").unwrap().to_owned();
    let shows = |key: &str, status: &str, phase: &str, progress: u8| {
        let shown = bench.send(Ask::get(format!("/v1/instances/node-{id}")).bearer(key)).json();
        assert_eq!(
            (&shown["status"], &shown["phase"], &shown["progress"]),
            (&json!(status), &json!(phase), &json!(progress))
        );
        shown
    };
    bench.dispatch(A10G);
    let token = bench.provision(&id);
    shows(&key, "launching", "provisioning", 20);
    let enroll = json!({"session": domain::Secret::new("s").hash().as_str(), "version": "0.1.0"});
    let told = bench.ok(&token, Ask::post("/agent/v1/enroll").json(&enroll));
    let serve = json!({"served_name": LLAMA, "source": LLAMA, "kind": "chat", "context_length": 8192, "gpus": 1});
    assert_eq!((&told["serve"], &told["command"]), (&serve, &Value::Null));
    shows(&key, "initializing", "instance_ready", 35);
    assert_eq!(bench.send(Ask::get(format!("/v1/jobs/{id}")).bearer(&key)).status, 404, "it is no job");
    assert_eq!(bench.send(Ask::get("/v1/jobs").bearer(&key)).json()["total"], 0);
    let second = bench.send(Ask::post("/v1/instances").json(&wanted()).bearer(&key)).json();
    let second = second["id"].as_str().unwrap().strip_prefix("node-").unwrap().to_owned();
    bench.dispatch(A10G);
    let agent = bench.launch(&second);
    let get = |key: &str| bench.send(Ask::get(format!("/v1/instances/node-{second}")).bearer(key)).json();
    let active = get(&key);
    assert_eq!((&active["status"], &active["progress"]), (&json!("active"), &json!(100)));
    let endpoint = active["endpoint"].as_str().unwrap().to_owned();
    assert!(endpoint.starts_with("http://10.0.") && endpoint.ends_with(":8000"), "{endpoint}");
    let mut idle = report("ready");
    for (pass, seconds, status) in [(1_000, 9_999, "active"), (900, 1_799, "active"), (0, 1_800, "terminating")] {
        bench.pass(pass);
        idle["idle_seconds"] = json!(seconds);
        agent.sync(&bench, &idle);
        assert_eq!(get(&bench.login("ann"))["status"], status, "{seconds}");
    }
    bench.end(&second);
    let over = get(&bench.login("ann"));
    assert_eq!((&over["status"], &over["error"]), (&json!("terminated"), &json!("idle for 30 minutes")));
    assert!(over["endpoint"].is_null() && over["gpu_seconds"].as_u64() > Some(1_800));
}

/// A tenant's instance runs in the account of its own default credential (issue's item 3), which cannot be deleted meanwhile.
#[test]
fn t_000_05_24_an_instance_runs_in_its_tenants_own_account() {
    const PRO: &str = "550e8400-e29b-41d4-a716-446655440001";
    let bench = with_model();
    let (key, _) = bench.a_tenant(PRO, Tier::Pro);
    let credential = a_credential(&bench, PRO);
    let launch = || bench.send(Ask::post("/v1/instances").json(&wanted()).bearer(&key)).json();
    let (id, waits) = (launch()["id"].clone(), launch()["id"].clone());
    let uuid = id.as_str().unwrap().strip_prefix("node-").unwrap();
    let node = bench.send(admin(Ask::post("/admin/nodes/launch").json(&wanted()))).json();
    bench.dispatch(A10G);
    let (within, platform) = (bench.within(PRO), bench.within("platform"));
    within.launch(uuid);
    platform.launch(node["id"].as_str().unwrap().strip_prefix("node-").unwrap());
    let accounts = bench.world.instances().into_iter().map(|one| (one.order.tenant.to_string(), one.account));
    let accounts = accounts.collect::<std::collections::BTreeMap<_, _>>();
    assert_eq!(accounts[PRO].as_deref(), Some("AKIA0123456789ABCDEF"));
    assert_eq!(accounts["platform"], None);
    let path = format!("/v1/credentials/{credential}");
    let delete = || bench.send(Ask::delete(&path).bearer(&key)).status;
    let end = |id: &Value| {
        let path = format!("/v1/instances/{}?purge=true", id.as_str().unwrap());
        assert_eq!(bench.send(Ask::delete(path).bearer(&key)).status, 200);
    };
    assert_eq!(delete(), 409, "two run with it");
    end(&waits);
    within.reconcile(waits.as_str().unwrap().strip_prefix("node-").unwrap());
    assert_eq!(delete(), 409, "one runs with it");
    end(&id);
    assert_eq!(delete(), 409, "it is not gone yet");
    within.end(uuid);
    assert!(bench.world.live(uuid.parse().unwrap()).is_empty());
    assert_eq!(delete(), 200);
    launch();
    assert_eq!(bench.send(Ask::get("/v1/credentials").bearer(&key)).json()["data"], json!([]));
}
