//! What a copy consists of, written down beside it, so that a damaged one is known for what it is.
//!
//! A record per file, ended by a NUL: what it is, its permissions, its size, and the hash of its contents where one was made; after a
//! space its path, and after a tab, which no other field has, what a link leads to.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use agent::tree::Found;
use sha2::{Digest, Sha256};

use super::MakeError;

/// One file, folder or link of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    path: Vec<u8>,
    /// Everything else about it, as it is written.
    facts: Vec<u8>,
}

impl Line {
    fn new(kind: &str, path: &Path, facts: &str) -> Self {
        Self { path: path.as_os_str().as_bytes().to_owned(), facts: format!("{kind} {facts}").into_bytes() }
    }

    pub(super) fn folder(path: &Path, found: &Found) -> Self {
        Self::new("folder", path, &mode(found))
    }

    pub(super) fn pipe(path: &Path, found: &Found) -> Self {
        Self::new("pipe", path, &mode(found))
    }

    pub(super) fn file(path: &Path, found: &Found, digest: Option<String>) -> Self {
        let digest = digest.unwrap_or_else(|| NO_DIGEST.to_owned());
        Self::new("file", path, &format!("{} {} {digest}", mode(found), found.size))
    }

    /// Another name of a file that was there before.
    pub(super) fn again(path: &Path, first: &Path) -> Self {
        let mut line = Self::new("again", path, "");
        line.facts.extend_from_slice(hex::encode(first.as_os_str().as_bytes()).as_bytes());
        line
    }

    pub(super) fn link(path: &Path, target: &[u8]) -> Self {
        Self::new("link", path, &hex::encode(target))
    }

    fn has_digest(&self) -> bool {
        self.facts.starts_with(b"file ") && !self.facts.ends_with(NO_DIGEST.as_bytes())
    }
}

/// What it may be done with, but for its owner's own rights: those are lent to us for as long as we read it, and it may be then that we
/// are killed.
fn mode(found: &Found) -> String {
    format!("{:o}", found.mode & 0o7077)
}

const NO_DIGEST: &str = "-";
/// Ends a record, and parts its facts from its path. No path has the first, and no facts have the second.
const END: u8 = 0;
const PART: u8 = b'\t';

/// Who is told of each file that is copied.
pub(super) trait Ledger {
    /// Whether the hash of this file's contents is wanted, which takes reading all of it.
    fn wants_digest(&self, path: &Path) -> bool;

    /// Takes note of a file.
    fn take(&mut self, line: Line) -> Result<(), MakeError>;
}

/// Takes no notes.
pub(super) struct Blank;

impl Ledger for Blank {
    fn wants_digest(&self, _: &Path) -> bool {
        false
    }

    fn take(&mut self, _: Line) -> Result<(), MakeError> {
        Ok(())
    }
}

/// Writes a manifest.
pub(super) struct Writing {
    to: BufWriter<File>,
    hash: Sha256,
    digests: bool,
}

impl Writing {
    /// A manifest at `path`, with the hash of each file or without.
    pub(super) fn new(path: &Path, digests: bool) -> io::Result<Self> {
        Ok(Self { to: BufWriter::new(File::create_new(path)?), hash: Sha256::new(), digests })
    }

    /// The manifest's own hash, once it is written.
    pub(super) fn finished(mut self) -> io::Result<String> {
        self.to.flush()?;
        Ok(hex::encode(self.hash.finalize()))
    }
}

impl Ledger for Writing {
    fn wants_digest(&self, _: &Path) -> bool {
        self.digests
    }

    fn take(&mut self, line: Line) -> Result<(), MakeError> {
        let mut record = line.facts;
        record.push(PART);
        record.extend(line.path);
        record.push(END);
        self.hash.update(&record);
        Ok(self.to.write_all(&record)?)
    }
}

/// Compares what is copied with what a manifest says.
pub(super) struct Checking {
    expected: BTreeMap<Vec<u8>, Line>,
}

impl Checking {
    /// Reads the manifest at `path`, which must have this hash.
    pub(super) fn new(path: &Path, hash: &str) -> Result<Self, MakeError> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged("it has no manifest")),
            other => other?,
        };
        if hex::encode(Sha256::digest(&text)) != hash {
            return Err(damaged("its manifest was changed"));
        }
        let mut expected = BTreeMap::new();
        for record in text.split(|byte| *byte == END).filter(|record| !record.is_empty()) {
            let Some(at) = record.iter().position(|byte| *byte == PART) else {
                return Err(damaged("its manifest cannot be read"));
            };
            let line = Line { facts: record[..at].to_owned(), path: record[at + 1..].to_owned() };
            expected.insert(line.path.clone(), line);
        }
        Ok(Self { expected })
    }

    /// Everything was there.
    pub(super) fn finished(self) -> Result<(), MakeError> {
        match self.expected.into_keys().next() {
            None => Ok(()),
            Some(path) => Err(damaged(&format!("{} is missing", shown(&path)))),
        }
    }
}

impl Ledger for Checking {
    fn wants_digest(&self, path: &Path) -> bool {
        self.expected.get(path.as_os_str().as_bytes()).is_some_and(Line::has_digest)
    }

    fn take(&mut self, line: Line) -> Result<(), MakeError> {
        match self.expected.remove(&line.path) {
            Some(expected) if expected == line => Ok(()),
            Some(_) => Err(damaged(&format!("{} was changed", shown(&line.path)))),
            None => Err(damaged(&format!("{} was not in it", shown(&line.path)))),
        }
    }
}

fn shown(path: &[u8]) -> String {
    let path: String = String::from_utf8_lossy(path).chars().filter(|letter| !letter.is_control()).collect();
    format!("\"{path}\"")
}

fn damaged(how: &str) -> MakeError {
    MakeError::Refused(format!("the snapshot is damaged: {how}"))
}
