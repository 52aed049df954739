//! A plane that runs as a process of its own, and people who use it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Method};
use russh::{
    ChannelMsg,
    client::{self, Handler},
    keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, key::safe_rng},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take to become so, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// A plane with a data folder of its own. It is ended with the test.
pub(super) struct Slipway {
    process: Child,
    address: String,
    nodes: String,
    data: TempDir,
}

impl Slipway {
    pub(super) async fn start(nodes: &str) -> Self {
        Self::start_on(nodes, tempfile::tempdir().unwrap()).await
    }

    /// Kills it with no warning, and starts it again on what it had written.
    pub(super) async fn kill_and_start_again(mut self) -> Self {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let (nodes, data) = (self.nodes.clone(), std::mem::replace(&mut self.data, tempfile::tempdir().unwrap()));
        Self::start_on(&nodes, data).await
    }

    async fn start_on(nodes: &str, data: TempDir) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_slipway-under-test"))
            .env("PORT", "0")
            .env("SLIPWAY_DATA_DIR", data.path().join("data"))
            .env("SLIPWAY_NODES", nodes)
            .env("LOG_LEVEL", "info")
            .env("LOG_FORMAT", "text")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let welcome = lines.find_map(|line| {
            let line = line.ok()?;
            Some(line.split_once("answers at ")?.1.trim().to_owned())
        });
        // What it says later is read, so that it never waits for somebody to listen.
        std::thread::spawn(move || lines.for_each(drop));
        let address = welcome.expect("it says where it answers");
        let slipway = Self { process, address, nodes: nodes.to_owned(), data };
        let health = reqwest::get(format!("{}/health", slipway.address)).await.unwrap();
        assert_eq!(health.status(), 200);
        slipway
    }

    pub(super) async fn log_in(&self, who: &str) -> User {
        let mut user = User { client: Client::new(), address: self.address.clone(), key: String::new() };
        let credentials = json!({
            "aws_access_key_id": "ASIAIOSFODNN7EXAMPLE",
            "aws_secret_access_key": "wJalrXUtnFEMIexamplekey",
            "aws_session_token": format!("local:{who}"),
        });
        let answer = user.post("/v1/auth/aws-login", &credentials).await;
        user.key = answer["api_key"].as_str().unwrap().to_owned();
        user
    }

    /// Waits until no process carries this job's mark any more.
    pub(super) async fn nothing_left_of(&self, job: &str) {
        let mark = format!("{}={job}", agent::WORKLOAD_MARK);
        eventually("no process of the job is left", async || {
            let left = fs::read_dir("/proc").unwrap().flatten().any(|entry| carries(&entry.path(), &mark));
            (!left).then_some(())
        })
        .await;
    }
}

impl Drop for Slipway {
    fn drop(&mut self) {
        // Asked to end, it ends its jobs too; killed, it would leave them to its next start, which never comes.
        let id = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        if let Err(error) = kill(id, Signal::SIGTERM) {
            // It was killed by the test, and has been waited for.
            assert_eq!(error, nix::errno::Errno::ESRCH);
        }
        self.process.wait().unwrap();
    }
}

fn carries(process: &Path, mark: &str) -> bool {
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    found.await.unwrap_or_else(|_late| panic!("waited in vain: {what}"))
}

/// Somebody with a key.
pub(super) struct User {
    client: Client,
    address: String,
    key: String,
}

impl User {
    /// The same person, after the plane was started again.
    pub(super) fn at(self, slipway: &Slipway) -> Self {
        Self { address: slipway.address.clone(), ..self }
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Value {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Cancels a job, unless it has ended.
    pub(super) async fn cancel_if_it_runs(&self, job: &str) {
        let (status, text) = self.ask(Method::POST, &format!("/v1/jobs/{job}/cancel"), Some(&json!({}))).await;
        assert!(status == 200 || status == 409, "{status} {text}");
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, text) = self.ask(method, path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, String) {
        let mut request = self.client.request(method, format!("{}{path}", self.address)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(super) async fn submit(&self, job: &Value) -> String {
        let answer = self.post("/v1/jobs/submit", job).await;
        assert_eq!(answer["status"], "queued");
        answer["job_id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn until(&self, job: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || Some(self.get(&format!("/v1/jobs/{job}")).await).filter(&so)).await
    }

    pub(super) async fn wait<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        eventually(what, look).await
    }

    pub(super) async fn in_use(&self) -> u64 {
        self.get("/v1/cluster/status").await["in_use_gpus"].as_u64().unwrap()
    }
}

/// An SSH key, and what it opens.
pub(super) struct Key(Arc<PrivateKey>);

struct Anyone;

impl Handler for Anyone {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

impl Key {
    pub(super) fn new() -> Self {
        Self(Arc::new(PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap()))
    }

    pub(super) fn public(&self) -> String {
        self.0.public_key().to_openssh().unwrap()
    }

    /// Runs a command; `None` when the key does not come in.
    pub(super) async fn run(&self, port: u16, command: &str) -> Option<(String, Option<u32>)> {
        let mut handle = client::connect(Arc::default(), ("127.0.0.1", port), Anyone).await.ok()?;
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&self.0), None);
        if !handle.authenticate_publickey("dev", key).await.ok()?.success() {
            return None;
        }
        let mut channel = handle.channel_open_session().await.unwrap();
        channel.exec(true, command).await.unwrap();
        let (mut output, mut code) = (String::new(), None);
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => output.push_str(&String::from_utf8_lossy(&data)),
                ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
                _ => {}
            }
        }
        Some((output, code))
    }
}
