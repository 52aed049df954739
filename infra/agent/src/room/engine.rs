//! The machine's container engine, as a program: which one there is, and what it is asked.
//!
//! Everything is an argument of its own. The image's name, which is the user's, stands behind `--`, so that it is never an option.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use cloud::Clock;
use domain::{
    WorkloadId,
    agent::{Boot, CAPABILITIES},
};
use tokio::process::Command;

use crate::{AgentError, disk::PLACE, orphans, processes::WORKLOAD_MARK};

/// How long the engine may take to come up after the machine has booted, how often it is asked, and how long one question may take.
const UP_ATTEMPTS: u32 = 60;
const UP_PAUSE: Duration = Duration::from_secs(2);
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// How much of what it says is kept.
const SAID_MOST: usize = 2_000;

/// The label by which a workload's containers are found.
const LABEL: &str = "slipway.workload";
/// Where things are in a container: the same places as in a pod.
const PROGRAM: &str = "/slipway/agent";
const RUN: &str = "/slipway/run";
const SOCKET: &str = "/slipway/run/agent.sock";
/// The file with a model's weights.
pub(super) const WEIGHTS: &str = "/slipway/model.gguf";
/// The home folder of the job's processes, which is a folder of the machine's.
const HOME: &str = "/home/dev";

/// The most processes and threads of a job. Each costs the machine some 20 KB of memory that nothing else bounds: 0.6 GB in all.
const MOST_PROCESSES: u32 = 32_768;
/// Shared memory where the machine's size cannot be read, in KiB.
const USUAL_SHARED_MEMORY_KIB: u64 = 1024 * 1024;

/// A container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Docker,
    Podman,
}

/// What the engine is asked to do, as its arguments.
#[derive(Clone, Debug)]
pub(super) struct Layout<'a> {
    pub(super) boot: &'a Boot,
    /// This program, on the machine.
    pub(super) program: PathBuf,
    /// The folder with the socket, on the machine.
    pub(super) run: PathBuf,
    /// The home folder, on the machine.
    pub(super) home: PathBuf,
    /// The disk, on the machine.
    pub(super) disk: Option<PathBuf>,
    /// The file with a model's weights, on the machine.
    pub(super) weights: Option<PathBuf>,
    pub(super) shared_memory_kib: u64,
}

/// The container's name, which only one can have.
pub(super) fn name(workload: WorkloadId) -> String {
    format!("slipway-{workload}")
}

impl Engine {
    /// The one that answers on this machine.
    ///
    /// # Errors
    /// When there is none, or none comes up in time; in their words.
    pub(super) async fn found(clock: &dyn Clock) -> Result<Self, AgentError> {
        let mut attempts = 0;
        loop {
            let (mut missing, mut said) = (0, Vec::new());
            for engine in [Self::Docker, Self::Podman] {
                match engine.asked(["version"]).await {
                    Ok(_versions) => return Ok(engine),
                    Err(Refusal::Missing) => missing += 1,
                    Err(Refusal::Said(words)) => said.push(format!("{}: {words}", engine.program())),
                }
            }
            attempts += 1;
            if missing == 2 {
                return Err(AgentError::Engine("this machine has neither docker nor podman".to_owned()));
            }
            if attempts >= UP_ATTEMPTS {
                return Err(AgentError::Engine(said.join("; ")));
            }
            clock.sleep(UP_PAUSE).await;
        }
    }

    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// Whether the machine has the image already.
    pub(super) async fn has(self, image: &str) -> bool {
        self.asked(["image", "inspect", "--format", "{{.Id}}", "--", image]).await.is_ok()
    }

    /// Takes away what there is of the workload's containers; how many stay for all that.
    pub(super) async fn remove(self, workload: WorkloadId) -> Result<usize, String> {
        let filter = format!("label={LABEL}={workload}");
        let list = ["ps", "--all", "--quiet", "--filter", &filter];
        let found = self.asked(list).await.map_err(Refusal::words)?;
        for id in found.split_whitespace() {
            let removed = match self {
                Self::Docker => self.asked(["rm", "--force", "--volumes", id]).await,
                // It would wait for ten seconds first.
                Self::Podman => self.asked(["rm", "--force", "--volumes", "--time", "0", id]).await,
            };
            if let Err(refusal) = removed {
                // It may have gone by itself between the two; the second look says so.
                tracing::debug!(id, words = refusal.words(), "a container could not be removed");
            }
        }
        let left = self.asked(list).await.map_err(Refusal::words)?;
        Ok(left.split_whitespace().count())
    }

    /// Asks, and gives what was answered.
    async fn asked<const N: usize>(self, words: [&str; N]) -> Result<String, Refusal> {
        let mut command = Command::new(self.program());
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Refusal::Missing),
            Err(error) => return Err(Refusal::Said(error.to_string())),
        };
        orphans::awaited(child.id());
        match tokio::time::timeout(ANSWERED_WITHIN, child.wait_with_output()).await {
            Ok(Ok(Output { status, stdout, .. })) if status.success() => {
                Ok(String::from_utf8_lossy(&stdout).into_owned())
            }
            Ok(Ok(Output { status, stderr, .. })) => Err(Refusal::Said(match last_words(&stderr) {
                words if words.is_empty() => status.to_string(),
                words => words,
            })),
            Ok(Err(error)) => Err(Refusal::Said(error.to_string())),
            Err(_late) => Err(Refusal::Said(format!("no answer within {} seconds", ANSWERED_WITHIN.as_secs()))),
        }
    }

    /// The arguments that pull the image.
    pub(super) fn pull(self, image: &str) -> Vec<OsString> {
        ["pull", "--", image].map(OsString::from).into()
    }

    /// The arguments that start the job's container, attached to the program that starts it.
    pub(super) fn run(self, layout: &Layout<'_>) -> Vec<OsString> {
        let boot = layout.boot;
        let mut words = Words::default();
        words.add(["run", "--rm", "--pull", "never", "--log-driver", "none", "--name"]).one(name(boot.workload));
        words.add(["--label"]).one(format!("{LABEL}={}", boot.workload));
        words.add(["--hostname"]).one(format!("slipway-{}", boot.workload.short()));
        // A network of its own, from which the machine's metadata service is one hop too far.
        words.add(["--network", "bridge"]);
        words.add(["--publish"]).one(published(&boot.listen, boot.ssh_port));
        words.add(["--publish"]).one(published("127.0.0.1", boot.jupyter_port));
        if let Some(port) = boot.model_port {
            words.add(["--publish"]).one(published(&boot.listen, port));
        }
        words.add(["--security-opt", "no-new-privileges", "--cap-drop", "ALL"]);
        // What root may do is the same as in a pod.
        for (capability, _why) in CAPABILITIES {
            words.add(["--cap-add", capability]);
        }
        words.add(["--pids-limit"]).one(MOST_PROCESSES.to_string());
        // Data loaders pass batches through shared memory, of which a container has 64 MB by default.
        words.add(["--shm-size"]).one(format!("{}k", layout.shared_memory_kib));
        self.gpus(boot, &mut words);
        words.add(["--mount"]).one(mounted(&layout.program, PROGRAM, true));
        words.add(["--mount"]).one(mounted(&layout.run, RUN, true));
        words.add(["--mount"]).one(mounted(&layout.home, HOME, false));
        if let Some(disk) = &layout.disk {
            words.add(["--mount"]).one(mounted(disk, PLACE, false));
        }
        if let Some(weights) = &layout.weights {
            words.add(["--mount"]).one(mounted(weights, WEIGHTS, true));
        }
        words.add(["--env"]).one(format!("{WORKLOAD_MARK}={}", boot.workload));
        words.add(["--env"]).one(format!("HOME={HOME}"));
        words.add(["--entrypoint", PROGRAM, "--", &boot.image, "inner", "--socket", SOCKET]);
        words.0
    }

    fn gpus(self, boot: &Boot, words: &mut Words) {
        if boot.gpus.is_empty() || boot.gpus_simulated {
            // An image may ask for all of them, and a machine's default runtime may heed it.
            words.add(["--env", "NVIDIA_VISIBLE_DEVICES=void"]);
            return;
        }
        match self {
            Self::Docker => {
                let devices: Vec<String> = boot.gpus.iter().map(u32::to_string).collect();
                // The quotes are docker's own: without them what follows a comma is another option.
                words.add(["--gpus"]).one(format!("\"device={}\"", devices.join(",")));
            }
            Self::Podman => {
                for gpu in &boot.gpus {
                    words.add(["--device"]).one(format!("nvidia.com/gpu={gpu}"));
                }
            }
        }
    }
}

/// Why the engine did not do something.
#[derive(Debug)]
enum Refusal {
    /// There is no such program.
    Missing,
    Said(String),
}

impl Refusal {
    fn words(self) -> String {
        match self {
            Self::Missing => "it is not there any more".to_owned(),
            Self::Said(words) => words,
        }
    }
}

#[derive(Debug, Default)]
struct Words(Vec<OsString>);

impl Words {
    fn add<const N: usize>(&mut self, words: [&str; N]) -> &mut Self {
        self.0.extend(words.map(OsString::from));
        self
    }

    fn one(&mut self, word: impl Into<OsString>) {
        self.0.push(word.into());
    }
}

/// A port of the container's as the same port at an address of the machine's.
fn published(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}:{port}/tcp")
    } else {
        format!("{address}:{port}:{port}/tcp")
    }
}

/// A file or folder of the machine's in the container. It is a line of CSV: a path with a comma or a quote is quoted.
fn mounted(from: &Path, to: &str, read_only: bool) -> OsString {
    let field = format!("source={}", from.display());
    let field = if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field };
    let access = if read_only { ",readonly" } else { "" };
    format!("type=bind,{field},target={to}{access}").into()
}

/// The end of what a program said, as one line.
pub(crate) fn last_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(&said[said.len().saturating_sub(SAID_MOST)..]).into_owned();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Half of the machine's memory, in KiB, as for a pod.
pub(super) fn shared_memory_kib() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    total_kib(&memory).map_or(USUAL_SHARED_MEMORY_KIB, |total| total / 2)
}

fn total_kib(meminfo: &str) -> Option<u64> {
    meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
