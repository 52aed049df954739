//! File transfer: the file system as the sandbox shows it, with paths that start at the home folder.
//!
//! There is nothing to protect here that the sandbox does not protect already: whoever may transfer files may also run programs.

use std::{
    collections::HashMap,
    fs::{self, File, FileTimes, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use russh_sftp::{
    protocol::{
        Attrs, Data, File as Named, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
    },
    server::{Handler, StatusReply},
};

/// How many files and folders one client may have open.
const MOST_OPEN: usize = 1024;
/// How many entries of a folder are sent at once.
const ENTRIES: usize = 100;
/// The most that is read at once; the protocol's packets hold 256 KiB.
const MOST_READ: u32 = 255 * 1024;
/// What a client may ask for beyond version 3, by OpenSSH's names.
const RENAME: &str = "posix-rename@openssh.com";
const LINK: &str = "hardlink@openssh.com";
const SYNC: &str = "fsync@openssh.com";

/// One client's open files.
pub(crate) struct Sftp {
    home: PathBuf,
    open: HashMap<String, Open>,
    counter: u64,
}

#[derive(Clone)]
enum Open {
    File(Arc<File>),
    Folder(Arc<std::sync::Mutex<fs::ReadDir>>),
}

type Reply<T> = Result<T, StatusReply>;

impl Sftp {
    /// For a client whose paths start at `home`.
    pub(crate) fn new(home: PathBuf) -> Self {
        Self { home, open: HashMap::new(), counter: 0 }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.join(path)
    }

    fn keep(&mut self, id: u32, open: Open) -> Reply<Handle> {
        if self.open.len() >= MOST_OPEN {
            return Err(StatusCode::Failure.with_message("too many open files"));
        }
        self.counter += 1;
        let handle = self.counter.to_string();
        self.open.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Reply<Arc<File>> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(Arc::clone(file)),
            Some(Open::Folder(_)) | None => Err(StatusCode::Failure.with_message("no open file")),
        }
    }
}

/// Does file work where it may block.
async fn off<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Reply<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| refusal(&error)),
        Err(error) => Err(StatusCode::Failure.with_message(error.to_string())),
    }
}

fn refusal(error: &io::Error) -> StatusReply {
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        io::ErrorKind::UnexpectedEof => StatusCode::Eof,
        _ => StatusCode::Failure,
    };
    code.with_message(error.to_string())
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: "Ok".to_owned(), language_tag: "en-US".to_owned() }
}

/// What is known of a file. The library's own conversion takes devices and pipes for something else.
fn attributes(metadata: &Metadata) -> FileAttributes {
    let seconds = |time: i64| Some(u32::try_from(time).unwrap_or(0));
    FileAttributes {
        size: Some(metadata.len()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: seconds(metadata.atime()),
        mtime: seconds(metadata.mtime()),
        ..FileAttributes::empty()
    }
}

/// The times that are to be set, if any.
fn times(wanted: &FileAttributes) -> Option<FileTimes> {
    let at = |seconds: u32| UNIX_EPOCH + Duration::from_secs(seconds.into());
    let (accessed, modified) = (wanted.atime?, wanted.mtime?);
    Some(FileTimes::new().set_accessed(at(accessed)).set_modified(at(modified)))
}

/// Changes an open file as far as `wanted` says.
fn change_file(file: &File, wanted: &FileAttributes) -> io::Result<()> {
    if let Some(size) = wanted.size {
        file.set_len(size)?;
    }
    if let Some(mode) = wanted.permissions {
        file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
    }
    if wanted.uid.is_some() || wanted.gid.is_some() {
        fchown(file, wanted.uid, wanted.gid)?;
    }
    times(wanted).map_or(Ok(()), |times| file.set_times(times))
}

/// Changes a file by its path as far as `wanted` says. It is opened only for what cannot be done otherwise.
fn change_path(path: &Path, wanted: &FileAttributes) -> io::Result<()> {
    if let Some(size) = wanted.size {
        File::options().write(true).open(path)?.set_len(size)?;
    }
    if let Some(times) = times(wanted) {
        File::open(path)?.set_times(times)?;
    }
    if let Some(mode) = wanted.permissions {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if wanted.uid.is_some() || wanted.gid.is_some() {
        chown(path, wanted.uid, wanted.gid)?;
    }
    Ok(())
}

/// The path without links and dots; what does not exist yet is taken as it is.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
            _ => Err(error),
        },
        other => other,
    }
}

/// The strings in an extended request, each after its length in four bytes.
fn strings(mut data: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((text, rest)) = rest.split_at_checked(length) else { break };
        found.push(String::from_utf8_lossy(text).into_owned());
        data = rest;
    }
    found
}

impl Handler for Sftp {
    type Error = StatusReply;

    fn unimplemented(&self) -> Self::Error {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _version: u32, _extensions: HashMap<String, String>) -> Reply<Version> {
        let extensions = [RENAME, LINK, SYNC].map(|name| (name.to_owned(), "1".to_owned()));
        Ok(Version { extensions: extensions.into_iter().collect(), ..Version::new() })
    }

    async fn open(&mut self, id: u32, filename: String, flags: OpenFlags, attrs: FileAttributes) -> Reply<Handle> {
        let path = self.path(&filename);
        let mut options = fs::OpenOptions::from(flags);
        if let Some(mode) = attrs.permissions {
            options.mode(mode & 0o7777);
        }
        let file = off(move || options.open(path)).await?;
        self.keep(id, Open::File(Arc::new(file)))
    }

    async fn close(&mut self, id: u32, handle: String) -> Reply<Status> {
        self.open.remove(&handle).map(|_open| done(id)).ok_or_else(|| StatusCode::Failure.with_message("not open"))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Reply<Data> {
        let file = self.file(&handle)?;
        let data = off(move || {
            let mut data = vec![0; usize::try_from(len.min(MOST_READ)).unwrap_or(0)];
            let length = file.read_at(&mut data, offset)?;
            data.truncate(length);
            Ok(data)
        })
        .await?;
        if data.is_empty() && len > 0 { Err(StatusCode::Eof.into()) } else { Ok(Data { id, data }) }
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Reply<Status> {
        let file = self.file(&handle)?;
        off(move || file.write_all_at(&data, offset)).await?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Reply<Attrs> {
        let path = self.path(&path);
        let attrs = off(move || fs::symlink_metadata(path).map(|found| attributes(&found))).await?;
        Ok(Attrs { id, attrs })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Reply<Attrs> {
        let file = self.file(&handle)?;
        let attrs = off(move || file.metadata().map(|found| attributes(&found))).await?;
        Ok(Attrs { id, attrs })
    }

    async fn stat(&mut self, id: u32, path: String) -> Reply<Attrs> {
        let path = self.path(&path);
        let attrs = off(move || fs::metadata(path).map(|found| attributes(&found))).await?;
        Ok(Attrs { id, attrs })
    }

    async fn setstat(&mut self, id: u32, path: String, attrs: FileAttributes) -> Reply<Status> {
        let path = self.path(&path);
        off(move || change_path(&path, &attrs)).await?;
        Ok(done(id))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attrs: FileAttributes) -> Reply<Status> {
        let file = self.file(&handle)?;
        off(move || change_file(&file, &attrs)).await?;
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Reply<Handle> {
        let path = self.path(&path);
        let folder = off(move || fs::read_dir(path)).await?;
        self.keep(id, Open::Folder(Arc::new(std::sync::Mutex::new(folder))))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Reply<Name> {
        let Some(Open::Folder(folder)) = self.open.get(&handle).cloned() else {
            return Err(StatusCode::Failure.with_message("no open folder"));
        };
        let files = off(move || {
            let mut folder = folder.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut files = Vec::new();
            for entry in folder.by_ref().take(ENTRIES) {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                // A file that was removed meanwhile is listed without its attributes.
                let known = entry.metadata().map_or_else(|_gone| FileAttributes::empty(), |found| attributes(&found));
                files.push(Named::new(name, known));
            }
            Ok(files)
        })
        .await?;
        if files.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Name { id, files }) }
    }

    async fn remove(&mut self, id: u32, filename: String) -> Reply<Status> {
        let path = self.path(&filename);
        off(move || fs::remove_file(path)).await?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attrs: FileAttributes) -> Reply<Status> {
        let path = self.path(&path);
        off(move || fs::DirBuilder::new().mode(attrs.permissions.unwrap_or(0o777) & 0o7777).create(path)).await?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Reply<Status> {
        let path = self.path(&path);
        off(move || fs::remove_dir(path)).await?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Reply<Name> {
        let path = self.path(&path);
        let path = off(move || resolved(&path)).await?;
        Ok(Name { id, files: vec![Named::dummy(path.to_string_lossy())] })
    }

    /// In version 3 a rename never replaces; clients that want that ask for OpenSSH's.
    async fn rename(&mut self, id: u32, oldpath: String, newpath: String) -> Reply<Status> {
        let (old, new) = (self.path(&oldpath), self.path(&newpath));
        off(move || match fs::symlink_metadata(&new) {
            Ok(_there) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Err(_free) => fs::rename(old, new),
        })
        .await?;
        Ok(done(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Reply<Name> {
        let path = self.path(&path);
        let target = off(move || fs::read_link(path)).await?;
        Ok(Name { id, files: vec![Named::dummy(target.to_string_lossy())] })
    }

    /// OpenSSH sends the two paths the other way round than the protocol has them, and so do those that follow it.
    async fn symlink(&mut self, id: u32, linkpath: String, targetpath: String) -> Reply<Status> {
        let (target, link) = (PathBuf::from(linkpath), self.path(&targetpath));
        off(move || symlink(target, link)).await?;
        Ok(done(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Reply<Packet> {
        let strings = strings(&data);
        match (request.as_str(), strings.as_slice()) {
            (RENAME, [old, new]) => {
                let (old, new) = (self.path(old), self.path(new));
                off(move || fs::rename(old, new)).await?;
            }
            (LINK, [old, new]) => {
                let (old, new) = (self.path(old), self.path(new));
                off(move || fs::hard_link(old, new)).await?;
            }
            (SYNC, [handle]) => {
                let file = self.file(handle)?;
                off(move || file.sync_all()).await?;
            }
            _ => return Err(self.unimplemented()),
        }
        Ok(Packet::Status(done(id)))
    }
}
