//! Making and removing the folders of volumes and snapshots, so that a crash at any moment leaves whole ones alone.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
};

use rustix::fs::syncfs;

use super::{
    MakeError, copying,
    manifest::{Blank, Checking, Writing},
    tags::{self, SnapshotTags},
    way::{self, Way},
};
use crate::data;

/// The folder with the files themselves, and the list of them beside it.
pub(super) const FILES: &str = "files";
const MANIFEST: &str = "manifest";

/// What begins the name of what is not finished, and of what is going away.
const FRESH: &str = ".new-";
const ASIDE: &str = ".gone-";

/// Fills a folder under another name, writes it out, and gives it its own.
pub(super) fn build(folder: &Path, work: impl FnOnce(&Path) -> Result<(), MakeError>) -> Result<(), MakeError> {
    let fresh = beside(folder, FRESH)?;
    if fresh.exists() {
        way::discard(&fresh)?;
    }
    data::make_dir(&fresh)?;
    let built = work(&fresh).and_then(|()| {
        let parent = File::open(fresh.parent().unwrap_or(&fresh))?;
        syncfs(&parent)?;
        fs::rename(&fresh, folder)?;
        Ok(parent.sync_all()?)
    });
    if built.is_err()
        && let Err(error) = way::discard(&fresh)
    {
        tracing::warn!(folder = %fresh.display(), %error, "disks.unfinished_not_removed");
    }
    built
}

/// Takes a folder's name away, so that it is gone at once; answers where it is, if it was there.
pub(super) fn put_aside(folder: &Path) -> io::Result<Option<PathBuf>> {
    let aside = beside(folder, ASIDE)?;
    match fs::rename(folder, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    File::open(folder.parent().unwrap_or(folder))?.sync_all()?;
    Ok(Some(aside))
}

/// Removes what was put aside, however long that takes. What is left by then is removed after the next start.
pub(super) fn discard_aside(aside: PathBuf) {
    thread::spawn(move || {
        if let Err(error) = way::discard(&aside) {
            tracing::warn!(folder = %aside.display(), %error, "disks.folder_not_removed");
        }
    });
}

/// Puts aside what an earlier life did not finish, making or removing it.
pub(super) fn unfinished(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(FRESH) {
            found.extend(put_aside(&path)?);
        } else if name.starts_with(ASIDE) {
            found.push(path);
        }
    }
    Ok(found)
}

fn beside(folder: &Path, prefix: &str) -> io::Result<PathBuf> {
    let name = folder.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(folder.with_file_name(format!("{prefix}{}", name.to_string_lossy())))
}

/// Makes the files of a volume of a snapshot, and of nothing else: one that is missing or damaged is refused.
pub(super) fn restored(way: Way, snapshot: &Path, files: &Path) -> Result<(), MakeError> {
    let refused = |why: &str| MakeError::Refused(format!("the snapshot {why}"));
    let tags = tags::read::<SnapshotTags>(snapshot)?.ok_or_else(|| refused("is not there"))?;
    let kept = snapshot.join(FILES);
    if !fs::symlink_metadata(&kept).is_ok_and(|found| found.is_dir()) {
        return Err(refused("is damaged: its files are missing"));
    }
    if way == Way::Subvolumes && way::is_subvolume(&kept)? {
        return Ok(way::snapshot(&kept, files, false)?);
    }
    way.empty(files)?;
    match tags.manifest {
        Some(hash) => {
            let mut checking = Checking::new(&snapshot.join(MANIFEST), &hash)?;
            copying::copy(&kept, files, way != Way::Copies, &mut checking)?;
            checking.finished()
        }
        None if tags.way == Way::Subvolumes => copying::copy(&kept, files, way != Way::Copies, &mut Blank),
        None => Err(refused("is damaged: its tags were changed")),
    }
}

/// Copies a volume's files into the folder of a snapshot. Answers the hash of the manifest, where there is one.
pub(super) fn taken(way: Way, files: &Path, fresh: &Path) -> Result<Option<String>, MakeError> {
    let to = fresh.join(FILES);
    if way == Way::Subvolumes && way::is_subvolume(files)? {
        way::snapshot(files, &to, true)?;
        return Ok(None);
    }
    fs::create_dir(&to)?;
    let mut writing = Writing::new(&fresh.join(MANIFEST), way == Way::Copies)?;
    copying::copy(files, &to, way != Way::Copies, &mut writing)?;
    Ok(Some(writing.finished()?))
}
