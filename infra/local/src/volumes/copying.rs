//! Copying a tree of files as it is: contents, holes, permissions, times, owners, links of both kinds.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use agent::tree::{Found, Kind, Tree};
use rustix::{
    fs::{
        AtFlags, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid, chownat, fchmod, ftruncate, futimens,
        ioctl_ficlone, linkat, mkdirat, mkfifoat, openat, readlinkat, seek, symlinkat, unlinkat, utimensat,
    },
    io::{Errno, pread, pwrite},
    process::geteuid,
};
use sha2::{Digest, Sha256};

use super::{
    MakeError,
    manifest::{Ledger, Line},
};

/// Files are read, hashed and written in blocks of this size, and blocks of zeros are left out of both copy and hash: a file of holes may
/// be larger than any disk.
const BLOCK: usize = 64 * 1024;

const NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies what is in the folder `from` into the folder `to`, which is there and empty, and tells the ledger of each file. With `clones`,
/// files share their data with the copies where the file system can do that.
pub(super) fn copy(from: &Path, to: &Path, clones: bool, ledger: &mut dyn Ledger) -> Result<(), MakeError> {
    let (from, to) = (Tree::open(from)?, Tree::open(to)?);
    let mut copying = Copying { from: &from, to: &to, clones, ledger, folders: Vec::new(), names: BTreeMap::new() };
    let copied = copying.all();
    // Whether it went well or not: the one who owns the tree must not find it changed.
    from.give_back()?;
    copied
}

struct Copying<'a> {
    from: &'a Tree,
    to: &'a Tree,
    clones: bool,
    ledger: &'a mut dyn Ledger,
    /// Each folder, after the one that it is in.
    folders: Vec<(PathBuf, Found)>,
    /// Where a file with several names was put first.
    names: BTreeMap<(u64, u64), PathBuf>,
}

impl Copying<'_> {
    fn all(&mut self) -> Result<(), MakeError> {
        let root = self.from.look(&self.from.folder(Path::new(""))?)?;
        self.ledger.take(Line::folder(Path::new(""), &root))?;
        self.folders.push((PathBuf::new(), root));
        let mut next = 0;
        while let Some((path, _)) = self.folders.get(next) {
            let path = path.clone();
            self.folder(&path)?;
            next += 1;
        }
        // What is made in a folder changes its times, so that they are set from the leaves to the root.
        while let Some((path, found)) = self.folders.pop() {
            let folder = self.to.folder(&path)?;
            own(&folder, c".".to_bytes(), &found)?;
            let folder = openat(&folder, c".", LIST, Mode::empty())?;
            fchmod(&folder, Mode::from_raw_mode(found.mode))?;
            futimens(&folder, &times(&found))?;
        }
        Ok(())
    }

    fn folder(&mut self, path: &Path) -> Result<(), MakeError> {
        let from = match self.from.folder(path) {
            Ok(from) => from,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let to = self.to.folder(path)?;
        for found in self.from.list(&from)? {
            let at = path.join(&found.name);
            match found.kind {
                Kind::Folder => {
                    mkdirat(&to, &found.name, Mode::RWXU)?;
                    self.ledger.take(Line::folder(&at, &found))?;
                    self.folders.push((at, found));
                }
                Kind::File | Kind::Link | Kind::Pipe => self.one((&from, &to), at, &found)?,
                // A socket is nothing without the program that listens at it, and nobody can make devices.
                Kind::Other => {}
            }
        }
        Ok(())
    }

    /// Copies something that is no folder.
    fn one(&mut self, (from, to): (&OwnedFd, &OwnedFd), at: PathBuf, found: &Found) -> Result<(), MakeError> {
        if let Some(first) = found.several.and_then(|number| self.names.get(&number)) {
            let folder = self.to.folder(first.parent().unwrap_or(Path::new("")))?;
            linkat(&folder, first.file_name().unwrap_or_default(), to, &found.name, AtFlags::empty())?;
            let line = Line::again(&at, first);
            return self.ledger.take(line);
        }
        let line = match found.kind {
            Kind::File => {
                let Some(source) = self.from.file(from, &found.name)? else { return Ok(()) };
                let digest = self.file(&source, to, &at, found)?;
                Line::file(&at, found, digest)
            }
            Kind::Pipe => {
                mkfifoat(to, &found.name, Mode::from_raw_mode(found.mode))?;
                dress(to, found)?;
                Line::pipe(&at, found)
            }
            Kind::Link | Kind::Folder | Kind::Other => {
                let target = match readlinkat(from, &found.name, Vec::new()) {
                    Ok(target) => target,
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
                symlinkat(&target, to, &found.name)?;
                dress(to, found)?;
                Line::link(&at, target.to_bytes())
            }
        };
        self.ledger.take(line)?;
        if let Some(number) = found.several {
            self.names.insert(number, at);
        }
        Ok(())
    }

    /// Copies a file's contents, and answers their hash where somebody wants it.
    fn file(&self, source: &OwnedFd, to: &OwnedFd, at: &Path, found: &Found) -> Result<Option<String>, MakeError> {
        let made = openat(to, &found.name, NEW, Mode::RUSR | Mode::WUSR)?;
        let digest = if self.ledger.wants_digest(at) {
            Some(hex::encode(filled(source, &made, found.size)?))
        } else {
            let cloned = self.clones && ioctl_ficlone(&made, source).is_ok();
            if !cloned {
                filled(source, &made, found.size)?;
            }
            None
        };
        own(to, found.name.as_bytes(), found)?;
        fchmod(&made, Mode::from_raw_mode(found.mode))?;
        futimens(&made, &times(found))?;
        Ok(digest)
    }
}

/// Copies what a file holds, without its holes, and answers the hash of its size and of each block that is not all zeros.
fn filled(from: &OwnedFd, to: &OwnedFd, size: u64) -> io::Result<[u8; 32]> {
    ftruncate(to, size)?;
    let mut digest = Sha256::new_with_prefix(size.to_le_bytes());
    let (mut block, mut offset) = (vec![0; BLOCK], 0);
    while offset < size {
        let data = match seek(from, SeekFrom::Data(offset)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(Errno::INVAL) => offset,
            Err(error) => return Err(error.into()),
        };
        let hole = seek(from, SeekFrom::Hole(data)).unwrap_or(size).min(size);
        offset = data - data % BLOCK as u64;
        while offset < hole {
            let length = BLOCK.min(usize::try_from(size - offset).unwrap_or(BLOCK));
            let block = &mut block[..length];
            read_whole(from, block, offset)?;
            if block.iter().any(|byte| *byte != 0) {
                write_whole(to, block, offset)?;
                digest.update(offset.to_le_bytes());
                digest.update(&*block);
            }
            offset += BLOCK as u64;
        }
    }
    Ok(digest.finalize().into())
}

/// Fills the block; what the file has not any more is zeros.
fn read_whole(from: &OwnedFd, block: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < block.len() {
        match pread(from, &mut block[filled..], offset + filled as u64) {
            Ok(0) => {
                block[filled..].fill(0);
                return Ok(());
            }
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_whole(to: &OwnedFd, block: &[u8], offset: u64) -> io::Result<()> {
    let mut written = 0;
    while written < block.len() {
        match pwrite(to, &block[written..], offset + written as u64) {
            Ok(more) => written += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives a copy that cannot be opened its owner and its times.
fn dress(folder: &OwnedFd, found: &Found) -> io::Result<()> {
    own(folder, found.name.as_bytes(), found)?;
    Ok(utimensat(folder, &found.name, &times(found), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives a copy its owner, where we may: an ordinary user's files are all their own.
fn own(folder: &OwnedFd, name: &[u8], found: &Found) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(found.owner.0), Gid::from_raw(found.owner.1));
    Ok(chownat(folder, OsStr::from_bytes(name), Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(found: &Found) -> Timestamps {
    let time = |(seconds, nanoseconds)| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps { last_access: time(found.read), last_modification: time(found.modified) }
}

/// It went away, or became something else, since its folder was read.
fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].iter().any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
}

/// Removes a folder with everything in it, however deep that is and whatever its owner has closed.
pub(super) fn remove(root: &Path) -> io::Result<()> {
    let tree = Tree::open(root)?;
    let mut folders = vec![PathBuf::new()];
    let mut next = 0;
    while let Some(path) = folders.get(next) {
        let path = path.clone();
        let folder = tree.folder(&path)?;
        for found in tree.list(&folder)? {
            if found.kind == Kind::Folder {
                folders.push(path.join(found.name));
            } else {
                unlinkat(&folder, &found.name, AtFlags::empty())?;
            }
        }
        next += 1;
    }
    while let Some(path) = folders.pop() {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => unlinkat(tree.folder(parent)?, name, AtFlags::REMOVEDIR)?,
            _ => std::fs::remove_dir(root)?,
        }
    }
    Ok(())
}
