//! A block device with a disk on it: found by its serial number, given a file system if it never had one, and mounted.
//!
//! The machine's own programs do it. Each is started with arguments of ours alone.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use cloud::{Clock, SystemClock};
use tokio::process::Command;

use crate::{AgentError, orphans, room::last_words};

/// How long a device may take to appear after the cloud has said that it is there, and how often it is looked for.
const LOOKS: u32 = 60;
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How long a program may take. A file system on the largest volume is made in less than a minute.
const DONE_WITHIN: Duration = Duration::from_secs(5 * 60);
/// How often the end of what still uses the file system is waited for.
const UNMOUNTS: u32 = 10;
/// The beginning of a device, where every file system has something.
const BEGINNING: usize = 1024 * 1024;

/// Where devices are looked for, and with what they are worked on; tests have others.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// The kernel's block devices.
    pub(crate) blocks: PathBuf,
    /// Where their files are.
    pub(crate) devices: PathBuf,
    /// What is mounted where.
    pub(crate) mounts: PathBuf,
    /// The search path for programs, if it is another one than ours.
    pub(crate) path: Option<OsString>,
    /// How often a device is looked for.
    pub(crate) looks: u32,
}

impl Default for Tools {
    fn default() -> Self {
        let (blocks, devices, mounts) = ("/sys/block".into(), "/dev".into(), "/proc/self/mounts".into());
        Self { blocks, devices, mounts, path: None, looks: LOOKS }
    }
}

/// A device that is mounted.
#[derive(Debug)]
pub(super) struct Mounted {
    place: PathBuf,
    tools: Tools,
    /// What the job's owner should know.
    pub(super) note: Option<String>,
}

impl Mounted {
    /// Mounts the device with this serial number at `place`.
    pub(super) async fn at(place: &Path, serial: &str, blank: bool, tools: Tools) -> Result<Self, AgentError> {
        let device = tools.appeared(serial).await?;
        fs::create_dir_all(place).map_err(AgentError::file("making", place))?;
        let mut mounted = Self { place: place.to_owned(), tools, note: None };
        if let Some(there) = mounted.tools.mounted_at(place)? {
            // An agent before this one did it, and may have been killed while it held the file system still.
            if there != device {
                return Err(AgentError::Disk(format!("{} is there already", there.display())));
            }
            mounted.thaw().await;
            return Ok(mounted);
        }
        let fresh = match mounted.tools.file_system(&device).await? {
            Some(kind) => {
                tracing::info!(kind, "the disk has a file system");
                false
            }
            None if blank && is_zeros(&device)? => {
                mounted.tools.done("mkfs.ext4", &[&"-q", &"-F", &"-m", &"0", &device]).await?;
                true
            }
            None if blank => return Err(AgentError::Disk("it should be empty, and is not".to_owned())),
            None => return Err(AgentError::Disk("it should have files, and has no file system".to_owned())),
        };
        let tools = &mounted.tools;
        tools.done("mount", &[&"-o", &"nodev,nosuid,noatime", &device, &place]).await?;
        if fresh {
            // Its user is the image's, whom nobody knows here.
            fs::set_permissions(place, Permissions::from_mode(0o777)).map_err(AgentError::file("opening", place))?;
        } else if let Err(error) = tools.done("resize2fs", &[&device]).await {
            mounted.note = Some(format!("The file system of the disk stays as large as it was: {error}"));
        }
        Ok(mounted)
    }

    /// Holds the file system still.
    pub(super) async fn freeze(&self) -> Result<(), AgentError> {
        self.tools.done("fsfreeze", &[&"--freeze", &self.place]).await
    }

    /// Lets it go on. That it went on already is no error.
    pub(super) async fn thaw(&self) {
        if let Err(error) = self.tools.done("fsfreeze", &[&"--unfreeze", &self.place]).await {
            tracing::debug!(%error, "the disk was not held still");
        }
    }

    /// Takes it from its place.
    pub(super) async fn unmount(&self, clock: &dyn Clock) {
        for _attempt in 0..UNMOUNTS {
            match self.tools.done("umount", &[&self.place]).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the disk could not be unmounted"),
            }
            clock.sleep(LOOK_PAUSE).await;
        }
    }
}

impl Tools {
    /// The device with this serial number, once it is there.
    async fn appeared(&self, serial: &str) -> Result<PathBuf, AgentError> {
        for _look in 0..self.looks {
            if let Some(device) = self.device(serial).map_err(AgentError::file("reading", &self.blocks))? {
                return Ok(device);
            }
            SystemClock.sleep(LOOK_PAUSE).await;
        }
        Err(AgentError::Disk(format!("no device with the serial number {serial} appeared")))
    }

    fn device(&self, serial: &str) -> io::Result<Option<PathBuf>> {
        for entry in fs::read_dir(&self.blocks)? {
            let entry = entry?;
            // One that goes away meanwhile is not ours.
            let Ok(found) = fs::read_to_string(entry.path().join("device/serial")) else { continue };
            let device = self.devices.join(entry.file_name());
            if entry.file_name().as_encoded_bytes().starts_with(b"nvme") && found.trim() == serial && device.exists() {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    /// What is mounted at a place.
    fn mounted_at(&self, place: &Path) -> Result<Option<PathBuf>, AgentError> {
        let mounts = fs::read_to_string(&self.mounts).map_err(AgentError::file("reading", &self.mounts))?;
        let mut lines = mounts.lines().map(|line| line.split(' '));
        let found = lines
            .find_map(|mut fields| Some((fields.next()?, fields.next()?)).filter(|(_, at)| place == Path::new(at)));
        Ok(found.map(|(device, _)| PathBuf::from(device)))
    }

    /// The file system on a device: `None` when there is none, nor anything else that is known.
    async fn file_system(&self, device: &Path) -> Result<Option<String>, AgentError> {
        let (code, said) = self.asked("blkid", &[&"--probe", &"--output", &"export", &device]).await?;
        match code {
            Some(0) => {
                let kind = said.lines().find_map(|line| line.strip_prefix("TYPE="));
                let kind =
                    kind.ok_or_else(|| AgentError::Disk(format!("it has no file system, but {}", said.trim())))?;
                Ok(Some(kind.to_owned()))
            }
            Some(2) => Ok(None),
            Some(_) | None => Err(AgentError::Disk(format!("it cannot be told what is on it: {said}"))),
        }
    }

    /// Runs a program, which must end well.
    async fn done(&self, program: &str, words: &[&(dyn AsRef<OsStr> + Sync)]) -> Result<(), AgentError> {
        match self.asked(program, words).await? {
            (Some(0), _) => Ok(()),
            (code, said) => Err(AgentError::Disk(format!("{program} ended with {code:?}: {said}"))),
        }
    }

    /// Runs a program: how it ended, and what it said, which is its errors when it failed.
    async fn asked(
        &self,
        program: &str,
        words: &[&(dyn AsRef<OsStr> + Sync)],
    ) -> Result<(Option<i32>, String), AgentError> {
        let failed = |error: io::Error| AgentError::Disk(format!("{program}: {error}"));
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let child = command.spawn().map_err(failed)?;
        orphans::awaited(child.id());
        let ended = tokio::time::timeout(DONE_WITHIN, child.wait_with_output()).await;
        let output = ended.map_err(|_late| AgentError::Disk(format!("{program} does not end")))?.map_err(failed)?;
        let said = if output.status.success() {
            String::from_utf8_lossy(&output.stdout).into_owned()
        } else {
            last_words(&output.stderr)
        };
        Ok((output.status.code(), said))
    }
}

/// Whether nothing was ever written to the beginning of a device. What cannot be read is not empty.
fn is_zeros(device: &Path) -> Result<bool, AgentError> {
    let mut beginning = Vec::with_capacity(BEGINNING);
    let read = File::open(device).and_then(|file| file.take(BEGINNING as u64).read_to_end(&mut beginning));
    read.map_err(AgentError::file("reading", device))?;
    Ok(beginning.iter().all(|byte| *byte == 0))
}
