//! What the parts of the inner copy share: the job's environment, who may come in, and the open terminals.

use std::{
    collections::HashMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use domain::agent::Notice;
use tokio::sync::mpsc;

use crate::{
    environment::{self, Environment},
    idle::Activity,
    link::{FromInner, Setup},
    ssh::keys::Access,
};

/// The job as its processes and sessions see it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) workload: String,
    pub(crate) environment: Environment,
    pub(crate) home: PathBuf,
    pub(crate) shell: &'static str,
    pub(crate) access: Access,
    pub(crate) terminals: Terminals,
    /// What is going on here, for as long as somebody asks whether anything is.
    pub(crate) activity: Activity,
    pub(crate) tell: mpsc::Sender<FromInner>,
    stopping: AtomicBool,
}

impl Node {
    /// The node for this job, which tells what happens to `tell`.
    pub(crate) fn new(setup: &Setup, tell: mpsc::Sender<FromInner>) -> Self {
        let shell = environment::shell();
        let ground = environment::ground(&setup.start, environment::own(), shell);
        Self {
            workload: setup.workload.to_string(),
            environment: environment::of_job(setup, ground.values),
            home: ground.home,
            shell,
            access: Access::default(),
            terminals: Terminals::default(),
            activity: Activity::default(),
            tell,
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on what ends is not started again.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether everything here is being ended.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The program of this name on the job's search path.
    pub(crate) fn on_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.environment.get("PATH")?;
        path.split(':')
            .map(|folder| Path::new(folder).join(name))
            .find(|file| file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0))
    }

    /// Tells the outer copy; if that is gone, this copy ends soon.
    pub(crate) async fn tell(&self, message: FromInner) {
        if self.tell.send(message).await.is_err() {
            tracing::debug!("the agent outside does not listen any more");
        }
    }
}

/// The open terminals, and the last notice that they were shown.
#[derive(Debug, Default)]
pub(crate) struct Terminals {
    open: Mutex<HashMap<u64, mpsc::Sender<Bytes>>>,
    counter: AtomicU64,
    shown: AtomicU64,
}

impl Terminals {
    /// Adds a terminal whose screen is written through `screen`; the answer takes it away again.
    pub(crate) fn add(&self, screen: mpsc::Sender<Bytes>) -> u64 {
        let id = self.counter.fetch_add(1, Ordering::Relaxed);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, screen);
        id
    }

    /// Takes a terminal away.
    pub(crate) fn remove(&self, id: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Shows each notice once, on every terminal that is open.
    pub(crate) fn show(&self, notices: &[Notice]) {
        for notice in notices {
            if self.shown.fetch_max(notice.number, Ordering::Relaxed) >= notice.number {
                continue;
            }
            // Control characters in a notice could do anything to somebody's terminal.
            let text: String = notice.text.chars().filter(|letter| !letter.is_control()).collect();
            let line = Bytes::from(format!("\r\n{text}\r\n"));
            for screen in self.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
                if screen.try_send(line.clone()).is_err() {
                    tracing::debug!("a terminal that does not read misses a notice");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_notice_is_shown_once_on_every_terminal() {
        let terminals = Terminals::default();
        let (screen, mut seen) = mpsc::channel(8);
        let id = terminals.add(screen);
        let notice = |number, text: &str| Notice { number, text: text.into() };
        terminals.show(&[notice(1, "one"), notice(2, "t\x1b[2Jwo")]);
        terminals.show(&[notice(1, "one"), notice(2, "two"), notice(3, "three")]);
        terminals.remove(id);
        terminals.show(&[notice(4, "four")]);
        let mut lines = Vec::new();
        while let Some(line) = seen.recv().await {
            lines.push(line);
        }
        assert_eq!(lines, ["\r\none\r\n", "\r\nt[2Jwo\r\n", "\r\nthree\r\n"]);
    }
}
