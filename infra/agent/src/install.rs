//! Copying this program to where another container finds it.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::AgentError;

/// Copies this program to `path`, where it appears whole or not at all.
pub(crate) fn install(path: &Path) -> Result<(), AgentError> {
    let program = std::env::current_exe().map_err(AgentError::system("finding this program"))?;
    copied(&program, path)
}

fn copied(program: &Path, path: &Path) -> Result<(), AgentError> {
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let written = written(program, &fresh).and_then(|()| fs::rename(&fresh, path));
    if written.is_err()
        && let Err(error) = fs::remove_file(&fresh)
    {
        tracing::debug!(%error, "nothing was left of the copy");
    }
    written.map_err(AgentError::file("writing", path))
}

fn written(program: &Path, fresh: &Path) -> io::Result<()> {
    let mut file = File::create_new(fresh)?;
    io::copy(&mut File::open(program)?, &mut file)?;
    file.set_permissions(Permissions::from_mode(0o755))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (program, path) = (folder.path().join("program"), folder.path().join("agent"));
        fs::write(&path, "an old one").unwrap();
        assert!(copied(&program, &path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "an old one");
        fs::write(&program, "a new one").unwrap();
        copied(&program, &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a new one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left there");
    }
}
