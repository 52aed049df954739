//! The control plane, played: it answers every call at once, and keeps what it was told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use cloud::{Clock, SystemClock};
use domain::{
    Secret,
    agent::{Bye, Contents, Desired, Enrolled, LogBatch, MainProcess, Mount, Progress, Report, Serve, Stop, Synced},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// One call: which, with which bearer, and its body.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    bearer: String,
    body: String,
}

/// Everything that was told, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Vec<Call>);

impl Told {
    fn of(&self, name: &str) -> impl DoubleEndedIterator<Item = &Call> {
        self.0.iter().filter(move |call| call.name == name)
    }

    pub(crate) fn calls(&self, name: &str) -> usize {
        self.of(name).count()
    }

    fn report(&self) -> Option<Report> {
        self.of("sync").next_back().map(|call| serde_json::from_str(&call.body).unwrap())
    }

    /// Everything that was reported, in order.
    pub(crate) fn reports(&self) -> impl Iterator<Item = Report> {
        self.of("sync").map(|call| serde_json::from_str(&call.body).unwrap())
    }

    pub(crate) fn idle_seconds(&self) -> Option<u64> {
        self.report().and_then(|report| report.idle_seconds)
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        self.report().map(|report| report.progress)
    }

    pub(crate) fn main(&self) -> Option<MainProcess> {
        self.report().map(|report| report.main)
    }

    /// The job's log.
    pub(crate) fn log(&self) -> String {
        let batches = self.of("logs").map(|call| serde_json::from_str::<LogBatch>(&call.body).unwrap());
        batches.flat_map(|batch| batch.lines).map(|line| line.text + "\n").collect()
    }

    pub(crate) fn said_bye(&self) -> Option<String> {
        self.of("bye").next().map(|call| serde_json::from_str::<Bye>(&call.body).unwrap().reason)
    }

    /// What it sent of the list of what is on the disk, if nothing was said after the farewell.
    pub(crate) fn contents(&self) -> Vec<Contents> {
        let before = self.0.iter().take_while(|call| call.name != "bye").filter(|call| call.name == "contents");
        before.map(|call| serde_json::from_str(&call.body).unwrap()).collect()
    }

    /// The token that it enrolled with, and the secret that it uses since.
    pub(crate) fn token(&self) -> String {
        self.of("enroll").next().unwrap().bearer.clone()
    }

    pub(crate) fn session(&self) -> String {
        self.of("sync").next().unwrap().bearer.clone()
    }
}

/// The control plane of one job.
pub(crate) struct Plane {
    pub(crate) address: String,
    pub(crate) told: Arc<watch::Sender<Told>>,
    wishes: Arc<Wishes>,
}

#[derive(Debug, Default)]
struct Wishes {
    command: String,
    serve: Option<Serve>,
    stop: AtomicBool,
    disk: Mutex<Option<Mount>>,
    refuse: AtomicBool,
}

impl Plane {
    pub(crate) async fn start(command: &str, serve: Option<Serve>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let told = Arc::new(watch::Sender::new(Told::default()));
        let wishes = Arc::new(Wishes { command: command.to_owned(), serve, ..Wishes::default() });
        let plane = Self { address, told: Arc::clone(&told), wishes: Arc::clone(&wishes) };
        tokio::spawn(async move {
            loop {
                let (stream, _from) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                // An agent that was ended in the middle of a call has said nothing.
                let Some(call) = heard(&mut stream).await else { continue };
                let (status, body) = wishes.answer(&call.name);
                told.send_modify(|told| told.0.push(call));
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    continue;
                }
            }
        });
        plane
    }

    pub(crate) fn stop(&self) {
        self.wishes.stop.store(true, Ordering::Relaxed);
    }

    /// From now on the job's disk is there.
    pub(crate) fn attach(&self, mount: Mount) {
        *self.wishes.disk.lock().unwrap() = Some(mount);
    }

    pub(crate) fn refuse(&self) {
        self.wishes.refuse.store(true, Ordering::Relaxed);
    }
}

impl Wishes {
    fn answer(&self, name: &str) -> (&'static str, String) {
        if self.refuse.load(Ordering::Relaxed) {
            return ("401 Unauthorized\r\nx-error-code: unauthorized", "{}".to_owned());
        }
        let stopped = self.stop.load(Ordering::Relaxed);
        let stop = stopped.then(|| Stop { kill_at: SystemClock.now().plus(std::time::Duration::from_secs(5)) });
        let disk = self.disk.lock().unwrap().clone();
        let version = 1 + u64::from(stopped) + u64::from(disk.is_some());
        let desired = Desired { stop, disk, ..Desired::default() };
        let synced = Synced { version, desired: Some(desired), next_sync_ms: 100 };
        let body = match name {
            "enroll" => {
                let env = BTreeMap::from([("TOLD".to_owned(), Secret::new("a secret of the user's"))]);
                serde_json::to_string(&Enrolled {
                    command: Some(Secret::new(self.command.clone())),
                    serve: self.serve.clone(),
                    env,
                    synced,
                })
            }
            "sync" => serde_json::to_string(&synced),
            _ => Ok("{}".to_owned()),
        };
        ("200 OK", body.unwrap())
    }
}

/// Reads one request.
async fn heard(stream: &mut BufReader<TcpStream>) -> Option<Call> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let name = line.split_whitespace().nth(1)?.rsplit('/').next()?.to_owned();
    let (mut length, mut bearer) = (0, String::new());
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        match line.trim().split_once(": ") {
            Some((header, value)) if header.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            Some((header, value)) if header.eq_ignore_ascii_case("authorization") => {
                value.strip_prefix("Bearer ")?.clone_into(&mut bearer);
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Call { name, bearer, body: String::from_utf8(body).ok()? })
}
