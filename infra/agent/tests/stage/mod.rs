//! A machine with a job for it: its folders, its stand-in programs, and the control plane.

mod plane;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use cloud::{Ids, OsIds};
use domain::{
    Secret, Timestamp, VolumeId,
    agent::{Boot, Device, ModelServer, Mount, Room, Serve},
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use self::plane::Plane;
pub(crate) use self::plane::Told;

/// The program.
pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_slipway-agent");

/// How long anything may take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

/// Notes what it was asked, each word ended by NUL and each call by a line.
const NOTES: &str =
    "#!/bin/sh\n{ for word; do printf '%s\\0' \"$word\"; done; printf '\\036'; } >> \"$NOTES.${0##*/}\"\n";
/// A container engine that has no image yet, and whose containers are processes.
const ENGINE: &str = r#"
case "$1" in
    image) exit 1 ;;
    pull) [ -z "${FAIL_PULL:-}" ] || { echo 'denied: nobody knows it' >&2; exit 1; } ;;
    run)
        [ -z "${FAIL_RUN:-}" ] || { echo 'no such runtime' >&2; exit 125; }
        FROM_IMAGE=kept exec "$AGENT" inner --socket "$WORK/run/agent.sock" ;;
esac
"#;

/// The stage of one test; what was started ends with it.
pub(crate) struct Stage {
    folder: TempDir,
    plane: Plane,
    boot: Boot,
    started: BTreeMap<&'static str, Child>,
}

impl Stage {
    pub(crate) async fn new(room: Room, image: &str, command: &str) -> Self {
        Self::with(Plane::start(command, None).await, room, image).await
    }

    /// The same for a workload that serves a model, with this server.
    pub(crate) async fn serving(room: Room, serve: Serve, server: ModelServer) -> Self {
        let mut stage = Self::with(Plane::start("", Some(serve)).await, room, "image").await;
        stage.boot.model_port = Some(free_port().await);
        stage.boot.model_server = Some(server);
        stage.order();
        stage
    }

    async fn with(plane: Plane, room: Room, image: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for made in ["bin", "etc", "work"] {
            fs::create_dir(folder.path().join(made)).unwrap();
        }
        for (program, rest) in [("docker", ENGINE), ("shutdown", "")] {
            let path = folder.path().join("bin").join(program);
            fs::write(&path, format!("{NOTES}{rest}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let boot = Boot {
            plane: plane.address.clone(),
            workload: OsIds.workload(Timestamp::from_millis(0)),
            room,
            token: Secret::new("the token for one enrolment"),
            listen: "127.0.0.1".into(),
            ssh_port: free_port().await,
            jupyter_port: free_port().await,
            model_port: None,
            model_server: None,
            work_dir: path("work"),
            host_key: path("host_key"),
            hidden: Vec::new(),
            image_root: None,
            image: image.into(),
            gpus: Vec::new(),
            disk: false,
            gpus_simulated: false,
        };
        let stage = Self { folder, plane, boot, started: BTreeMap::new() };
        stage.order();
        stage
    }

    /// The same for a job that needs a disk.
    pub(crate) async fn with_disk(room: Room, command: &str) -> Self {
        let mut stage = Self::new(room, "image", command).await;
        stage.boot.disk = true;
        stage.order();
        stage
    }

    /// Writes the orders down.
    fn order(&self) {
        fs::write(self.etc("boot.json"), serde_json::to_vec_pretty(&self.boot).unwrap()).unwrap();
    }

    /// Where the model answers.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}:{}", self.boot.listen, self.boot.model_port.unwrap())
    }

    /// The folder that is the job's disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.path().join("disk's files")
    }

    /// From now on it is there.
    pub(crate) fn attach(&self) -> PathBuf {
        let folder = self.disk();
        fs::create_dir(&folder).unwrap();
        let device = Device::Folder(folder.display().to_string());
        self.plane.attach(Mount { volume: VolumeId::new("vol-1"), device, blank: true, next: 4, freeze: None });
        folder
    }

    /// The file with the orders.
    pub(crate) fn boot(&self) -> String {
        self.etc("boot.json").display().to_string()
    }

    pub(crate) fn etc(&self, name: &str) -> PathBuf {
        self.folder.path().join("etc").join(name)
    }

    pub(crate) fn socket(&self) -> String {
        format!("{}/agent.sock", self.boot.work_dir)
    }

    /// Starts a copy of the agent, and answers its id.
    pub(crate) fn start(&mut self, name: &'static str, words: &[&str], variables: &[(&str, &str)]) -> i32 {
        let bin = self.folder.path().join("bin");
        let mut command = Command::new(AGENT);
        command.args(words).env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        command.env("NOTES", self.folder.path().join("notes")).env("WORK", &self.boot.work_dir).env("AGENT", AGENT);
        command.envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().unwrap();
        let id = i32::try_from(child.id().unwrap()).unwrap();
        self.started.insert(name, child);
        id
    }

    /// Waits for the end of a copy.
    pub(crate) async fn ended(&mut self, name: &str) -> ExitStatus {
        let child = self.started.get_mut(name).unwrap();
        tokio::time::timeout(PATIENCE, child.wait())
            .await
            .unwrap_or_else(|_late| panic!("{name} does not end"))
            .unwrap()
    }

    /// Waits until the control plane was told so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Told) -> bool) {
        let mut told = self.plane.told.subscribe();
        let waited =
            tokio::time::timeout(PATIENCE, told.wait_for(|told| so(told))).await.map(|told| drop(told.unwrap()));
        waited.unwrap_or_else(|_late| panic!("waited in vain, {what}: {:?}", self.told()));
    }

    pub(crate) fn told(&self) -> Told {
        self.plane.told.borrow().clone()
    }

    /// From now on the control plane wants the job to stop.
    pub(crate) fn stop(&self) {
        self.plane.stop();
    }

    /// From now on the control plane knows no agent.
    pub(crate) fn refuse(&self) {
        self.plane.refuse();
    }

    /// What a stand-in was asked.
    pub(crate) fn asked(&self, program: &str) -> Vec<Vec<String>> {
        let notes = fs::read_to_string(self.folder.path().join(format!("notes.{program}"))).unwrap_or_default();
        let calls = notes.split_terminator('\u{1e}');
        calls.map(|call| call.split_terminator('\0').map(str::to_owned).collect()).collect()
    }

    /// Looks through all that the inner copy has: its arguments, its environment and its memory. What it must have is found there, so
    /// that what it must not have would be too.
    pub(crate) async fn inner_has_no_secret_of_ours(&self, inner: i32) {
        self.until("two reports", |told| told.calls("sync") > 1).await;
        let told = self.told();
        let all = everything_of(inner);
        let has = |text: &str| all.iter().any(|part| part.windows(text.len()).any(|at| at == text.as_bytes()));
        assert!(has("a secret of the user's") && has(&self.boot.workload.to_string()));
        assert!(!has(&told.session()), "the inner copy has the session's secret");
        assert!(!has(&told.token()), "the inner copy has the token");
    }
}

/// Whether bubblewrap can make a sandbox on this machine.
pub(crate) fn has_bubblewrap() -> bool {
    let tried = std::process::Command::new("bwrap").args(["--ro-bind", "/", "/", "--unshare-user", "true"]).status();
    tried.is_ok_and(|status| status.success())
}

/// A process's arguments, its environment, and each part of its memory that can be read.
fn everything_of(id: i32) -> Vec<Vec<u8>> {
    let mut all =
        vec![fs::read(format!("/proc/{id}/cmdline")).unwrap(), fs::read(format!("/proc/{id}/environ")).unwrap()];
    let memory = fs::File::open(format!("/proc/{id}/mem")).unwrap();
    for line in fs::read_to_string(format!("/proc/{id}/maps")).unwrap().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // What is written is what a secret can be in: not the program's own text.
        if !fields[1].starts_with("rw") {
            continue;
        }
        let (from, to) = fields[0].split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut part = vec![0; usize::try_from(to - from).unwrap()];
        // A part that went away meanwhile holds nothing any more.
        if memory.read_exact_at(&mut part, from).is_ok() {
            all.push(part);
        }
    }
    all
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}
