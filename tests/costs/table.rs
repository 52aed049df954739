//! The committed table, and how counts are held against it.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

use crate::support::bless;

/// What something costs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Count {
    /// Calls of AWS: the store's and the ports'.
    calls: usize,
    writes: f64,
    reads: f64,
    /// Sealing and opening: on AWS a call of KMS only when no data key is at hand.
    seals: usize,
    /// The calls by name.
    names: BTreeMap<String, usize>,
}

impl Count {
    pub(crate) fn of(labels: Vec<String>, writes: f64, reads: f64) -> Self {
        let (seals, calls) = labels.into_iter().partition::<Vec<_>, _>(|label| label.starts_with("vault."));
        let mut names = BTreeMap::new();
        for label in &calls {
            *names.entry(label.trim_start_matches("store.").to_owned()).or_default() += 1;
        }
        Self { calls: calls.len(), writes, reads, seals: seals.len(), names }
    }

    fn numbers(&self) -> [f64; 4] {
        let whole = |count: usize| f64::from(u32::try_from(count).expect("a small number"));
        // A sum of nothing is minus zero.
        [whole(self.calls), self.writes + 0.0, self.reads + 0.0, whole(self.seals)]
    }

    /// What is left of this without `times` of `part`.
    pub(crate) fn less(&self, part: &Self, times: u32) -> Self {
        let whole = usize::try_from(times).expect("a small number");
        let mut names = self.names.clone();
        for (name, count) in &part.names {
            *names.entry(name.clone()).or_default() -= count * whole;
        }
        names.retain(|_, count| *count > 0);
        Self {
            calls: self.calls - part.calls * whole,
            writes: self.writes - part.writes * f64::from(times),
            reads: self.reads - part.reads * f64::from(times),
            seals: self.seals - part.seals * whole,
            names,
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [calls, writes, reads, seals] = self.numbers();
        write!(f, "{calls:>5} {writes:>7} {reads:>7} {seals:>5}")
    }
}

/// The ceilings of `targets.md`: calls, write units, read units.
const CEILINGS: [(&str, [f64; 3]); 11] = [
    ("get a job", [2.0, 0.0, 2.0]),
    ("list of 50", [2.0, 0.0, 8.0]),
    ("submit", [4.0, 18.0, 2.0]),
    ("agent: a report that changes the phase", [3.0, 10.0, 2.0]),
    ("extend", [3.0, 10.0, 2.0]),
    ("one placement", [2.0, 14.0, 0.0]),
    ("end: nothing runs any more", [3.0, 18.0, 2.0]),
    // At most four reads; the other two calls are the note of how many are left waiting, and the next doorbell.
    ("a pass of 100, less its placements", [6.0, f64::INFINITY, 15.0]),
    // For each two calls of AWS's beside the one of the model's server.
    ("100 requests to a model, kept gateway", [300.0, 200.0, 100.0]),
    ("a request to a model, in a function", [3.0, 2.0, 1.0]),
    // One query for each of the two due indexes.
    ("sweep with nothing due", [2.0, 0.0, 1.0]),
];

/// Ceilings that are not kept yet, and why. Their rows bear a `!`; a row that comes down has to leave this list, and none enters it by
/// itself.
const MISSES: [(&str, &str); 2] = [
    ("end: nothing runs any more", "asks the fleet whether it is really so, which the ceiling does not count"),
    (
        "a request to a model, in a function",
        "gives back what it has leased and writes down what was used before it is frozen, with nobody to share either with",
    ),
];

fn path() -> PathBuf {
    bless::root().join("tests/costs.txt")
}

const HEAD: &str = "\
# What each operation costs, counted in every test run. A row that rises fails the tests until somebody changes it here, with a reason in
# the commit; one that falls asks to be lowered. calls: of the tables and of the ports. WRU, RRU: DynamoDB's write and read units, indexes
# included. seals: of secrets; on AWS a call of KMS only where no data key is at hand. Written by SLIPWAY_BLESS=1 cargo test -p tests costs
#
";

fn rendered(counts: &[(String, Count)]) -> String {
    let mut text = format!(
        "{HEAD}{:<40} {:>5} {:>7} {:>7} {:>5}   {:<16}  the calls\n",
        "operation", "calls", "WRU", "RRU", "seals", "ceiling"
    );
    for (name, count) in counts {
        let ceiling = CEILINGS.iter().find(|(of, _)| of == name);
        let missed = if MISSES.iter().any(|(of, _)| of == name) { " !" } else { "" };
        let ceiling = ceiling.map_or_else(
            || "-".to_owned(),
            |(_, [calls, writes, reads])| format!("{calls} / {writes} / {reads}{missed}"),
        );
        let names = count.names.iter().map(|(name, times)| format!("{times} {name}")).collect::<Vec<_>>().join(", ");
        text.push_str(format!("{name:<40} {count}   {ceiling:<16}  {names}").trim_end());
        text.push('\n');
    }
    text.push_str("#\n# !: above the ceiling of targets.md, because it\n");
    for (name, why) in MISSES {
        text.push_str(&format!("# {name}: {why}\n"));
    }
    text
}

/// The committed numbers by operation.
fn committed() -> BTreeMap<String, [f64; 4]> {
    let text = fs::read_to_string(path()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    let row = |line: &str| {
        let (name, rest) = line.split_at_checked(40)?;
        let numbers = rest.split_whitespace().take(4).map(|word| word.parse().ok()).collect::<Option<Vec<f64>>>()?;
        Some((name.trim().to_owned(), numbers.try_into().ok()?))
    };
    lines.filter_map(row).collect()
}

/// Compares with the committed table and with the ceilings.
pub(crate) fn check(counts: &[(String, Count)]) {
    let text = rendered(counts);
    if bless::wanted() {
        fs::write(path(), &text).expect("tests/costs.txt");
    }
    let mut known = committed();
    let mut wrong = Vec::new();
    for (name, count) in counts {
        let Some(recorded) = known.remove(name) else {
            wrong.push(format!("{name}: no row in tests/costs.txt; add it with SLIPWAY_BLESS=1"));
            continue;
        };
        for ((what, found), recorded) in ["calls", "WRU", "RRU", "seals"].iter().zip(count.numbers()).zip(recorded) {
            if found > recorded {
                wrong.push(format!(
                    "{name}: {what} rose from {recorded} to {found}; find out why before you change tests/costs.txt"
                ));
            } else if found < recorded {
                wrong.push(format!(
                    "{name}: {what} fell from {recorded} to {found}; well done: lower the row in tests/costs.txt"
                ));
            }
        }
        wrong.extend(above_ceiling(name, count));
    }
    wrong.extend(known.into_keys().map(|name| {
        format!("{name}: nothing is counted under this name any more; take its row out of tests/costs.txt")
    }));
    assert!(wrong.is_empty(), "\n{}\n\n{text}", wrong.join("\n"));
}

fn above_ceiling(name: &str, count: &Count) -> Vec<String> {
    let Some((_, ceiling)) = CEILINGS.iter().find(|(of, _)| *of == name) else { return Vec::new() };
    let over = count.numbers().iter().zip(ceiling).any(|(found, most)| found > most);
    match MISSES.iter().find(|(of, _)| *of == name) {
        None if over => vec![format!("{name}: {count} is above the ceiling of targets.md, {ceiling:?}")],
        Some(_) if !over => vec![format!("{name} keeps its ceiling: take it out of MISSES in tests/costs/table.rs")],
        _ => Vec::new(),
    }
}
