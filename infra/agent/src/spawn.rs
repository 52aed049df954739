//! Starting a program on a thread of its own.
//!
//! bubblewrap's `--die-with-parent` is the kernel's parent-death signal, which fires when the *thread* that started the program
//! ends, not the process. A thread of the runtime's blocking pool ends after some seconds of idleness and would take the sandbox
//! with it; the thread made here lives exactly as long as the program.

use std::{
    io,
    process::{Command, ExitStatus},
    thread,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::{AgentError, orphans};

/// A program that runs, and where its end is told.
pub(crate) struct Started {
    pub(crate) id: i32,
    pub(crate) ended: oneshot::Receiver<io::Result<ExitStatus>>,
}

/// Has programs begin with signals that work, whatever this one was started with.
///
/// What a program ignores its children ignore too (`signal(7)`), and shells that are not asked for job control start what is in the
/// background without Ctrl-C: a job could not be interrupted by anybody. What is handled is not handed on, and so these are handled from
/// here on, by doing nothing.
pub(crate) fn take_signals() -> io::Result<()> {
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()] {
        // The handler stays when nobody listens to it any more.
        drop(signal(kind)?);
    }
    Ok(())
}

/// Starts `command` and waits for it, both on one new thread.
pub(crate) async fn on_own_thread(mut command: Command) -> Result<Started, AgentError> {
    let (tell_started, started) = oneshot::channel();
    let (tell_ended, ended) = oneshot::channel();
    let body = move || match command.spawn() {
        Ok(mut child) => {
            orphans::awaited(Some(child.id()));
            // A listener that has gone away is no reason to stop waiting: this thread must outlive the program.
            let heard = tell_started.send(Ok(i32::try_from(child.id()).unwrap_or(i32::MAX))).is_ok();
            let status = child.wait();
            if tell_ended.send(status).is_err() || !heard {
                tracing::debug!("a program's end was of no interest any more");
            }
        }
        Err(error) => {
            if tell_started.send(Err(error)).is_err() {
                tracing::debug!("a program's start was of no interest any more");
            }
        }
    };
    thread::Builder::new().name("sandbox".into()).spawn(body).map_err(AgentError::system("starting a thread"))?;
    let lost = |_gone| AgentError::Sandbox("the thread that starts it is gone".into());
    let id = started.await.map_err(lost)?.map_err(AgentError::system("starting the sandbox"))?;
    Ok(Started { id, ended })
}
