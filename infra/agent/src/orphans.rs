//! Orphans: processes of the job whose parents have ended.
//!
//! A program may throw away everything by which it could be found: the mark, its group, its parent. Its parent's end does not set it
//! free, though, because this process adopts it; as our child it is found again.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, waitpid},
    unistd::Pid,
};

use crate::processes::{self, Process};

/// How often dead orphans are looked for. One that is seen dead twice has had this long to be waited for by somebody else.
const PERIOD: Duration = Duration::from_secs(5);

/// The children that we started and wait for ourselves, by id and start time.
static AWAITED: Mutex<BTreeSet<(i32, u64)>> = Mutex::new(BTreeSet::new());

/// From now on this process is the parent of everything below it whose own parent has ended.
pub(crate) fn adopt() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "orphans of the job's cannot be adopted: some may be missed at its end");
    }
}

/// Says that somebody here waits for the child that was just started: it is not for [`reap_forever`], however long it has been dead.
pub(crate) fn awaited(id: Option<u32>) {
    let Some(process) = id.and_then(|id| i32::try_from(id).ok()).and_then(processes::look) else { return };
    AWAITED.lock().unwrap_or_else(PoisonError::into_inner).insert((process.id, process.started));
}

/// Takes away dead orphans, which would otherwise keep their process ids for as long as the job runs.
pub(crate) async fn reap_forever() {
    let mut seen = BTreeSet::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let everyone = processes::all();
        forget_gone(&everyone);
        seen = reap(&seen, processes::children(&everyone));
    }
}

/// Forgets the awaited children that have been waited for.
fn forget_gone(everyone: &[Process]) {
    let there: BTreeSet<(i32, u64)> = processes::children(everyone).map(|child| (child.id, child.started)).collect();
    // One that was started after the look is kept: it exists, though it was not seen.
    let exists = |(id, started): &(i32, u64)| processes::look(*id).is_some_and(|now| now.started == *started);
    let mut awaited = AWAITED.lock().unwrap_or_else(PoisonError::into_inner);
    awaited.retain(|child| there.contains(child) || exists(child));
}

/// Waits for those dead `children` that were dead before already; answers those that are dead for the first time.
fn reap<'a>(seen: &BTreeSet<(i32, u64)>, children: impl Iterator<Item = &'a Process>) -> BTreeSet<(i32, u64)> {
    let awaited = AWAITED.lock().unwrap_or_else(PoisonError::into_inner);
    let dead = children.filter(|child| child.dead).map(|child| (child.id, child.started));
    let (again, first): (BTreeSet<_>, BTreeSet<_>) =
        dead.filter(|child| !awaited.contains(child)).partition(|child| seen.contains(child));
    for (id, _started) in again {
        match waitpid(Pid::from_raw(id), Some(WaitPidFlag::WNOHANG)) {
            Ok(_) | Err(Errno::ECHILD) => {}
            Err(error) => tracing::debug!(id, %error, "a dead orphan could not be taken away"),
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Starts a program that leaves `orphan` behind, with nothing that it could be known by; answers its id.
    fn orphaned(orphan: &str) -> i32 {
        let script = format!("env -i setsid sh -c '{orphan} >/dev/null 2>&1 & echo $!'");
        let output = Command::new("/bin/sh").args(["-c", &script]).stderr(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    fn dead(id: i32) -> Process {
        loop {
            let found = processes::look(id).unwrap();
            if found.dead {
                return found;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_orphan_is_found_and_taken_away_when_it_is_dead() {
        adopt();
        let id = orphaned("exec sleep 300");
        let found = processes::of_workload("no such job").into_iter().find(|process| process.id == id);
        processes::signal(&[found.unwrap()], nix::sys::signal::Signal::SIGKILL);
        let zombie = dead(id);
        let seen = reap(&BTreeSet::new(), [zombie].iter());
        assert!(processes::look(id).is_some(), "it may be somebody's who has yet to wait for it");
        assert!(reap(&seen, [zombie].iter()).is_empty());
        assert_eq!(processes::look(id), None);
    }

    #[test]
    fn a_child_that_somebody_waits_for_is_left_to_them() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        awaited(Some(child.id()));
        let zombie = dead(i32::try_from(child.id()).unwrap());
        forget_gone(&processes::all());
        let seen = reap(&BTreeSet::new(), [zombie].iter());
        reap(&seen, [zombie].iter());
        assert!(child.wait().unwrap().success());
        forget_gone(&processes::all());
        assert!(!AWAITED.lock().unwrap().contains(&(zombie.id, zombie.started)));
    }
}
