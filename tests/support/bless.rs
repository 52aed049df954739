//! Files in the repository that are written from the code: `SLIPWAY_BLESS=1` writes them, and without it they are compared.

use std::{env, fs, path::PathBuf};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    // Asked now and not when this was compiled: clones may share what is built.
    let here = env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    PathBuf::from(here).join("..").canonicalize().expect("the repository's root")
}

/// Whether committed files are to be written anew.
pub(crate) fn wanted() -> bool {
    env::var_os("SLIPWAY_BLESS").is_some_and(|value| value == "1")
}

/// Compares a committed file with what the code says, or writes it. The error says what to do.
pub(crate) fn same(path: &str, text: &str) -> Result<(), String> {
    let file = root().join(path);
    if wanted() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    if committed == text {
        return Ok(());
    }
    let line = committed.lines().zip(text.lines()).position(|(old, new)| old != new).map_or(0, |at| at + 1);
    Err(format!(
        "{path} is not what the code says (line {line}): run SLIPWAY_BLESS=1 cargo test -p tests drift, look at the difference, and commit it"
    ))
}
