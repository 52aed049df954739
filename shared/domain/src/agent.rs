//! What a node's agent and the control plane say to each other.
//!
//! The agent dials out; nothing dials in. It makes its own session secret and sends only the hash, so no answer ever carries
//! one and every call can be repeated. What it is told is a *desired state*: a lost or doubled message does no harm, because the
//! next one says the same thing again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Secret, SecretHash, Timestamp, VolumeId, WorkloadId};

mod model;

pub use self::model::{ModelServer, Serve, VLLM_VERSION};

/// How the agent is started: written by the fleet for this one attempt, read by the agent from its standard input or a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Where the control plane answers, without a path: `http://127.0.0.1:8000`.
    pub plane: String,
    /// The workload that this agent serves, for its own log lines.
    pub workload: WorkloadId,
    /// Where the job runs.
    pub room: Room,
    /// Good for one [`Enroll`]; useless afterwards.
    pub token: Secret,
    /// The address that the SSH server listens on: `127.0.0.1` here, every address on a node.
    pub listen: String,
    /// The SSH server's port, chosen by the fleet.
    pub ssh_port: u16,
    /// JupyterLab's port on loopback, chosen by the fleet.
    pub jupyter_port: u16,
    /// Where the model's endpoint listens, at [`Boot::listen`], chosen by the fleet; `None` for workloads without one.
    #[serde(default)]
    pub model_port: Option<u16>,
    /// Which program serves models on this node; `None` means vLLM.
    #[serde(default)]
    pub model_server: Option<ModelServer>,
    /// The folder for this attempt's files: home, scratch, the socket between the two copies of the agent. In a pod it holds the socket
    /// alone, and is there already.
    pub work_dir: String,
    /// The SSH host key in OpenSSH's format; made there if the file is missing. Kept beside the data so that it does not change.
    pub host_key: String,
    /// Folders of the fleet's that no job may see, such as the one with the control plane's data.
    pub hidden: Vec<String>,
    /// An unpacked root file system for the job's image, or `None` to show this machine's programs read-only; for a sandbox alone.
    pub image_root: Option<String>,
    /// The image's name, told to the job as `SLIPWAY_IMAGE`; in a container room it is what is pulled and started.
    pub image: String,
    /// GPUs that the job may see, by index on this node.
    pub gpus: Vec<u32>,
    /// The job needs a disk: nothing of it starts before [`Desired::disk`] says which, and that is mounted.
    #[serde(default)]
    pub disk: bool,
    /// True when the GPUs are stand-ins: the job is told so as `SLIPWAY_GPUS_SIMULATED=1`.
    pub gpus_simulated: bool,
}

/// Where a job runs, and so what its agent does to make it run there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// On this machine, under bubblewrap or else as a plain process group. The machine stays when the job ends.
    Sandbox,
    /// On a machine that was bought for this job alone, in a container of the job's image, which the agent starts with the machine's
    /// container engine. The machine is powered off, and so terminated, when the job ends.
    Container,
    /// In a pod, whose containers Kubernetes starts: the agent waits at the socket for its inner copy, which is the first program in the
    /// user's container.
    Pod,
}

/// What root in the user's container may do, of everything that root may do. Without these, images that run as root cannot install a
/// package; each is in the `baseline` Pod Security Standard.
pub const CAPABILITIES: [(&str, &str); 6] = [
    ("CHOWN", "package managers give files to the users that they make"),
    ("DAC_OVERRIDE", "root writes into folders that belong to the image's other users"),
    ("FOWNER", "archives are unpacked with the permissions that they name"),
    ("KILL", "the agent ends processes of other users when the job is over"),
    ("SETGID", "apt and service managers step down to other groups"),
    ("SETUID", "apt and service managers step down to other users"),
];

/// The first thing an agent says, with [`Boot::token`] as its bearer: `POST /agent/v1/enroll`.
///
/// Repeating it with the same `session` is answered like the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// The hash of the secret that the agent will use from now on.
    pub session: SecretHash,
    /// The agent's version, for the timeline.
    pub version: String,
}

/// How far the node has come, in the order in which it may be reported. A report never moves a workload back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The sandbox or container is being made.
    Installing,
    /// The model's server has been started and loads; jobs without a model never say this.
    ModelLoading,
    /// It is up; the agent is checking that the way in works.
    HealthCheck,
    /// The way in works: SSH answered, and so did the model's server where there is one.
    Ready,
}

/// What became of the job's main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum MainProcess {
    /// There is none, or it has not been started yet.
    Absent,
    /// It runs.
    Running,
    /// It ended with this code; 128 + n for signal n, as shells count.
    Exited {
        /// The exit code.
        code: i32,
    },
}

/// Whether JupyterLab can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum JupyterState {
    /// It is not wanted, or has been stopped.
    Off,
    /// It is being installed or started.
    Starting,
    /// Its `/api` answered.
    Ready,
    /// It can not be had; nothing else is affected.
    Failed {
        /// Why, for the job's owner.
        error: String,
    },
}

/// What the agent says again and again, with its session secret as bearer: `POST /agent/v1/sync`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The [`Synced::version`] whose desired state the agent has applied; 0 before the first.
    pub applied: u64,
    /// How far the node has come.
    pub progress: Progress,
    /// The main process.
    pub main: MainProcess,
    /// JupyterLab.
    pub jupyter: JupyterState,
    /// Facts for the timeline that have not been acknowledged yet, oldest first and at most [`MOST_NOTES`]: which sandbox was made, why an
    /// image is missing. The agent keeps each until a sync that carried it was answered.
    pub notes: Vec<Note>,
    /// The [`Mount::freeze`] that the file system holds still for.
    #[serde(default)]
    pub frozen: Option<u64>,
    /// For how long nothing has happened there, in seconds: no SSH session open, no Jupyter kernel busy, no request in flight at the
    /// model's endpoint, no GPU at work. Relative, so that clocks need not agree; `None` from an agent that cannot say.
    #[serde(default)]
    pub idle_seconds: Option<u64>,
    /// The hash of the next session secret, when the agent rotates it; the old one dies when the new one is first used.
    pub next_session: Option<SecretHash>,
}

/// The most notes that one report carries: each is an entry in the timeline, and a transaction has room for a hundred rows.
pub const MOST_NOTES: usize = 20;

/// One fact for the timeline, numbered by the agent so that a repeated report adds it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Counts from 1 in each agent's life.
    pub number: u64,
    /// The fact, in words for the job's owner; at most 500 characters.
    pub text: String,
    /// How far within the phase of [`Report::progress`] this is, from 0 to 100, where that can be measured. It never falls within a phase.
    #[serde(default)]
    pub percent: Option<u8>,
}

/// The answer to [`Enroll`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The user's own command line for the main process, given to the image's shell as one argument (`sh -c COMMAND`), or none for
    /// a job that one only logs into.
    pub command: Option<Secret>,
    /// The model that is served here. Its server, which the agent supervises, is the main process then, in place of [`Enrolled::command`].
    #[serde(default)]
    pub serve: Option<Serve>,
    /// The user's environment, for the main process and for every session.
    pub env: BTreeMap<String, Secret>,
    /// What should be true from now on.
    pub synced: Synced,
}

/// The answer to [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// Counts the changes of the workload; the agent says in [`Report::applied`] which one it has.
    pub version: u64,
    /// Everything that should be true on the node; `None` when the agent has this version already.
    pub desired: Option<Desired>,
    /// How long to wait before the next sync, unless something changes on the node.
    pub next_sync_ms: u64,
}

/// Everything that should be true on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Who may come in, and with which keys. Whoever is not named is out: their sessions are ended.
    pub users: Vec<User>,
    /// JupyterLab on, with this token, or off.
    pub jupyter: Option<Secret>,
    /// When the job ends by itself; the agent arms it, so that it holds when nobody can be reached.
    pub expire_at: Option<Timestamp>,
    /// The job's disk, where it has one and it is there.
    #[serde(default)]
    pub disk: Option<Mount>,
    /// Lines for every open terminal, oldest first; each is shown once.
    pub notices: Vec<Notice>,
    /// Set when the node must stop.
    pub stop: Option<Stop>,
}

/// A disk that is there for a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What the cloud calls it.
    pub volume: VolumeId,
    /// Where on the node it is.
    pub device: Device,
    /// Nothing was ever written to it: the agent makes a file system. On any other it never does (invariant I15).
    pub blank: bool,
    /// The number of the disk's snapshot that comes next, under which the agent sends what is on it.
    pub next: u64,
    /// Set while a snapshot is about to be taken: the agent writes everything out, holds the file system still, says so in
    /// [`Report::frozen`], and lets go when this is gone, or by itself after [`FREEZE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<u64>,
}

/// Where a disk is on its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// A block device with this serial number: an EBS volume's is its id without the hyphen.
    Serial(String),
    /// A folder that holds its files: of this machine, or what a pod's volume was mounted at.
    Folder(String),
}

/// A file system holds still for this long at most, in seconds; then it goes on by itself, whatever became of the snapshot.
pub const FREEZE: u64 = 20;

/// Part of the list of what is on a disk: `POST /agent/v1/contents`. The parts of one list together are lines of JSON ([`Listed`]),
/// compressed with gzip. A part that was stored before is answered like the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// [`Mount::next`]: the number of the snapshot that will hold these files.
    pub snapshot: u64,
    /// Which part, counting from 0.
    pub part: u32,
    /// How many parts there are.
    pub parts: u32,
    /// The bytes, in base64; at most [`LARGEST_PART`] of them before.
    pub data: String,
}

/// The most bytes that a part of a list has.
pub const LARGEST_PART: usize = 128 * 1024;

/// The most parts that a list has: files beyond are left out, and the list says so.
pub const MOST_PARTS: u32 = 16;

/// One file or folder on a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its path from the disk's root, without a leading slash; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// `file`, `folder`, `link` or `other`.
    pub kind: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written to.
    pub modified: Timestamp,
}

/// Somebody who may come in by SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The GitHub name, or the owner's name for the keys given in the submit.
    pub name: String,
    /// Public keys, each `type base64` without options or comment.
    pub keys: Vec<String>,
}

/// A line for every open terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Grows with each notice; the agent remembers the last that it showed.
    pub number: u64,
    /// The line.
    pub text: String,
}

/// The node must stop: ask the main process and the sessions to end, and at `kill_at` end what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// When grace is over.
    pub kill_at: Timestamp,
}

/// A batch of the job's log: `POST /agent/v1/logs`. A batch that was stored before is answered like the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogBatch {
    /// Counts from 1 without gaps in each agent's life.
    pub sequence: u64,
    /// At most 500 lines and 64 KiB of text.
    pub lines: Vec<LogLine>,
}

/// Where a line of the log came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The main process's standard output.
    Stdout,
    /// The main process's standard error.
    Stderr,
}

/// One line of the job's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    /// When the agent read it.
    pub at: Timestamp,
    /// Where it came from.
    pub stream: Stream,
    /// The text without its line end, cut at 8 KiB; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The last thing an agent says, when nothing of the job runs any more: `POST /agent/v1/bye`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bye {
    /// Why it stopped, for the timeline.
    pub reason: String,
}
