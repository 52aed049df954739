//! What of this machine a sandbox shows, and what it hides.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use domain::agent::ModelServer;
use nix::unistd::{User, geteuid};

use crate::AgentError;

/// Places that every job gets anew, so that nothing in them needs hiding.
const ANEW: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/home"];

/// Folders under a user's home that hold a whole installation, as virtual environments do; of others only what the search path names is shown, because they
/// hold secrets too (`.cargo` has the registry's token beside its `bin`).
const INSTALLATIONS: [&str; 6] = [".pyenv", ".conda", "anaconda3", "miniconda3", "miniforge3", "mambaforge"];

/// The homes of the user that we run as: the one that we were told, and the one in the list of users. Links in their paths lead to
/// where the files can be seen too. A service's user may have `/` or `/usr/sbin` for a home, without which nothing would run.
pub(super) fn homes_of_ours() -> Vec<PathBuf> {
    let deeper_than = |parts: usize| move |home: &PathBuf| home.components().count() > parts;
    let told = std::env::var_os("HOME").map(PathBuf::from).filter(deeper_than(1));
    let listed = User::from_uid(geteuid()).ok().flatten().and_then(|user| fs::canonicalize(user.dir).ok());
    let listed = listed.filter(|home| is_a_users_home(home)).filter(|home| {
        let owner = fs::metadata(home).ok().filter(fs::Metadata::is_dir).map(|found| found.uid());
        owner == Some(geteuid().as_raw())
    });
    let real = told.as_ref().and_then(|home| fs::canonicalize(home).ok()).filter(deeper_than(1));
    told.into_iter().chain(real).chain(listed).collect()
}

/// Whether this is a folder that a person's files are in, and not one of the system's that a service's user has for a home.
pub(super) fn is_a_users_home(home: &Path) -> bool {
    let systems = ["/usr", "/bin", "/sbin", "/lib", "/etc", "/dev", "/proc", "/sys"];
    home == Path::new("/root")
        || (home.components().count() > 2 && !systems.iter().any(|folder| home.starts_with(folder)))
}

/// The fleet's folders as they really are: the ones it names, and the job's own, which is shown in its own places only. One that
/// cannot be found is an error, because what cannot be named cannot be hidden.
pub(super) fn hidden_folders(folders: &[String], work_dir: &Path) -> Result<Vec<PathBuf>, AgentError> {
    let mut hidden = vec![work_dir.to_owned()];
    for folder in folders {
        hidden.push(fs::canonicalize(folder).map_err(AgentError::file("hiding", folder))?);
    }
    Ok(outermost(hidden))
}

/// Whether this lies in a place that a job gets anew anyway.
pub(super) fn is_anew(path: &Path) -> bool {
    ANEW.iter().any(|place| path.starts_with(place))
}

/// Those folders that are not in one another, nor in a place that a job gets anew.
pub(super) fn outermost(folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for folder in folders {
        if is_anew(&folder) || kept.iter().any(|outer| folder.starts_with(outer)) {
            continue;
        }
        kept.retain(|inner| !inner.starts_with(&folder));
        kept.push(folder);
    }
    kept
}

/// The files among the arguments of a model server of the installation's own, in which a job would see nothing. Of the fleet's folders nothing
/// is shown whoever names it.
pub(super) fn given_files(server: Option<&ModelServer>, homes: &[PathBuf], fleets: &[String]) -> Vec<PathBuf> {
    let Some(ModelServer::Command { argv }) = server else { return Vec::new() };
    let fleets = fleets.iter().filter_map(|folder| fs::canonicalize(folder).ok()).collect::<Vec<_>>();
    let unseen = |file: &Path| is_anew(file) || homes.iter().any(|home| file.starts_with(home));
    let shown = |real: PathBuf| real.is_file() && !fleets.iter().any(|folder| real.starts_with(folder));
    let files = argv.iter().map(PathBuf::from).filter(|file| file.is_absolute() && unseen(file));
    files.filter(|file| fs::canonicalize(file).is_ok_and(shown)).collect()
}

/// Folders under `home` that the search path needs.
pub(super) fn shown_in_home(path: &str, home: &Path) -> Vec<PathBuf> {
    let mut shown: Vec<PathBuf> = Vec::new();
    for entry in path.split(':').map(Path::new) {
        let Ok(within) = entry.strip_prefix(home) else { continue };
        let Some(first) = within.components().next().map(|first| first.as_os_str().to_owned()) else { continue };
        let whole = INSTALLATIONS.iter().any(|name| *name == first);
        // A virtual environment's programs are of no use without what is installed beside them.
        let environment = entry.parent().filter(|folder| folder.join("pyvenv.cfg").is_file());
        let folder = match environment {
            _ if whole => home.join(first),
            Some(environment) => environment.to_owned(),
            None => entry.to_owned(),
        };
        if folder.is_dir() && !shown.contains(&folder) {
            shown.push(folder);
        }
    }
    shown
}

/// Files that only root can read on this machine, which a root user in the sandbox would be able to.
pub(super) fn secret_files() -> Vec<PathBuf> {
    let host_keys = fs::read_dir("/etc/ssh").into_iter().flatten().flatten().map(|entry| entry.path());
    let host_keys = host_keys.filter(|path| path.to_string_lossy().ends_with("_key"));
    ["/etc/shadow", "/etc/gshadow"]
        .map(PathBuf::from)
        .into_iter()
        .chain(host_keys)
        .filter(|path| path.is_file())
        .collect()
}

/// How names are resolved: where `/etc/resolv.conf` points into the hidden `/run`, or this machine's for an image that has one.
pub(super) fn resolver(root: &Path, here: bool) -> Option<(PathBuf, PathBuf)> {
    let ours = fs::canonicalize("/etc/resolv.conf").ok()?;
    if here {
        return ours.starts_with("/run").then(|| (ours.clone(), ours));
    }
    let theirs = fs::symlink_metadata(root.join("etc/resolv.conf")).ok()?;
    theirs.is_file().then(|| (ours, PathBuf::from("/etc/resolv.conf")))
}

/// The NVIDIA driver's devices. All of them: which GPUs are the job's is told by `CUDA_VISIBLE_DEVICES`, whose numbers would not
/// fit if some were missing.
pub(super) fn nvidia_devices() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/dev") else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("nvidia"))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}
