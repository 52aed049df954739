//! One session: a shell, a command or a file transfer, and its channel.
//!
//! All three are the same for the [`relay`](super::relay): something with an input, one or two outputs and an end.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::{ffi::OsStringExt, process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use portable_pty::{CommandBuilder, native_pty_system};
use russh::{Channel, server::Msg};
use tokio::{
    process::Command,
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
};

use super::{
    relay::{self, Relay, Running, copy_out, feed, read_all, size},
    sftp::Sftp,
};
use crate::{environment::Environment, node::Node, orphans};

/// What end of input is for a terminal.
const END_OF_INPUT: u8 = 4;

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// The shell.
    Shell,
    /// A command line of the user's own, for the shell.
    Command(Vec<u8>),
    /// File transfer.
    Files,
}

/// The terminal that a client sits at.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    pub(crate) name: String,
    pub(crate) columns: u32,
    pub(crate) rows: u32,
}

/// A session that is to begin.
pub(crate) struct Started {
    pub(crate) node: Arc<Node>,
    pub(crate) relay: Relay,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) environment: Environment,
    pub(crate) wish: Wish,
    /// Its place among its connection's sessions, given back when this ends.
    pub(crate) place: OwnedSemaphorePermit,
}

impl Started {
    /// Runs the session to its end.
    pub(crate) async fn run(mut self, channel: Channel<Msg>) {
        match self.start() {
            Ok(running) => {
                let screen = running.screen;
                self.relay.run(running, channel).await;
                if let Some(screen) = screen {
                    self.node.terminals.remove(screen);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a session could not be started");
                relay::refused(channel, &format!("slipway: it could not be started: {error}\r\n")).await;
            }
        }
        drop(self.place);
    }

    /// Starts what the client wants.
    fn start(&mut self) -> io::Result<Running> {
        match (&self.wish, self.terminal.take()) {
            (Wish::Files, _) => Ok(self.files()),
            (Wish::Shell | Wish::Command(_), Some(terminal)) => self.in_terminal(&terminal),
            (Wish::Shell | Wish::Command(_), None) => self.piped(),
        }
    }

    /// The shell's argument array. A client's command is one argument, the user's own text.
    ///
    /// The shell is interactive but no login shell: `/etc/profile` would put its own search path over the job's.
    fn words(&self) -> Vec<OsString> {
        let mut words = vec![OsString::from(self.node.shell)];
        if let Wish::Command(command) = &self.wish {
            words.extend(["-c".into(), OsString::from_vec(command.clone())]);
        }
        words
    }

    fn piped(&self) -> io::Result<Running> {
        let words = self.words();
        let mut command = Command::new(self.node.shell);
        command.args(&words[1..]).env_clear().envs(&self.environment).current_dir(&self.node.home).process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        orphans::awaited(child.id());
        let process = child.id().and_then(|id| i32::try_from(id).ok());
        let (input, data) = mpsc::channel(8);
        if let Some(stdin) = child.stdin.take() {
            tokio::spawn(feed(stdin, data));
        }
        let output = child.stdout.take().map_or_else(|| mpsc::channel(1).1, read_all);
        let errors = child.stderr.take().map(read_all);
        let (tell, end) = oneshot::channel();
        tokio::spawn(async move {
            if tell.send(child.wait().await).is_err() {
                tracing::debug!("a session's end was of no interest any more");
            }
        });
        Ok(Running { process, errors, ..Running::new(input, output, end) })
    }

    /// In a terminal the program and its reader and writer each have a thread: there is no other way to a terminal without
    /// `unsafe`. All three end with the terminal.
    fn in_terminal(&self, terminal: &Terminal) -> io::Result<Running> {
        let pair = native_pty_system().openpty(size(terminal.columns, terminal.rows)).map_err(io::Error::other)?;
        let mut command = CommandBuilder::from_argv(self.words());
        command.env_clear();
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command.env("TERM", if terminal.name.is_empty() { "dumb" } else { &terminal.name });
        command.cwd(&self.node.home);
        let mut child = pair.slave.spawn_command(command).map_err(io::Error::other)?;
        drop(pair.slave);
        orphans::awaited(child.process_id());
        let process = child.process_id().and_then(|id| i32::try_from(id).ok());
        let reader = pair.master.try_clone_reader().map_err(io::Error::other)?;
        let writer = pair.master.take_writer().map_err(io::Error::other)?;
        let (input, data) = mpsc::channel(8);
        let (screen, output) = mpsc::channel(8);
        let shown = self.node.terminals.add(screen.clone());
        let (tell, end) = oneshot::channel();
        named("terminal-in", move || write_terminal(writer, data))?;
        named("terminal-out", move || read_terminal(reader, &screen))?;
        named("terminal-wait", move || {
            let status = match child.as_any_mut().downcast_mut::<std::process::Child>() {
                Some(child) => child.wait(),
                None => child.wait().map(|status| ExitStatus::from_raw(i32::from(!status.success()) << 8)),
            };
            if tell.send(status).is_err() {
                tracing::debug!("a session's end was of no interest any more");
            }
        })?;
        let terminal = Some(pair.master);
        Ok(Running { process, terminal, screen: Some(shown), ..Running::new(input, output, end) })
    }

    /// File transfer is served by this very program; it ends at the end of its input, with success, as `sftp-server` does.
    /// (Clients such as `scp` now and then fail when it only goes away.)
    fn files(&self) -> Running {
        let (near, far) = tokio::io::duplex(256 * 1024);
        let (from_far, to_far) = tokio::io::split(near);
        let home = self.node.home.clone();
        let (input, data) = mpsc::channel(8);
        tokio::spawn(feed(to_far, data));
        let (served, end) = oneshot::channel();
        let (tell, output) = mpsc::channel(8);
        tokio::spawn(async move {
            russh_sftp::server::run(far, Sftp::new(home)).await;
            copy_out(from_far, tell).await;
            if served.send(Ok(ExitStatus::from_raw(0))).is_err() {
                tracing::debug!("a file transfer's end was of no interest any more");
            }
        });
        Running::new(input, output, end)
    }
}

fn read_terminal(mut from: Box<dyn Read + Send>, to: &mpsc::Sender<Bytes>) {
    let mut part = vec![0; 32 * 1024];
    loop {
        match from.read(&mut part) {
            Ok(0) => return,
            Ok(length) => {
                if to.blocking_send(Bytes::copy_from_slice(&part[..length])).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return tracing::debug!(%error, "a terminal's output"),
        }
    }
}

/// At the end of its input a terminal gets ^D, which asks the program to end; it is not killed.
fn write_terminal(mut to: Box<dyn Write + Send>, mut data: mpsc::Receiver<Bytes>) {
    while let Some(data) = data.blocking_recv() {
        if let Err(error) = to.write_all(&data) {
            return tracing::debug!(%error, "a terminal's input");
        }
    }
    if let Err(error) = to.write_all(&[END_OF_INPUT]) {
        tracing::debug!(%error, "a terminal's input");
    }
}

fn named(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}
