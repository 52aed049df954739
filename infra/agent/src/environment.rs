//! The environment that a job's processes see.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, User, access, geteuid};

use crate::{
    link::{Setup, Start},
    processes::WORKLOAD_MARK,
};

/// A job's environment; built from nothing, so that none of ours can leak into it.
pub(crate) type Environment = BTreeMap<String, String>;

/// The search path where an image brings its own programs.
pub(crate) const IMAGE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The image's shell: bash where there is one.
pub(crate) fn shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// What a job's environment is built upon, and the folder that its sessions begin in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ground {
    pub(crate) home: PathBuf,
    pub(crate) values: Environment,
}

/// What this process was started with, as far as it is text.
pub(crate) fn own() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// What the job's environment starts from; `own` is what this process was started with.
pub(crate) fn ground(start: &Start, own: Environment, shell: &str) -> Ground {
    let (home, mut values, user) = match start {
        Start::Nothing { path, home } => {
            let values = Environment::from([("PATH".to_owned(), path.clone())]);
            (home.clone(), values, "dev".to_owned())
        }
        Start::Image => {
            let listed = User::from_uid(geteuid()).ok().flatten();
            let home = home_of_image(own.get("HOME").map(PathBuf::from), listed.as_ref().map(|user| user.dir.clone()));
            let mut values = own;
            values.retain(|name, _value| is_name(name) && !name.starts_with("SLIPWAY_"));
            values.entry("PATH".to_owned()).or_insert_with(|| IMAGE_PATH.to_owned());
            (home, values, listed.map_or_else(|| "dev".to_owned(), |user| user.name))
        }
    };
    let ours =
        [("HOME", home.display().to_string()), ("USER", user.clone()), ("LOGNAME", user), ("SHELL", shell.to_owned())];
    values.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    values.entry("LANG".to_owned()).or_insert_with(|| "C.UTF-8".to_owned());
    Ground { home, values }
}

/// The first of these that can be written: an image may be run as a user whose home it does not have.
fn home_of_image(told: Option<PathBuf>, listed: Option<PathBuf>) -> PathBuf {
    let usable = |home: &PathBuf| home.is_absolute() && home.is_dir() && access(home, AccessFlags::W_OK).is_ok();
    told.into_iter().chain(listed).find(usable).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// What every process of the job finds in its environment. The job's own values win over ours, except over `SLIPWAY_...` and over what
/// says which GPUs it has: those beside them are other jobs'.
pub(crate) fn of_job(setup: &Setup, ground: Environment) -> Environment {
    let devices = setup.gpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut environment = ground;
    environment.extend(
        setup
            .env
            .iter()
            .filter(|(name, value)| is_name(name) && !name.starts_with("SLIPWAY_") && !value.reveal().contains('\0'))
            .map(|(name, value)| (name.clone(), value.reveal().to_owned())),
    );
    environment.extend(
        [
            (WORKLOAD_MARK, setup.workload.to_string()),
            ("SLIPWAY_IMAGE", setup.image.clone()),
            ("CUDA_VISIBLE_DEVICES", devices.clone()),
            ("NVIDIA_VISIBLE_DEVICES", devices),
            // Our numbers are NVML's, which counts by bus; CUDA by itself puts the fastest first.
            ("CUDA_DEVICE_ORDER", "PCI_BUS_ID".to_owned()),
            ("SLIPWAY_GPUS", setup.gpus.len().to_string()),
            ("SLIPWAY_GPUS_SIMULATED", u8::from(setup.gpus_simulated).to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    environment.extend(setup.disk.iter().map(|disk| ("SLIPWAY_DISK".to_owned(), disk.display().to_string())));
    environment
}

/// Whether an SSH client may set this variable for its session: the ones about language and the terminal, which stock clients send.
pub(crate) fn client_may_set(name: &str) -> bool {
    is_name(name) && (name == "LANG" || name == "TERM" || name == "COLORTERM" || name.starts_with("LC_"))
}

/// A name that every shell and every C library takes.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
pub(crate) mod tests {
    use cloud::{Ids, OsIds};
    use domain::{Secret, Timestamp};

    use super::*;

    /// A job for tests, in `home`.
    pub(crate) fn setup(home: &Path) -> Setup {
        Setup {
            workload: OsIds.workload(Timestamp::from_millis(0)),
            host_key: Secret::new(""),
            listen: "127.0.0.1".into(),
            ssh_port: 0,
            jupyter_listen: "127.0.0.1".into(),
            jupyter_port: 0,
            start: Start::Nothing { path: IMAGE_PATH.into(), home: home.to_owned() },
            image: "pytorch:latest".into(),
            gpus: vec![2, 5],
            gpus_simulated: true,
            disk: Some("/disk".into()),
            command: None,
            model: None,
            model_port: None,
            watch_gpus: false,
            env: BTreeMap::new(),
        }
    }

    #[test]
    fn the_jobs_values_win_except_over_ours() {
        let mut job = setup(Path::new("/home/dev"));
        for (name, value) in [
            ("WANDB", "k"),
            ("LANG", "de"),
            ("SLIPWAY_GPUS", "9"),
            ("SLIPWAY_DISK", "/etc"),
            ("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7"),
            ("NVIDIA_VISIBLE_DEVICES", "all"),
            ("CUDA_DEVICE_ORDER", "FASTEST_FIRST"),
            ("1X", "no"),
            ("A=B", "no"),
            ("N", "a\0b"),
            ("", "x"),
        ] {
            job.env.insert(name.into(), Secret::new(value));
        }
        let environment = of_job(&job, ground(&job.start, own(), "/bin/sh").values);
        for (name, value) in [
            ("WANDB", Some("k")),
            ("LANG", Some("de")),
            ("HOME", Some("/home/dev")),
            ("USER", Some("dev")),
            ("SHELL", Some("/bin/sh")),
            ("SLIPWAY_GPUS", Some("2")),
            ("SLIPWAY_DISK", Some("/disk")),
            ("SLIPWAY_GPUS_SIMULATED", Some("1")),
            ("SLIPWAY_IMAGE", Some("pytorch:latest")),
            ("CUDA_VISIBLE_DEVICES", Some("2,5")),
            ("NVIDIA_VISIBLE_DEVICES", Some("2,5")),
            ("CUDA_DEVICE_ORDER", Some("PCI_BUS_ID")),
            ("1X", None),
            ("A=B", None),
            ("N", None),
            ("", None),
        ] {
            assert_eq!(environment.get(name).map(String::as_str), value, "{name}");
        }
        assert_eq!(environment[WORKLOAD_MARK], job.workload.to_string());
    }

    #[test]
    fn what_an_image_sets_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let image = |home: &str| {
            Environment::from(
                [
                    ("PATH", "/opt/conda/bin:/bin"),
                    ("LD_LIBRARY_PATH", "/usr/local/cuda/lib64"),
                    ("LANG", "de"),
                    ("HOME", home),
                    ("USER", "somebody"),
                    ("SLIPWAY_WORKLOAD", "ours"),
                    ("a-b", "no"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            )
        };
        let told = home.path().to_str().unwrap();
        let found = ground(&Start::Image, image(told), "/bin/sh");
        let user = User::from_uid(geteuid()).unwrap().map_or("dev".to_owned(), |user| user.name);
        assert_eq!(found.home, home.path());
        for (name, value) in [
            ("PATH", Some("/opt/conda/bin:/bin")),
            ("LD_LIBRARY_PATH", Some("/usr/local/cuda/lib64")),
            ("LANG", Some("de")),
            ("HOME", Some(told)),
            ("USER", Some(&user)),
            ("SLIPWAY_WORKLOAD", None),
            ("a-b", None),
        ] {
            assert_eq!(found.values.get(name).map(String::as_str), value, "{name}");
        }
        assert_ne!(ground(&Start::Image, image("/no-such-home"), "/bin/sh").home, Path::new("/no-such-home"));
        assert_eq!(ground(&Start::Image, Environment::new(), "/bin/sh").values["PATH"], IMAGE_PATH);
        let nothing = Start::Nothing { path: "/p".into(), home: "/h".into() };
        assert_eq!(ground(&nothing, image(told), "/bin/sh").values.get("LD_LIBRARY_PATH"), None);
    }

    #[test]
    fn a_home_is_a_folder_that_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let (good, none) = (folder.path().to_owned(), PathBuf::from("/no-such-folder"));
        for (told, listed, home) in [
            (Some(&good), Some(&none), good.as_path()),
            (Some(&none), Some(&good), &good),
            (None, Some(&none), Path::new("/tmp")),
            (Some(&PathBuf::from("relative")), None, Path::new("/tmp")),
        ] {
            assert_eq!(home_of_image(told.cloned(), listed.cloned()), home);
        }
    }

    #[test]
    fn clients_set_language_and_terminal_only() {
        for (name, allowed) in
            [("LANG", true), ("LC_ALL", true), ("TERM", true), ("LD_PRELOAD", false), ("PATH", false), ("LC_=", false)]
        {
            assert_eq!(client_may_set(name), allowed, "{name}");
        }
    }
}
