//! How far a history was told, as one word.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::Stand;

/// The most attempts that a position speaks of. No launch has nearly as many.
const MOST_ATTEMPTS: usize = 64;

/// How far a history was told: the entries of the timeline, and the lines of each attempt's log.
///
/// Written `7p35.1-3-0`: everything up to version 7, after which the launch stood at 35 percent, and of attempt 1's log everything before
/// line 0 of batch 3. Clients are told that it is opaque. One that was made up harms nobody but whoever made it up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last version that was told; 0 before the first.
    pub version: u64,
    /// Where the launch stood after that.
    pub stand: Stand,
    /// The next batch of each attempt, and the next line in it. Attempts before the first of these are over; where there is none at all, no
    /// line was told.
    pub logs: BTreeMap<u32, (u64, usize)>,
}

/// The text is none of our positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event id of this history")]
pub struct NotAPosition;

impl Position {
    /// The batches that are to be read to go on from here: from an attempt's batch (both numbers) up to before another attempt's first; `None`
    /// as the end stands for all that follows. In the order of the attempts.
    #[must_use]
    pub fn unread(&self) -> Vec<((u32, u64), Option<u32>)> {
        let mut ranges: Vec<((u32, u64), Option<u32>)> = Vec::new();
        for (attempt, (sequence, line)) in &self.logs {
            // Of an attempt from which nothing was told, all follows what is left of the one before.
            if (*sequence, *line) <= (1, 0) && !ranges.is_empty() {
                continue;
            }
            if let Some((_, end)) = ranges.last_mut() {
                *end = Some(*attempt);
            }
            ranges.push(((*attempt, *sequence), None));
        }
        if ranges.is_empty() { vec![((0, 0), None)] } else { ranges }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version)?;
        match self.stand {
            Stand::Unknown => f.write_str("u")?,
            Stand::Launched(percent) => write!(f, "p{percent}")?,
            Stand::Failed => f.write_str("f")?,
        }
        self.logs.iter().try_for_each(|(attempt, (sequence, line))| write!(f, ".{attempt}-{sequence}-{line}"))
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let read = read(text).ok_or(NotAPosition)?;
        // One position has one spelling.
        if read.to_string() == text { Ok(read) } else { Err(NotAPosition) }
    }
}

fn read(text: &str) -> Option<Position> {
    let mut parts = text.split('.');
    let head = parts.next()?;
    let (version, stand) = head.split_at_checked(head.find(|letter: char| !letter.is_ascii_digit())?)?;
    let stand = match (stand.split_at_checked(1)?, stand) {
        (_, "u") => Stand::Unknown,
        (_, "f") => Stand::Failed,
        (("p", percent), _) => Stand::Launched(percent.parse().ok().filter(|percent| *percent <= 100)?),
        _ => return None,
    };
    let mut logs = BTreeMap::new();
    for part in parts {
        let mut numbers = part.splitn(3, '-');
        let attempt = numbers.next()?.parse().ok()?;
        let next = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        if logs.insert(attempt, next).is_some() || logs.len() > MOST_ATTEMPTS {
            return None;
        }
    }
    Some(Position { version: version.parse().ok()?, stand, logs })
}
