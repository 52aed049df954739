//! How copies of folders are made here: what the data directory's file system can do decides.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use rustix::fs::ioctl_ficlone;
use serde::{Deserialize, Serialize};

use super::copying;

/// How copies are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// Each disk is a subvolume of btrfs, and each snapshot one of those.
    Subvolumes,
    /// Files share their data until one of them is written to.
    Reflinks,
    /// Whole copies, with the hash of each file.
    Copies,
}

/// The number of btrfs among file systems.
const BTRFS: i64 = 0x9123_683e;

impl Way {
    /// What can be done in this folder, by doing it once.
    pub(super) fn probed(folder: &Path) -> io::Result<Self> {
        let probe = folder.join(".probe");
        if probe.exists() {
            discard(&probe)?;
        }
        fs::create_dir(&probe)?;
        let way = if rustix::fs::statfs(folder)?.f_type == BTRFS && subvolumes_work(&probe) {
            Self::Subvolumes
        } else if reflinks_work(&probe)? {
            Self::Reflinks
        } else {
            Self::Copies
        };
        discard(&probe)?;
        Ok(way)
    }

    /// The same in words, for whoever starts the plane.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Subvolumes => "btrfs subvolumes, whose snapshots take no time",
            Self::Reflinks => "reflinks: copies share their data until it is changed",
            Self::Copies => "whole copies, each with a manifest of hashes; on btrfs or XFS they would share their data",
        }
    }

    /// Makes the empty folder that a disk's files go into.
    pub(super) fn empty(self, at: &Path) -> io::Result<()> {
        match self {
            Self::Subvolumes => btrfs(&["subvolume", "create"], &[at])?,
            Self::Reflinks | Self::Copies => fs::create_dir(at)?,
        }
        fs::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(0o700))
    }
}

/// A subvolume's snapshot.
pub(super) fn snapshot(from: &Path, to: &Path, read_only: bool) -> io::Result<()> {
    let words: &[&str] = if read_only { &["subvolume", "snapshot", "-r"] } else { &["subvolume", "snapshot"] };
    btrfs(words, &[from, to])
}

/// Removes a folder of ours with everything in it; what is a subvolume in it lies at its top.
pub(super) fn discard(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if fs::symlink_metadata(&path)?.is_dir() && is_subvolume(&path)? {
            // An ordinary user may be forbidden to; then its files are removed, and it goes like a folder.
            if btrfs(&["subvolume", "delete"], &[&path]).is_err() {
                btrfs_words(&["property", "set", "-ts"], &path, &["ro", "false"])?;
            }
        }
    }
    copying::remove(folder)
}

fn subvolumes_work(probe: &Path) -> bool {
    let tried =
        Way::Subvolumes.empty(&probe.join("a")).and_then(|()| snapshot(&probe.join("a"), &probe.join("b"), true));
    match tried {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "the data folder is on btrfs, but the btrfs program makes no subvolumes there");
            false
        }
    }
}

fn reflinks_work(probe: &Path) -> io::Result<bool> {
    fs::write(probe.join("one"), "one")?;
    let (one, two) = (fs::File::open(probe.join("one"))?, fs::File::create_new(probe.join("two"))?);
    Ok(ioctl_ficlone(&two, &one).is_ok())
}

/// The root of every subvolume of btrfs has this number.
pub(super) fn is_subvolume(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::symlink_metadata(path)?.ino() == 256 && rustix::fs::statfs(path)?.f_type == BTRFS)
}

fn btrfs(words: &[&str], paths: &[&Path]) -> io::Result<()> {
    let mut command = Command::new("btrfs");
    command.args(words).arg("--").args(paths);
    asked(command)
}

fn btrfs_words(words: &[&str], path: &Path, more: &[&str]) -> io::Result<()> {
    let mut command = Command::new("btrfs");
    command.args(words).arg(path).args(more);
    asked(command)
}

fn asked(mut command: Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("btrfs: {}", said.trim())))
}
