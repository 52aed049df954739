//! The environment that a job's processes see.

use std::{collections::BTreeMap, path::Path};

use crate::{link::Setup, processes::WORKLOAD_MARK};

/// A job's environment; built from nothing, so that none of ours can leak into it.
pub(crate) type Environment = BTreeMap<String, String>;

/// The search path where an image brings its own programs.
pub(crate) const IMAGE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The image's shell: bash where there is one.
pub(crate) fn shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// What every process of the job finds in its environment. The job's own values win over ours, except over `SLIPWAY_...` and over what
/// says which GPUs it has: those beside them are other jobs'.
pub(crate) fn of_job(setup: &Setup, shell: &str) -> Environment {
    let devices = setup.gpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut environment = Environment::from_iter(
        [
            ("PATH", setup.path.clone()),
            ("HOME", setup.home.display().to_string()),
            ("USER", "dev".to_owned()),
            ("LOGNAME", "dev".to_owned()),
            ("SHELL", shell.to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
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
            jupyter_port: 0,
            home: home.to_owned(),
            path: IMAGE_PATH.into(),
            image: "pytorch:latest".into(),
            gpus: vec![2, 5],
            gpus_simulated: true,
            command: None,
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
        let environment = of_job(&job, "/bin/sh");
        for (name, value) in [
            ("WANDB", Some("k")),
            ("LANG", Some("de")),
            ("HOME", Some("/home/dev")),
            ("USER", Some("dev")),
            ("SHELL", Some("/bin/sh")),
            ("SLIPWAY_GPUS", Some("2")),
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
    fn clients_set_language_and_terminal_only() {
        for (name, allowed) in
            [("LANG", true), ("LC_ALL", true), ("TERM", true), ("LD_PRELOAD", false), ("PATH", false), ("LC_=", false)]
        {
            assert_eq!(client_may_set(name), allowed, "{name}");
        }
    }
}
