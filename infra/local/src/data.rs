//! The data directory: who may use it, and the files in it that are not the database's.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use cloud::Ids;
use domain::Secret;
use sha2::{Digest, Sha256};

use crate::StartError;

/// The data directory, held by this process alone for as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing, and takes it for this process. The lock ends with the process, however it ends.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        make_dir(path).map_err(StartError::file("making", path))?;
        let root = fs::canonicalize(path).map_err(StartError::file("using", path))?;
        let lock = root.join("lock");
        let failed = |error| StartError::file("locking", &lock)(error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(failed)?;
        if let Some(owner) = taken(&mut file).map_err(failed)? {
            return Err(StartError::InUse { path: root, owner });
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(failed)?;
        Ok(Self { root, _lock: file })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The agents' SSH host key; the first agent makes it.
    pub(crate) fn host_key(&self) -> PathBuf {
        self.root.join("host_key")
    }

    /// What was written down about each attempt.
    pub(crate) fn attempts(&self) -> PathBuf {
        self.root.join("attempts")
    }

    /// Each attempt's folder, which its agent uses.
    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// The jobs' disks.
    pub(crate) fn disks(&self) -> PathBuf {
        self.root.join("disks")
    }

    /// The database's file, there already and readable by nobody else: SQLite gives its side files the same mode.
    pub(crate) fn database(&self) -> Result<PathBuf, StartError> {
        let path = self.root.join("slipway.db");
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        made.map_err(StartError::file("making", &path))?;
        Ok(path)
    }

    /// The vault's key: one that is kept here, made with the database, or what `given` becomes, of which only a mark is kept.
    pub(crate) fn vault_key(&self, given: Option<&Secret>, ids: &dyn Ids) -> Result<[u8; 32], StartError> {
        let (kept, mark) = (self.root.join("vault.key"), self.root.join("vault.mark"));
        let (own, marked) = (read_if_there(&kept)?, read_if_there(&mark)?);
        let other = |path: &Path, problem: &str| {
            Err(StartError::OtherKey { path: path.to_owned(), problem: problem.to_owned() })
        };
        match (given, own, marked) {
            (Some(_), Some(_), _) => other(&kept, "what is here was sealed with this file's key: unset"),
            (None, _, Some(_)) => other(&mark, "what is here was sealed with a key of yours: set it again as"),
            (Some(given), None, Some(marked)) => {
                let key = key_of(given);
                if marked == mark_of(&key).into_bytes() {
                    return Ok(key);
                }
                other(&mark, "what is here was sealed with another key of yours: set that one as")
            }
            (None, Some(bytes), None) => {
                let problem = format!("it has {} bytes instead of 32", bytes.len());
                bytes.try_into().map_err(|_length| StartError::Damaged { path: kept, problem })
            }
            // The key is made before the database, so that a database without a key was once readable and is not any more.
            (_, None, None) if self.root.join("slipway.db").exists() => Err(StartError::KeyLost { path: kept }),
            (None, None, None) => {
                let key = ids.random();
                write_whole(&kept, &key).map_err(StartError::file("making", &kept))?;
                Ok(key)
            }
            (Some(given), None, None) => {
                let key = key_of(given);
                write_whole(&mark, mark_of(&key).as_bytes()).map_err(StartError::file("making", &mark))?;
                Ok(key)
            }
        }
    }

    /// The admin's token that is kept here, and whether it was made just now.
    pub(crate) fn admin_token(&self, ids: &dyn Ids) -> Result<(Secret, bool), StartError> {
        let path = self.root.join("admin_token");
        if let Some(bytes) = read_if_there(&path)? {
            let text = String::from_utf8(bytes).ok().map(|text| text.trim().to_owned()).filter(|text| text.len() >= 32);
            let problem = "it has no token of 32 characters; remove it to have one made".to_owned();
            let text = text.ok_or(StartError::Damaged { path, problem })?;
            return Ok((Secret::new(text), false));
        }
        let token: String = ids.random().iter().map(|byte| format!("{byte:02x}")).collect();
        write_whole(&path, format!("{token}\n").as_bytes()).map_err(StartError::file("making", &path))?;
        Ok((Secret::new(token), true))
    }
}

/// The key that a text becomes.
fn key_of(text: &Secret) -> [u8; 32] {
    Sha256::new().chain_update("slipway vault key 1\n").chain_update(text.reveal()).finalize().into()
}

/// What tells a key from others, and nothing about it.
fn mark_of(key: &[u8; 32]) -> String {
    hex::encode(Sha256::new().chain_update("slipway vault mark 1\n").chain_update(key).finalize())
}

/// Makes a folder that only its owner may enter. One that is there already keeps its mode.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only its owner may read: after a crash there is either all of it, or what was there before.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The new name itself is kept by the folder.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StartError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::file("reading", path)(error)),
    }
}

/// How long a lock is waited for whose owner is dead.
const ORPHANED: (u32, Duration) = (40, Duration::from_millis(50));

/// Takes the lock, or says whose it is. A process that was killed while it started a program leaves a child that has its open files until it
/// becomes that program: so the lock of an owner who is dead is waited for.
fn taken(file: &mut File) -> io::Result<Option<String>> {
    let (looks, pause) = ORPHANED;
    let mut owner = String::new();
    for _ in 0..looks {
        match file.try_lock() {
            Ok(()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        owner.clear();
        file.rewind()?;
        Read::by_ref(file).take(20).read_to_string(&mut owner)?;
        if Path::new("/proc").join(&owner).exists() {
            break;
        }
        std::thread::sleep(pause);
    }
    Ok(Some(owner))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use cloud::OsIds;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let second = DataDir::open(&path).unwrap_err().to_string();
        assert!(second.contains(&std::process::id().to_string()) && second.contains("SLIPWAY_DATA_DIR"), "{second}");
        drop(first);
        DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    /// What a process leaves that is killed between a fork and the program that it was for.
    #[test]
    fn the_lock_of_a_dead_owner_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataDir::open(folder.path()).unwrap());
        let lock = OpenOptions::new().read(true).write(true).open(folder.path().join("lock")).unwrap();
        lock.try_lock().unwrap();
        // No process has this number: it is larger than any may be (proc(5), `pid_max`).
        fs::write(folder.path().join("lock"), "4194305").unwrap();
        let mut child = std::process::Command::new("sleep").arg("0.3").stdin(lock).spawn().unwrap();
        DataDir::open(folder.path()).unwrap();
        assert!(child.wait().unwrap().success(), "it had the lock until its end");
    }

    #[test]
    fn secrets_are_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let key = data.vault_key(None, &OsIds).unwrap();
        let (token, made) = data.admin_token(&OsIds).unwrap();
        assert!(made && token.reveal().len() == 64);
        data.database().unwrap();
        assert_eq!(data.vault_key(None, &OsIds).unwrap(), key);
        assert_eq!(data.admin_token(&OsIds).unwrap(), (token, false));
        for file in ["lock", "vault.key", "admin_token", "slipway.db"] {
            assert_eq!(mode(&folder.path().join(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn lost_and_damaged_files_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        data.database().unwrap();
        assert!(matches!(data.vault_key(None, &OsIds), Err(StartError::KeyLost { .. })));
        fs::write(folder.path().join("vault.key"), "short").unwrap();
        assert!(matches!(data.vault_key(None, &OsIds), Err(StartError::Damaged { .. })));
        fs::write(folder.path().join("admin_token"), "short").unwrap();
        assert!(matches!(data.admin_token(&OsIds), Err(StartError::Damaged { .. })));
    }

    #[test]
    fn a_key_of_ones_own_takes_the_files_place() {
        let secret = |text: &str| Secret::new(text.repeat(32));
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let key = data.vault_key(Some(&secret("a")), &OsIds).unwrap();
        data.database().unwrap();
        assert_eq!(data.vault_key(Some(&secret("a")), &OsIds).unwrap(), key);
        assert!(!folder.path().join("vault.key").exists());
        assert_ne!(fs::read(folder.path().join("vault.mark")).unwrap(), hex::encode(key).into_bytes());
        // What was sealed with one key is never met with another.
        for other in [None, Some(&secret("b"))] {
            let error = data.vault_key(other, &OsIds).unwrap_err();
            assert!(error.to_string().contains("SKYPILOT_CREDENTIAL_ENCRYPTION_KEY"), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        data.vault_key(None, &OsIds).unwrap();
        assert!(matches!(data.vault_key(Some(&secret("a")), &OsIds), Err(StartError::OtherKey { .. })));
    }
}
