//! The list of what is on a disk: lines of JSON, compressed.

use std::{
    collections::VecDeque,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use cloud::Clock;
use domain::{
    Timestamp,
    agent::{LARGEST_PART, Listed, MOST_PARTS},
};
use flate2::{Compression, write::GzEncoder};

use crate::tree::{Found, Kind, Tree};

/// How long a disk is walked.
const WALKED_WITHIN: Duration = Duration::from_secs(30);
/// How much may be compressed when the next line is added, which may bring another block: those are smaller than a part.
const MOST_COMPRESSED: usize = LARGEST_PART * (MOST_PARTS as usize - 1);
/// The most that a list is when it is unpacked: whoever reads it may not have room for more.
const MOST_UNPACKED: usize = 48 * 1024 * 1024;
/// The longest path that a program can name. What lies deeper is left out.
const LONGEST_PATH: usize = 4096;
/// Stands for everything that there was no room for.
const MORE: &str = "... and more that is not listed";

/// Lists what is below `root`, the folders nearest to it first, for as long and as far as there is room. What cannot be read is left out.
///
/// # Errors
/// When there is no such folder.
pub(super) fn listed(root: &Path, clock: &dyn Clock) -> io::Result<Vec<u8>> {
    let (tree, until) = (Tree::open(root)?, clock.now().plus(WALKED_WITHIN));
    let mut lines = Lines { packed: GzEncoder::new(Vec::new(), Compression::default()), size: 0 };
    let mut folders = VecDeque::from([PathBuf::new()]);
    let mut whole = true;
    'walk: while let Some(path) = folders.pop_front() {
        let found = match tree.folder(&path).and_then(|folder| tree.list(&folder)) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "a folder of the disk is not listed");
                continue;
            }
        };
        for found in found {
            if lines.is_full() || clock.now() >= until {
                whole = false;
                break 'walk;
            }
            let at = path.join(&found.name);
            if at.as_os_str().as_bytes().len() > LONGEST_PATH {
                continue;
            }
            lines.add(&line(&at, &found))?;
            if found.kind == Kind::Folder {
                folders.push_back(at);
            }
        }
    }
    if !whole {
        let modified = clock.now();
        lines.add(&Listed { path: MORE.to_owned(), kind: "other".to_owned(), size: 0, modified })?;
    }
    tree.give_back()?;
    lines.packed.finish()
}

struct Lines {
    packed: GzEncoder<Vec<u8>>,
    size: usize,
}

impl Lines {
    fn is_full(&self) -> bool {
        self.packed.get_ref().len() > MOST_COMPRESSED || self.size > MOST_UNPACKED
    }

    fn add(&mut self, listed: &Listed) -> io::Result<()> {
        let mut line = serde_json::to_vec(listed)?;
        line.push(b'\n');
        self.size += line.len();
        self.packed.write_all(&line)
    }
}

fn line(path: &Path, found: &Found) -> Listed {
    let kind = match found.kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Link => "link",
        Kind::Pipe | Kind::Other => "other",
    };
    let (seconds, nanoseconds) = found.modified;
    // Anybody can set any time.
    let milliseconds = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
    Listed {
        path: String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned(),
        kind: kind.to_owned(),
        size: found.size,
        modified: Timestamp::from_millis(milliseconds.clamp(0, LAST)),
    }
}

/// The end of the year 9999, after which no time can be written.
const LAST: i64 = 253_402_300_799_999;
