//! The plane as people start it, with a model that is served.

use std::{process::Command, time::Duration};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Process;

const ADMIN: &str = "slipway-benchmark-admin-token-0123456789";
const MODEL: &str = "meta-llama/Llama-3.1-8B-Instruct";
/// More than is asked for: every limit is kept, and none is met.
const PLENTY: u64 = 1_000_000_000;

pub(super) struct Plane {
    process: Process,
    /// Where it answers.
    pub(super) url: String,
    /// Where the node's model server answers.
    pub(super) server: String,
    /// A tenant's key with limits.
    pub(super) key: String,
    pub(super) model: String,
    client: Client,
    _data: TempDir,
}

impl Plane {
    /// Starts it, with a node that serves, and a tenant with a key.
    pub(super) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let this = std::env::current_exe().unwrap();
        let server = json!([this, "serve", "{port}"]);
        let process = Process::of(
            Command::new(env!("CARGO_BIN_EXE_slipway-under-test"))
                .env("PORT", "0")
                .env("SLIPWAY_DATA_DIR", data.path().join("data"))
                .env("SLIPWAY_MODEL_SERVER", format!("command:{server}"))
                .env("ADMIN_API_TOKEN", ADMIN)
                .env("LOG_LEVEL", "info")
                .env("LOG_FORMAT", "text"),
        );
        let url = process.url.clone();
        let mut plane = Self {
            process,
            url,
            server: String::new(),
            key: String::new(),
            model: MODEL.to_owned(),
            client: Client::new(),
            _data: data,
        };
        plane.serve().await;
        plane
    }

    async fn serve(&mut self) {
        let limits = json!({
            "requests_per_second": PLENTY, "requests_per_minute": PLENTY, "requests_per_hour": PLENTY, "tokens_per_minute": PLENTY, "tokens_per_hour": PLENTY,
            "tokens_per_day": PLENTY, "concurrent_requests": 10_000, "budget_usd_per_month": 1_000_000,
        });
        let model = json!({
            "name": MODEL, "family": "llama", "size": "8B", "type": "chat", "context_length": 8192, "vram_required_gb": 16,
            "price_input_per_million": 0.1, "price_output_per_million": 0.2, "limits": limits,
        });
        self.admin(Method::POST, "/admin/models", &model).await;
        let launch = json!({"provider": "aws", "region": "us-west-2", "gpu": "A10G", "gpu_count": 1, "model": MODEL, "idle_minutes_to_autostop": 600});
        let node = self.admin(Method::POST, "/admin/nodes/launch", &launch).await;
        let path = format!("/admin/nodes/{}", node["id"].as_str().unwrap());
        let tenant = json!({"name": "Askers", "email": "askers@example.com"});
        let tenant = self.admin(Method::POST, "/admin/tenants", &tenant).await;
        let tenants = format!("/admin/tenants/{}", tenant["id"].as_str().unwrap());
        self.admin(Method::PUT, &tenants, &json!({"limits": limits})).await;
        let key = json!({"tenant_id": tenant["id"], "name": "all", "limits": limits});
        self.key = self.admin(Method::POST, "/admin/api-keys", &key).await["key"].as_str().unwrap().to_owned();
        loop {
            let node = self.admin(Method::GET, &path, &Value::Null).await;
            if node["status"] == "active" {
                self.server = node["endpoint"].as_str().unwrap().to_owned();
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) fn process(&self) -> u32 {
        self.process.id()
    }

    /// How many requests were metered.
    pub(super) async fn metered(&self) -> usize {
        // What was answered last is written a moment later.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = self.client.get(format!("{}/v1/usage", self.url)).bearer_auth(&self.key);
        let usage: Value = asked.send().await.unwrap().json().await.unwrap();
        usize::try_from(usage["total"]["requests"].as_u64().unwrap()).unwrap()
    }

    async fn admin(&self, method: Method, path: &str, body: &Value) -> Value {
        let asked = self.client.request(method, format!("{}{path}", self.url)).header("x-admin-token", ADMIN);
        let asked = if body.is_null() { asked } else { asked.json(body) };
        let answer = asked.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }
}
