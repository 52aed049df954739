//! Process trees: finding them in `/proc` and ending them.
//!
//! A process is named by its id *and* its start time, so that a signal never reaches a stranger that got the id later.

use std::{collections::BTreeSet, fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The variable that every process of a job carries, with the workload's id as its value.
pub const WORKLOAD_MARK: &str = "SLIPWAY_WORKLOAD";

/// The variable that every process of one SSH connection carries, so that a removed user's programs are found even when they
/// have left their session, as `tmux` does.
pub(crate) const SESSION_MARK: &str = "SLIPWAY_SESSION";

/// One process, as `/proc/<id>/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: i32,
    parent: i32,
    group: i32,
    session: i32,
    pub(crate) started: u64,
    pub(crate) dead: bool,
}

/// Every process that can be seen from here. One that ends while we look is left out.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(look).collect()
}

/// The process with this id, if there is one.
pub(crate) fn look(id: i32) -> Option<Process> {
    parse_stat(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Reads a `stat` line. The program's name comes second, in brackets, and may itself hold brackets and spaces.
fn parse_stat(id: i32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
    Some(Process {
        id,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        started: fields.get(19)?.parse().ok()?,
        dead: matches!(*fields.first()?, "Z" | "X"),
    })
}

/// The `roots`, what descends from them, and what is in a process group or session that one of them leads.
pub(crate) fn tree(all: &[Process], roots: &[i32]) -> Vec<Process> {
    let roots: BTreeSet<i32> = roots.iter().copied().collect();
    let within = |p: &&Process| [p.id, p.group, p.session].iter().any(|id| roots.contains(id));
    let mut inside: BTreeSet<i32> = all.iter().filter(within).map(|p| p.id).collect();
    loop {
        let before = inside.len();
        let children: Vec<i32> = all.iter().filter(|p| inside.contains(&p.parent)).map(|p| p.id).collect();
        inside.extend(children);
        if inside.len() == before {
            break;
        }
    }
    all.iter().filter(|p| inside.contains(&p.id) && !p.dead).copied().collect()
}

/// The value of the variable `name` with which the process was started, if we may look.
fn mark(process: Process, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{}/environ", process.id)).ok()?;
    environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='))
        .find_map(|(key, value)| (key == name).then(|| value.to_owned()))
}

/// The processes that were started with `name` set to a value that `wanted` accepts, and what descends from them.
pub(crate) fn marked(name: &str, wanted: impl Fn(&str) -> bool) -> Vec<Process> {
    let everyone = all();
    let carry = |process: &&Process| mark(**process, name).is_some_and(|value| wanted(&value));
    let roots: Vec<i32> = everyone.iter().filter(carry).map(|process| process.id).collect();
    let spared = ourselves(&everyone);
    let mut found = tree(&everyone, &roots);
    found.retain(|process| !spared.contains(&process.id));
    found
}

/// This process, its ancestors, and the first process of a process namespace: never to be ended from here.
fn ourselves(all: &[Process]) -> BTreeSet<i32> {
    let mut spared = BTreeSet::from([1]);
    let mut next = Pid::this().as_raw();
    while next > 1 && spared.insert(next) {
        next = all.iter().find(|process| process.id == next).map_or(0, |process| process.parent);
    }
    spared
}

/// Every process of the job, seen from the agent that serves it: what it started or adopted, and what carries the job's mark.
pub(crate) fn of_workload(workload: &str) -> Vec<Process> {
    let everyone = all();
    let spared = ourselves(&everyone);
    let children: Vec<i32> = children(&everyone).map(|process| process.id).collect();
    let mut found = tree(&everyone, &children);
    found.extend(marked(WORKLOAD_MARK, |value| value == workload));
    found.retain(|process| !spared.contains(&process.id) && !process.dead);
    found.sort_by_key(|process| process.id);
    found.dedup_by_key(|process| process.id);
    found
}

/// This process's children: what it started, and what it adopted.
pub(crate) fn children(all: &[Process]) -> impl Iterator<Item = &Process> {
    let own = Pid::this().as_raw();
    all.iter().filter(move |process| process.parent == own)
}

/// Sends `signal` to those that are still the processes that were seen.
pub(crate) fn signal(processes: &[Process], signal: Signal) {
    for process in processes {
        if look(process.id).is_some_and(|now| now.started == process.started && !now.dead)
            && let Err(error) = kill(Pid::from_raw(process.id), signal)
        {
            tracing::debug!(id = process.id, %signal, %error, "a process could not be signalled");
        }
    }
}

/// Those that are still there.
pub(crate) fn alive(processes: &[Process]) -> Vec<Process> {
    let same = |process: &&Process| look(process.id).is_some_and(|now| now.started == process.started && !now.dead);
    processes.iter().filter(same).copied().collect()
}

/// Ends the processes: `first` is asked with, and what is left after `grace` is killed.
pub(crate) async fn end(processes: Vec<Process>, first: Signal, grace: Duration) {
    signal(&processes, first);
    let step = Duration::from_millis(50);
    let mut left = processes;
    let mut waited = Duration::ZERO;
    while waited < grace {
        left = alive(&left);
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(step).await;
        waited += step;
    }
    signal(&left, Signal::SIGKILL);
}

/// Kills every process of the job, and those that it makes meanwhile.
pub(crate) async fn kill_workload(workload: &str) {
    for _attempt in 0..40 {
        let left = of_workload(workload);
        if left.is_empty() {
            return;
        }
        signal(&left, Signal::SIGKILL);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    tracing::warn!(workload, "some processes could not be ended");
}

/// What [`end_leftovers`] met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// How many processes were found, and told to end.
    pub found: usize,
    /// How many were still there when it gave up: what waits for a device does not end before that wait does.
    pub remaining: usize,
}

/// Ends what a fleet that was killed has left behind: every process whose [`WORKLOAD_MARK`] is an id for which `is_ours` says yes,
/// with all that descends from it. It takes under a second, so that some may remain; the caller then asks again. The caller's own
/// processes are never among them, even where the caller itself runs inside somebody's job.
///
/// `is_ours` should know the fleet's own ids (such as "has a folder of ours"): another fleet may share the machine.
pub fn end_leftovers(is_ours: impl Fn(&str) -> bool) -> Leftovers {
    let own = look(Pid::this().as_raw()).and_then(|this| mark(this, WORKLOAD_MARK));
    let left = || marked(WORKLOAD_MARK, |value| is_ours(value) && own.as_deref() != Some(value));
    end_all(left, || std::thread::sleep(Duration::from_millis(20)))
}

/// Kills what `left` shows. A process can start another between a look and its signal, so it looks again until there are none, but no
/// more than twenty times.
fn end_all(mut left: impl FnMut() -> Vec<Process>, mut pause: impl FnMut()) -> Leftovers {
    let mut found = BTreeSet::new();
    for _attempt in 0..20 {
        let processes = left();
        if processes.is_empty() {
            return Leftovers { found: found.len(), remaining: 0 };
        }
        signal(&processes, Signal::SIGKILL);
        found.extend(processes.iter().map(|process| process.id));
        pause();
    }
    Leftovers { found: found.len(), remaining: left().len() }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn process(id: i32, parent: i32, group: i32, session: i32) -> Process {
        Process { id, parent, group, session, started: 1, dead: false }
    }

    #[test]
    fn a_stat_line_with_a_strange_name() {
        let stat = "7 (a) (b c) S 3 7 5 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse_stat(7, stat), Some(Process { started: 4711, ..process(7, 3, 7, 5) }));
        assert_eq!(parse_stat(7, "7 (x) S 3"), None);
    }

    #[test]
    fn a_tree_has_descendants_group_and_session() {
        let all = [
            process(1, 0, 1, 1),
            process(10, 1, 10, 10),
            process(11, 10, 11, 10),
            process(12, 11, 12, 12),
            // Its parent died, but it is still in the session.
            process(13, 1, 13, 10),
            process(20, 1, 20, 20),
        ];
        let ids = |root| tree(&all, &[root]).iter().map(|p| p.id).collect::<Vec<_>>();
        assert_eq!(ids(10), [10, 11, 12, 13]);
        assert_eq!(ids(11), [11, 12]);
        assert_eq!(ids(20), [20]);
        assert_eq!(tree(&all, &[11, 20]).iter().map(|p| p.id).collect::<Vec<_>>(), [11, 12, 20]);
        assert_eq!(tree(&all, &[]), []);
    }

    #[test]
    fn leftovers_are_found_by_their_mark() {
        let id = format!("test-{}", std::process::id());
        let mut left = Command::new("/bin/sh")
            .args(["-c", "sleep 300 & wait"])
            .env(WORKLOAD_MARK, &id)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        // The mark can be seen once the child has become the shell.
        while mark(look(i32::try_from(left.id()).unwrap()).unwrap(), WORKLOAD_MARK).as_deref() != Some(&*id) {
            std::thread::yield_now();
        }
        assert_eq!(end_leftovers(|other| other == "somebody else's"), Leftovers::default());
        let ended = end_leftovers(|other| other == id);
        assert!(ended.found >= 1 && ended.remaining == 0, "{ended:?}");
        assert!(!left.wait().unwrap().success());
        assert_eq!(end_leftovers(|other| other == id), Leftovers::default());
    }

    #[test]
    fn what_does_not_end_is_told_of() {
        // No process has such an id, so that none is signalled.
        let stubborn = |count: i32| (0..count).map(|at| process(i32::MAX - at, 1, 1, 1)).collect::<Vec<_>>();
        // How many there are at each look; the last one stays.
        for (looks, found, remaining) in [
            (vec![0], 0, 0),
            (vec![2, 1, 0], 2, 0),
            (vec![3], 3, 3),
            (vec![3, 1], 3, 1),
            ([vec![2; 20], vec![0]].concat(), 2, 0),
        ] {
            let mut next = looks.iter().copied().chain(std::iter::repeat(*looks.last().unwrap()));
            let met = end_all(|| stubborn(next.next().unwrap()), || {});
            assert_eq!(met, Leftovers { found, remaining }, "{looks:?}");
        }
    }
}
