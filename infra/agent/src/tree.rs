//! Folders whose contents somebody else chose, and may be changing at this moment.
//!
//! Every step is taken from an open folder by one plain name, and a link is never followed: whatever is put in place of a folder while
//! it is read, nothing outside of the tree is reached. A tree may be deeper than a path can be long.

use std::{
    cell::RefCell,
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat},
    io::Errno,
};

/// A folder to go on from, without a right to read it.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A file to read. What is no file is not waited for.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A tree of files.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// The folders and files that their owner, who is our user, had taken the rights to from themselves, with what they were.
    lent: RefCell<Vec<(PathBuf, u32)>>,
}

/// What something in a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Pipe,
    /// A socket or a device.
    Other,
}

/// Something in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name in its folder; empty for a folder that was looked at itself.
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes.
    pub size: u64,
    /// Its permissions.
    pub mode: u32,
    /// The numbers of its owner and its group.
    pub owner: (u32, u32),
    /// When it was last written to: seconds and nanoseconds of the Unix epoch.
    pub modified: (i64, i64),
    /// When it was last read.
    pub read: (i64, i64),
    /// Device and number, where it has more than one name.
    pub several: Option<(u64, u64)>,
}

impl Found {
    fn of(name: &OsStr, stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::Fifo => Kind::Pipe,
            FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Kind::Other,
        };
        let several = (kind != Kind::Folder && stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        Self {
            name: name.to_owned(),
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: Mode::from_raw_mode(stat.st_mode).as_raw_mode(),
            owner: (stat.st_uid, stat.st_gid),
            modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            read: (stat.st_atime, i64::try_from(stat.st_atime_nsec).unwrap_or(0)),
            several,
        }
    }
}

impl Tree {
    /// The tree below a folder of ours. The path to it is ours too, and the folder itself is no link.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: openat(CWD, root, HANDLE, Mode::empty())?, lent: RefCell::default() })
    }

    /// A folder in the tree, to go on from. `at` is its path from the root; the root itself has an empty one.
    ///
    /// # Errors
    /// When it is not there, or not a folder any more.
    pub fn folder(&self, at: &Path) -> io::Result<OwnedFd> {
        let mut here = self.root.try_clone()?;
        let mut path = PathBuf::new();
        self.enter(&here, &path)?;
        for part in at.components() {
            let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
            here = openat(&here, name, HANDLE, Mode::empty())?;
            path.push(name);
            self.enter(&here, &path)?;
        }
        Ok(here)
    }

    /// What is in a folder, by name. What goes away meanwhile is left out.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn list(&self, folder: &OwnedFd) -> io::Result<Vec<Found>> {
        let mut names = Vec::<CString>::new();
        for entry in Dir::new(openat(folder, c".", LIST, Mode::empty())?)? {
            names.push(entry?.file_name().to_owned());
        }
        names.retain(|name| ![c".", c".."].contains(&name.as_c_str()));
        names.sort_unstable();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            match statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => found.push(Found::of(OsStr::from_bytes(name.to_bytes()), &stat)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// A folder itself.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn look(&self, folder: &OwnedFd) -> io::Result<Found> {
        let mut found = Found::of(OsStr::new(""), &fstat(folder)?);
        // A folder that was opened up is described as its owner left it.
        if let Some((_, mode)) = self.lent.borrow().iter().find(|(path, _)| path.as_os_str().is_empty()) {
            found.mode = *mode;
        }
        Ok(found)
    }

    /// Opens a file to be read; `None` when it is no file any more.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn file(&self, folder: &OwnedFd, name: &OsStr) -> io::Result<Option<OwnedFd>> {
        let opened = match openat(folder, name, READ, Mode::empty()) {
            Err(Errno::ACCESS) => self.closed_file(folder, name)?,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            other => Some(other?),
        };
        let is_file =
            |file: &OwnedFd| Ok::<_, io::Error>(FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::RegularFile);
        match opened {
            Some(file) if is_file(&file)? => Ok(Some(file)),
            Some(_) | None => Ok(None),
        }
    }

    /// Gives folders the permissions again that their owner had left them.
    ///
    /// # Errors
    /// When one of them cannot be changed.
    pub fn give_back(&self) -> io::Result<()> {
        // The deepest come first, since one may not be entered any more afterwards.
        while let Some((path, mode)) = { self.lent.borrow_mut().pop() } {
            let parent = path.parent().unwrap_or(Path::new(""));
            let folder = match path.file_name() {
                None => self.root.try_clone()?,
                Some(name) => match self.folder(parent).and_then(|at| Ok(openat(&at, name, HANDLE, Mode::empty())?)) {
                    Ok(folder) => folder,
                    // It is gone.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                },
            };
            change_mode(&folder, mode)?;
        }
        Ok(())
    }

    /// Opens up a folder that its owner, who is our user, has closed to themselves.
    fn enter(&self, folder: &OwnedFd, path: &Path) -> io::Result<()> {
        let stat = fstat(folder)?;
        let mode = Mode::from_raw_mode(stat.st_mode).as_raw_mode();
        // Whoever's else it is: what cannot be done in it says so itself.
        if mode & 0o700 != 0o700 && stat.st_uid == rustix::process::geteuid().as_raw() {
            change_mode(folder, mode | 0o700)?;
            self.lent.borrow_mut().push((path.to_owned(), mode));
        }
        Ok(())
    }

    /// Opens a file that its owner, who is our user, may not read, and leaves it as it was.
    fn closed_file(&self, folder: &OwnedFd, name: &OsStr) -> io::Result<Option<OwnedFd>> {
        let handle = openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&handle)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mode = Mode::from_raw_mode(stat.st_mode).as_raw_mode();
        change_mode(&handle, mode | 0o400)?;
        let opened = openat(folder, name, READ, Mode::empty());
        change_mode(&handle, mode)?;
        Ok(Some(opened?))
    }
}

/// Changes the permissions of what is open, also where it is open as a mere handle.
fn change_mode(handle: &OwnedFd, mode: u32) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_tree_is_walked_by_names_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(folder.path().join("secret"), "outside").unwrap();
        fs::write(root.join("a/file"), "inside").unwrap();
        std::os::unix::fs::symlink("../../secret", root.join("a/link")).unwrap();
        std::os::unix::fs::symlink("..", root.join("out")).unwrap();
        let tree = Tree::open(&root).unwrap();
        let a = tree.folder(Path::new("a")).unwrap();
        let found: Vec<_> = tree.list(&a).unwrap().into_iter().map(|found| (found.name, found.kind)).collect();
        let expected = [("b", Kind::Folder), ("file", Kind::File), ("link", Kind::Link)];
        assert_eq!(found, expected.map(|(name, kind)| (name.into(), kind)));
        assert!(tree.file(&a, OsStr::new("file")).unwrap().is_some());
        assert!(tree.file(&a, OsStr::new("link")).unwrap().is_none());
        assert!(tree.file(&a, OsStr::new("gone")).unwrap().is_none());
        for outside in ["out", "..", "a/../..", "/etc", "a/link"] {
            assert!(tree.folder(Path::new(outside)).is_err(), "{outside}");
        }
        assert!(Tree::open(&root.join("out")).is_err());
    }

    #[test]
    fn what_its_owner_has_closed_is_opened_and_closed_again() {
        let folder = tempfile::tempdir().unwrap();
        let closed = folder.path().join("closed");
        fs::create_dir_all(closed.join("deeper")).unwrap();
        for path in [closed.join("deeper"), closed.clone(), folder.path().to_owned()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o005)).unwrap();
        }
        let tree = Tree::open(folder.path()).unwrap();
        assert_eq!(tree.list(&tree.folder(Path::new("closed")).unwrap()).unwrap().len(), 1);
        tree.folder(Path::new("closed/deeper")).unwrap();
        tree.give_back().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(fs::metadata(&closed).unwrap().permissions().mode() & 0o777, 0o005);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    }
}
