//! What comes to the outer copy from outside, and what is to be done about it.

use std::sync::Arc;

use cloud::Clock;
use domain::agent::{Desired, Mount, Synced};
use tokio::{signal::unix::Signal as Signals, sync::mpsc};

use crate::{
    deadlines::{Deadlines, Due, SHORT_GRACE},
    sync::Heard,
};

/// What comes from outside: what the control plane wants, signals, and time.
pub(crate) struct Coming {
    pub(crate) clock: Arc<dyn Clock>,
    heard: mpsc::Receiver<Heard>,
    terminate: Signals,
    pub(crate) deadlines: Deadlines,
    /// The version of the desired state that was taken last, and that state until it is passed on.
    pub(crate) version: u64,
    pub(crate) desired: Option<Desired>,
    /// The disk, once it is there.
    mount: Option<Mount>,
}

/// What is to be done about what came.
#[derive(Debug)]
pub(crate) enum Next {
    /// There is another desired state to be passed on.
    Apply,
    /// Ask everything to end.
    Stop,
    /// End what is left.
    Kill,
}

impl Coming {
    pub(crate) fn new(clock: Arc<dyn Clock>, heard: mpsc::Receiver<Heard>, terminate: Signals, synced: Synced) -> Self {
        let deadlines = Deadlines::new(clock.now());
        let mut coming = Self { clock, heard, terminate, deadlines, version: 0, desired: None, mount: None };
        coming.hear(synced);
        coming
    }

    /// Comes back when there is something to be done. It can be dropped and asked again at any time.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            let pause = match self.deadlines.due(self.clock.now()) {
                Due::Sleep(pause) => pause,
                Due::Stop => return Next::Stop,
                Due::Kill => return Next::Kill,
            };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                Some(news) = self.heard.recv() => match news {
                    Heard::Synced(synced) => {
                        self.hear(*synced);
                        if self.desired.is_some() {
                            return Next::Apply;
                        }
                    }
                    Heard::Refused(status) => self.stop_soon(&format!("The control plane refused it with status {status}.")),
                },
                _signalled = self.terminate.recv() => self.stop_soon("The agent was told to end."),
            }
        }
    }

    /// The disk, once it is there, or why the job ends before that.
    pub(crate) async fn mount(&mut self) -> Result<Mount, String> {
        loop {
            if let Some(mount) = &self.mount {
                return Ok(mount.clone());
            }
            match self.next().await {
                Next::Apply => {}
                Next::Stop | Next::Kill => return Err(self.reason()),
            }
        }
    }

    /// Comes back when a job that has not begun yet is to end, with why. It needs no grace.
    pub(crate) async fn over(&mut self) -> String {
        while let Next::Apply = self.next().await {}
        self.reason()
    }

    /// Why the job ends.
    pub(crate) fn reason(&self) -> String {
        self.deadlines.reason().unwrap_or("It ended.").to_owned()
    }

    /// Takes an answer of the control plane's.
    fn hear(&mut self, synced: Synced) {
        self.deadlines.heard(self.clock.now());
        let Some(desired) = synced.desired else { return };
        // Answers of two syncs cannot overtake each other, but a doubled one changes nothing.
        if synced.version < self.version {
            return;
        }
        self.version = synced.version;
        self.deadlines.desired(&desired);
        self.mount.clone_from(&desired.disk);
        self.desired = Some(desired);
    }

    /// Ends in a short while.
    fn stop_soon(&mut self, reason: &str) {
        self.deadlines.stop(self.clock.now().plus(SHORT_GRACE), reason);
    }
}
