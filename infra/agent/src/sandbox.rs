//! The sandbox: bubblewrap's flags, and the plain process group where bubblewrap cannot be had.
//!
//! What a sandboxed job sees: the programs of the image (or of this machine) read-only, a home folder and a scratch `/tmp` of its
//! own, its own process ids and host name, and this machine's network, so that ports forwarded by SSH are where programs listen.
//! What it does not see: the control plane's data and other jobs' folders, the homes of this machine's users (except folders
//! there that the search path names), and `/run` with its sockets, through which a root user could reach the whole machine.

mod host;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use domain::agent::Boot;
use nix::unistd::geteuid;

use self::host::{
    given_files, hidden_folders, homes_of_ours, is_anew, nvidia_devices, outermost, resolver, secret_files,
    shown_in_home,
};
use crate::{
    AgentError,
    disk::PLACE,
    environment::{IMAGE_PATH, shell},
    processes::WORKLOAD_MARK,
    spawn::on_own_thread,
};

/// Where things are in a bubblewrap sandbox.
const HOME: &str = "/home/dev";
const PROGRAM: &str = "/run/slipway/slipway";
pub(crate) const SOCKET: &str = "/run/slipway/agent.sock";
const WEIGHTS: &str = "/run/slipway/model.gguf";

/// Which kind of sandbox a job runs in, and what the job's owner should know about it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    kind: Kind,
    program: PathBuf,
    /// What stands before the command in this program's arguments.
    words: &'static [&'static str],
    socket: PathBuf,
    work_dir: PathBuf,
    workload: String,
    /// The search path of the job's processes.
    pub(crate) path: String,
    /// The home folder, as the job's processes see it.
    pub(crate) home: PathBuf,
    /// The disk, as they see it.
    pub(crate) disk: Option<PathBuf>,
    /// The file with a model's weights, as they see it.
    pub(crate) weights: Option<PathBuf>,
    /// Facts for the timeline.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    /// Bubblewrap with these flags.
    Bubblewrap(Vec<OsString>),
    /// Nothing: the processes are this machine's own.
    ProcessGroup,
}

/// Which sandbox is asked for in `SLIPWAY_SANDBOX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Auto,
    Bubblewrap,
    ProcessGroup,
}

impl Wish {
    fn read(text: Option<&str>) -> Result<Self, AgentError> {
        match text {
            None | Some("" | "auto") => Ok(Self::Auto),
            Some("bubblewrap") => Ok(Self::Bubblewrap),
            Some("process-group") => Ok(Self::ProcessGroup),
            Some(other) => Err(AgentError::Sandbox(format!(
                "SLIPWAY_SANDBOX is {other:?}; it can be auto, bubblewrap or process-group"
            ))),
        }
    }
}

impl Sandbox {
    /// Makes the job's folders and finds out which sandbox can be had, by making one for `/bin/true`.
    pub(crate) async fn prepare(
        boot: &Boot,
        socket: &Path,
        words: &'static [&'static str],
        disk: Option<&Path>,
        weights: Option<&Path>,
    ) -> Result<Self, AgentError> {
        let wish = Wish::read(std::env::var("SLIPWAY_SANDBOX").ok().as_deref())?;
        let work_dir = fs::canonicalize(&boot.work_dir).map_err(AgentError::file("using", &boot.work_dir))?;
        for folder in [work_dir.join("home"), work_dir.join("tmp")] {
            fs::create_dir_all(&folder).map_err(AgentError::file("making", &folder))?;
        }
        let host_path = std::env::var("PATH").unwrap_or_else(|_unset| IMAGE_PATH.to_owned());
        let mut sandbox = Self {
            kind: Kind::ProcessGroup,
            program: std::env::current_exe().map_err(AgentError::system("finding this program"))?,
            words,
            socket: socket.to_owned(),
            path: host_path.clone(),
            home: work_dir.join("home"),
            disk: disk.map(Path::to_owned),
            weights: weights.map(Path::to_owned),
            workload: boot.workload.to_string(),
            notes: Vec::new(),
            work_dir,
        };
        if wish == Wish::ProcessGroup {
            sandbox.notes.push(unprotected("bubblewrap is turned off here"));
        } else {
            let layout = Layout::of(boot, &sandbox, &host_path)?;
            let flags = layout.flags();
            match sandbox.tried(&flags).await {
                Ok(()) => {
                    sandbox.notes.push("Runs in a bubblewrap sandbox.".to_owned());
                    sandbox.kind = Kind::Bubblewrap(flags);
                    sandbox.path = layout.path;
                    sandbox.home = HOME.into();
                    sandbox.disk = disk.map(|_shown| PLACE.into());
                    sandbox.weights = weights.map(|_shown| WEIGHTS.into());
                }
                Err(reason) if wish == Wish::Bubblewrap => return Err(AgentError::Sandbox(reason)),
                Err(reason) => sandbox.notes.push(unprotected(&reason)),
            }
        }
        let note = sandbox.image_note(boot);
        sandbox.notes.push(note);
        Ok(sandbox)
    }

    fn image_note(&self, boot: &Boot) -> String {
        let image = &boot.image;
        let here = "is not pulled on this machine: its name is kept, and this machine's programs";
        match (&boot.image_root, &self.kind) {
            (Some(_), Kind::Bubblewrap(_)) => format!("Image {image} from the folder of unpacked images."),
            (Some(_), Kind::ProcessGroup) => {
                format!("Image {image} is not shown: that needs bubblewrap. This machine's programs run.")
            }
            (None, Kind::Bubblewrap(_)) => format!("Image {image} {here} are shown read-only."),
            (None, Kind::ProcessGroup) => format!("Image {image} {here} run."),
        }
    }

    /// Runs the real flags once with `/bin/true`; the error says in words why that did not work.
    async fn tried(&self, flags: &[OsString]) -> Result<(), String> {
        let errors = self.work_dir.join("bubblewrap.err");
        let file = fs::File::create(&errors).map_err(|error| error.to_string())?;
        let mut command = self.bubblewrap(flags);
        command.arg("/bin/true").stderr(file);
        let started = match on_own_thread(command).await {
            Err(AgentError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err("bubblewrap is missing here".to_owned());
            }
            other => other.map_err(|error| error.to_string())?,
        };
        let ended = started.ended.await.map_err(|_lost| "its end was not seen".to_owned())?;
        let status = ended.map_err(|error| error.to_string())?;
        let said = fs::read_to_string(&errors).unwrap_or_else(|error| error.to_string());
        fs::remove_file(&errors).map_err(|error| error.to_string())?;
        let said = said.trim();
        if status.success() { Ok(()) } else { Err(format!("bubblewrap is forbidden here ({status}: {said})")) }
    }

    /// bubblewrap with these flags, ready for the program and its arguments.
    fn bubblewrap(&self, flags: &[OsString]) -> Command {
        let mut command = Command::new("bwrap");
        let path = std::env::var_os("PATH").unwrap_or_else(|| IMAGE_PATH.into());
        command.env_clear().env("PATH", path).env(WORKLOAD_MARK, &self.workload);
        command.args(flags).arg("--").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The command that starts the inner copy of the agent.
    ///
    /// It gets none of our environment: what the control plane's starter has there is not the job's. The job's own values go over
    /// the socket, because a command line can be read by everybody on the machine.
    pub(crate) fn command(&self) -> Command {
        use std::os::unix::process::CommandExt;
        match &self.kind {
            Kind::Bubblewrap(flags) => {
                let mut command = self.bubblewrap(flags);
                command.arg(PROGRAM).args(self.words).args(["inner", "--socket", SOCKET]);
                command
            }
            Kind::ProcessGroup => {
                let mut command = Command::new(&self.program);
                command.args(self.words).args(["inner", "--socket"]).arg(&self.socket);
                command.env_clear().env("PATH", &self.path).env(WORKLOAD_MARK, &self.workload);
                command.env("HOME", &self.home).env("LANG", "C.UTF-8").current_dir(&self.home);
                command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
                command
            }
        }
    }
}

fn unprotected(reason: &str) -> String {
    format!("{reason}: runs as a plain process group, without isolation from this machine's other programs.")
}

/// One entry of the root folder that the job shall see.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Folder(String),
    Link { name: String, target: PathBuf },
}

/// Everything that decides bubblewrap's flags.
#[derive(Debug)]
struct Layout {
    root: PathBuf,
    entries: Vec<Entry>,
    /// The homes of the user that we run as, shown empty.
    homes: Vec<PathBuf>,
    /// The fleet's folders, shown empty.
    hidden: Vec<PathBuf>,
    /// Files of this machine's that are shown empty.
    masked: Vec<PathBuf>,
    /// Folders that are shown although they lie in hidden ones.
    shown: Vec<PathBuf>,
    /// Files that are shown although they lie in places that are the job's own or empty: a model server's program and what it is given.
    given: Vec<PathBuf>,
    /// Files and folders for host names, as (here, there).
    resolver: Option<(PathBuf, PathBuf)>,
    devices: Vec<PathBuf>,
    var_tmp: bool,
    as_root: bool,
    host_name: String,
    program: PathBuf,
    socket: PathBuf,
    disk: Option<PathBuf>,
    weights: Option<PathBuf>,
    work_dir: PathBuf,
    path: String,
    workload: String,
}

impl Layout {
    /// Looks around on this machine.
    fn of(boot: &Boot, sandbox: &Sandbox, host_path: &str) -> Result<Self, AgentError> {
        let here = boot.image_root.is_none();
        let root = PathBuf::from(boot.image_root.as_deref().unwrap_or("/"));
        let as_root = geteuid().is_root();
        let (mut homes, mut hidden, mut masked, mut shown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        if here {
            homes = homes_of_ours();
            shown = homes.iter().flat_map(|home| shown_in_home(host_path, home)).collect();
            homes = outermost(homes);
            hidden = hidden_folders(&boot.hidden, &sandbox.work_dir)?;
            masked = if as_root { secret_files() } else { Vec::new() };
            let covered = |file: &Path| homes.iter().chain(&hidden).any(|folder| file.starts_with(folder));
            masked.extend(fs::canonicalize(&boot.host_key).ok().filter(|key| !is_anew(key) && !covered(key)));
        }
        let server = boot.model_server.as_ref().filter(|_server| boot.model_port.is_some());
        let given = given_files(server, &homes, &boot.hidden);
        let simulated = boot.gpus_simulated || boot.gpus.is_empty();
        Ok(Self {
            entries: entries(&root).map_err(AgentError::file("reading", &root))?,
            homes,
            hidden,
            masked,
            shown,
            given,
            resolver: resolver(&root, here),
            devices: if simulated { Vec::new() } else { nvidia_devices() },
            var_tmp: root.join("var/tmp").is_dir(),
            root,
            as_root,
            host_name: format!("slipway-{}", boot.workload.short()),
            program: sandbox.program.clone(),
            socket: sandbox.socket.clone(),
            disk: sandbox.disk.clone(),
            weights: sandbox.weights.clone(),
            work_dir: sandbox.work_dir.clone(),
            path: if here { host_path.to_owned() } else { IMAGE_PATH.to_owned() },
            workload: sandbox.workload.clone(),
        })
    }

    /// bubblewrap's flags. Later ones cover earlier ones.
    fn flags(&self) -> Vec<OsString> {
        let mut flags = Flags::default();
        self.namespaces(&mut flags);
        self.file_system(&mut flags);
        flags.add(["--chdir", HOME, "--clearenv"]);
        for (name, value) in [
            ("PATH", self.path.as_str()),
            ("HOME", HOME),
            ("USER", "dev"),
            ("SHELL", shell()),
            ("LANG", "C.UTF-8"),
            (WORKLOAD_MARK, &self.workload),
        ] {
            flags.add(["--setenv", name, value]);
        }
        flags.0
    }

    /// The network stays shared: ports on loopback are the way in.
    fn namespaces(&self, flags: &mut Flags) {
        flags.add(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
        if self.as_root {
            // A root user with its capabilities could take away the mounts that hide things.
            flags.add(["--cap-drop", "ALL"]);
        } else {
            flags.add(["--unshare-user"]);
        }
        flags.add(["--die-with-parent", "--new-session", "--hostname", &self.host_name]);
    }

    /// The root is an empty file system in memory into which the real root's entries are bound one by one, so that the places we
    /// need exist whatever the image holds; in the end it is made read-only itself.
    fn file_system(&self, flags: &mut Flags) {
        for entry in &self.entries {
            match entry {
                // Another thing of this name would be in the disk's place.
                Entry::Folder(name) | Entry::Link { name, .. } if self.disk.is_some() && PLACE[1..] == **name => {}
                Entry::Folder(name) => flags.bind("--ro-bind", self.root.join(name), Path::new("/").join(name)),
                Entry::Link { name, target } => flags.bind("--symlink", target, Path::new("/").join(name)),
            }
        }
        flags.add(["--ro-bind", "/sys", "/sys", "--dev", "/dev", "--proc", "/proc"]);
        for device in &self.devices {
            flags.bind("--dev-bind-try", device, device);
        }
        flags.bind("--bind", self.work_dir.join("tmp"), "/tmp");
        if self.var_tmp {
            flags.bind("--bind", self.work_dir.join("tmp"), "/var/tmp");
        }
        flags.add(["--tmpfs", "/run", "--tmpfs", "/home"]);
        flags.empty(&self.homes);
        for folder in &self.shown {
            flags.bind("--ro-bind", folder, folder);
        }
        for file in &self.given {
            flags.bind("--ro-bind", file, file);
        }
        // After what is shown, so that nothing shown can bring these back.
        flags.empty(&self.hidden);
        for file in &self.masked {
            flags.bind("--ro-bind", "/dev/null", file);
        }
        if let Some((here, there)) = &self.resolver {
            flags.bind("--ro-bind", here, there);
        }
        flags.bind("--bind", self.work_dir.join("home"), HOME);
        if let Some(disk) = &self.disk {
            flags.bind("--bind", disk, PLACE);
        }
        flags.bind("--ro-bind", &self.program, PROGRAM);
        if let Some(weights) = &self.weights {
            flags.bind("--ro-bind", weights, WEIGHTS);
        }
        flags.bind("--bind", &self.socket, SOCKET);
        flags.add(["--remount-ro", "/"]);
    }
}

#[derive(Default)]
struct Flags(Vec<OsString>);

impl Flags {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    fn empty<'a>(&mut self, folders: impl IntoIterator<Item = &'a PathBuf>) {
        for folder in folders {
            self.0.extend(["--tmpfs".into(), folder.into()]);
        }
    }

    fn bind(&mut self, how: &str, from: impl Into<OsString>, to: impl Into<OsString>) {
        self.0.extend([how.into(), from.into(), to.into()]);
    }
}

/// The root's entries, without those that get a file system of their own.
fn entries(root: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if ["proc", "dev", "sys", "tmp", "run", "home"].contains(&name.as_str()) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            found.push(Entry::Link { name, target: fs::read_link(entry.path())? });
        } else if kind.is_dir() {
            found.push(Entry::Folder(name));
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "sandbox_tests.rs"]
mod tests;
