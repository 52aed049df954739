//! One session: a shell, a command or a file transfer, and its channel.
//!
//! All three are the same here: something with an input, one or two outputs and an end. Its outputs are pumped by tasks of their
//! own, so that a client that does not read stops the program's output and nothing else.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::{ffi::OsStringExt, process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};
use russh::{
    Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig,
    server::{Handle, Msg},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    process::Command,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::sftp::Sftp;
use crate::{environment::Environment, node::Node, processes};

/// How long after the program's end its output is still waited for: something that it left running may hold it for ever.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// How long the processes of a client that has gone have between the polite signal and the other one.
const GONE_GRACE: Duration = Duration::from_secs(2);
/// How much input may wait for a program, and how long it may wait when it is so much.
const MOST_INPUT: usize = 64 * 1024 * 1024;
const STUCK: Duration = Duration::from_secs(60);
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
    pub(crate) handle: Handle,
    pub(crate) closed: watch::Receiver<bool>,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) environment: Environment,
    pub(crate) wish: Wish,
}

/// Something that runs in a session.
struct Running {
    /// The process, which leads its group; file transfer has none.
    process: Option<i32>,
    /// Its input; dropping this ends it.
    input: Option<mpsc::Sender<Bytes>>,
    /// The client will send no more input; what waits is still passed on.
    ended_input: bool,
    output: mpsc::Receiver<Bytes>,
    errors: Option<mpsc::Receiver<Bytes>>,
    end: oneshot::Receiver<io::Result<ExitStatus>>,
    terminal: Option<Box<dyn MasterPty + Send>>,
    /// Where this terminal can be written to, among all that are open.
    screen: Option<u64>,
}

/// How a session ended.
enum End {
    Exited(io::Result<ExitStatus>),
    ClientGone,
    /// The program took none of very much input for a long time.
    Stuck,
}

impl Started {
    /// Runs the session to its end.
    pub(crate) async fn run(mut self, channel: Channel<Msg>) {
        let (mut read, write) = channel.split();
        let write = Arc::new(write);
        let mut running = match self.start() {
            Ok(running) => running,
            Err(error) => {
                tracing::warn!(%error, "a session could not be started");
                let said = Bytes::from(format!("slipway: it could not be started: {error}\r\n"));
                return finished(write.extended_data_bytes(1, said).await, &write, ExitStatus::from_raw(126 << 8)).await;
            }
        };
        let (tell_exited, exited) = watch::channel(false);
        let mut pumps = JoinSet::new();
        let (_none, empty) = mpsc::channel(1);
        let output = std::mem::replace(&mut running.output, empty);
        pumps.spawn(pump(output, Arc::clone(&write), None, exited.clone()));
        if let Some(errors) = running.errors.take() {
            pumps.spawn(pump(errors, Arc::clone(&write), Some(1), exited));
        }
        let end = self.attend(&mut running, &mut read).await;
        tell_exited.send_replace(true);
        if let Some(screen) = running.screen {
            self.node.terminals.remove(screen);
        }
        match end {
            End::Exited(status) => self.exited(status, &mut pumps, &mut read, &write).await,
            End::ClientGone => ended_by_force(running.process, &mut pumps).await,
            End::Stuck => {
                ended_by_force(running.process, &mut pumps).await;
                finished(Ok(()), &write, ExitStatus::from_raw(255 << 8)).await;
            }
        }
    }

    /// The program has ended: the client gets the rest of its output and how it ended.
    async fn exited(
        &mut self,
        status: io::Result<ExitStatus>,
        pumps: &mut JoinSet<()>,
        read: &mut ChannelReadHalf,
        write: &ChannelWriteHalf<Msg>,
    ) {
        let drained = async { while pumps.join_next().await.is_some() {} };
        // What the client still sends is of no use, but unread it would hold up the connection.
        let gone = async { while !matches!(read.wait().await, Some(ChannelMsg::Close) | None) {} };
        tokio::select! {
            () = drained => {}
            () = gone => return,
            _gone = self.closed.wait_for(|closed| *closed) => return,
        }
        let status = status.unwrap_or_else(|error| {
            tracing::warn!(%error, "a session's end could not be seen");
            ExitStatus::from_raw(255 << 8)
        });
        let mut told = Ok(());
        if let Some(signal) = status.signal() {
            let (name, core) = (signal_name(signal), status.core_dumped());
            let said = self.handle.exit_signal_request(write.id(), name, core, String::new(), String::new()).await;
            told = said.map_err(|()| russh::Error::SendError);
        }
        finished(told, write, status).await;
    }

    /// Passes on what the client says until the program ends or the client is gone.
    ///
    /// russh serves a connection's two directions in one loop, which stands still while a channel is not read: a program that
    /// must get rid of output before it takes more input would wait for ever. So the channel is read whatever the program does,
    /// up to a bound.
    async fn attend(&mut self, running: &mut Running, read: &mut ChannelReadHalf) -> End {
        let mut waiting: VecDeque<Bytes> = VecDeque::new();
        let mut size = 0;
        loop {
            let full = size >= MOST_INPUT;
            let input = running.input.clone().filter(|_input| !waiting.is_empty());
            let room = async {
                match input {
                    Some(input) => input.reserve_owned().await.ok(),
                    // Nothing to pass on, or nobody who takes it.
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                status = &mut running.end => {
                    return End::Exited(status.unwrap_or_else(|_lost| Err(io::Error::other("it was not waited for"))));
                }
                _gone = self.closed.wait_for(|closed| *closed) => return End::ClientGone,
                room = room => match (room, waiting.pop_front()) {
                    (Some(room), Some(data)) => {
                        size -= data.len();
                        room.send(data);
                        if running.ended_input && waiting.is_empty() {
                            running.input = None;
                        }
                    }
                    // The program has closed its input: what comes is thrown away.
                    _ => (running.input, size) = (None, 0),
                },
                () = tokio::time::sleep(STUCK), if full => return End::Stuck,
                message = read.wait(), if !full => match message {
                    Some(ChannelMsg::Data { data }) if running.input.is_some() => {
                        size += data.len();
                        waiting.push_back(data);
                    }
                    Some(ChannelMsg::Eof) => {
                        running.ended_input = true;
                        if waiting.is_empty() {
                            running.input = None;
                        }
                    }
                    Some(ChannelMsg::Signal { signal }) => running.signal(&signal),
                    Some(ChannelMsg::WindowChange { col_width, row_height, .. }) => running.resize(col_width, row_height),
                    Some(ChannelMsg::Close) | None => return End::ClientGone,
                    Some(_) => {}
                },
            }
        }
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
        Ok(Running { process, input: Some(input), ended_input: false, output, errors, end, terminal: None, screen: None })
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
        Ok(Running { process, input: Some(input), ended_input: false, output, errors: None, end, terminal, screen: Some(shown) })
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
        Running { process: None, input: Some(input), ended_input: false, output, errors: None, end, terminal: None, screen: None }
    }
}

impl Running {
    /// Passes a client's signal on to the program and what it runs in the foreground.
    fn signal(&self, signal: &Sig) {
        let foreground = self.terminal.as_ref().and_then(|terminal| terminal.process_group_leader());
        let (Some(signal), Some(group)) = (signal_of(signal), foreground.or(self.process)) else { return };
        if let Err(error) = killpg(Pid::from_raw(group), signal) {
            tracing::debug!(%error, "a client's signal could not be passed on");
        }
    }

    fn resize(&self, columns: u32, rows: u32) {
        if let Some(terminal) = &self.terminal
            && let Err(error) = terminal.resize(size(columns, rows))
        {
            tracing::debug!(%error, "a terminal could not be resized");
        }
    }
}

/// Ends a program that nobody listens to any more, with what it started.
async fn ended_by_force(process: Option<i32>, pumps: &mut JoinSet<()>) {
    pumps.abort_all();
    if let Some(process) = process {
        let tree = processes::tree(&processes::all(), process);
        processes::end(tree, Signal::SIGHUP, GONE_GRACE).await;
    }
}

/// Says how it ended and closes the channel, in this order; `before` is what was sent just before.
async fn finished(before: Result<(), russh::Error>, write: &ChannelWriteHalf<Msg>, status: ExitStatus) {
    let said = async {
        before?;
        if let Some(code) = status.code() {
            write.exit_status(u32::try_from(code).unwrap_or(255)).await?;
        }
        write.eof().await?;
        write.close().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "a client was gone before the end");
    }
}

/// Sends what comes out of a program to the client. After the program's end it goes on for as long as something comes.
async fn pump(
    mut from: mpsc::Receiver<Bytes>,
    write: Arc<ChannelWriteHalf<Msg>>,
    extended: Option<u32>,
    mut exited: watch::Receiver<bool>,
) {
    loop {
        let data = tokio::select! {
            data = from.recv() => data,
            () = idle(&mut exited) => None,
        };
        let Some(data) = data else { return };
        let sent = match extended {
            Some(kind) => write.extended_data_bytes(kind, data).await,
            None => write.data_bytes(data).await,
        };
        if let Err(error) = sent {
            return tracing::debug!(%error, "a client does not read any more");
        }
    }
}

/// Comes back some time after the program's end.
async fn idle(exited: &mut watch::Receiver<bool>) {
    if exited.wait_for(|exited| *exited).await.is_ok() {
        tokio::time::sleep(LAST_OUTPUT).await;
    }
}

fn read_all(from: impl AsyncRead + Unpin + Send + 'static) -> mpsc::Receiver<Bytes> {
    let (tell, output) = mpsc::channel(8);
    tokio::spawn(copy_out(from, tell));
    output
}

async fn copy_out(mut from: impl AsyncRead + Unpin, to: mpsc::Sender<Bytes>) {
    let mut part = vec![0; 32 * 1024];
    loop {
        match from.read(&mut part).await {
            Ok(0) => return,
            Ok(length) => {
                if to.send(Bytes::copy_from_slice(&part[..length])).await.is_err() {
                    return;
                }
            }
            Err(error) => return tracing::debug!(%error, "a program's output"),
        }
    }
}

/// Writes what comes until the senders are gone; then the program's input ends.
async fn feed(mut to: impl AsyncWrite + Unpin, mut data: mpsc::Receiver<Bytes>) {
    while let Some(data) = data.recv().await {
        if let Err(error) = to.write_all(&data).await {
            // It has closed its input, which is its right; what comes is thrown away.
            return tracing::debug!(%error, "a program does not read any more");
        }
    }
    if let Err(error) = to.shutdown().await {
        tracing::debug!(%error, "a program's input could not be closed");
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

fn size(columns: u32, rows: u32) -> PtySize {
    let within = |number: u32, other: u16| match u16::try_from(number) {
        Ok(0) | Err(_) => other,
        Ok(number) => number,
    };
    PtySize { rows: within(rows, 24), cols: within(columns, 80), pixel_width: 0, pixel_height: 0 }
}

/// The signals that SSH has names for.
const SIGNALS: [(Sig, Signal); 12] = [
    (Sig::ABRT, Signal::SIGABRT),
    (Sig::ALRM, Signal::SIGALRM),
    (Sig::FPE, Signal::SIGFPE),
    (Sig::HUP, Signal::SIGHUP),
    (Sig::ILL, Signal::SIGILL),
    (Sig::INT, Signal::SIGINT),
    (Sig::KILL, Signal::SIGKILL),
    (Sig::PIPE, Signal::SIGPIPE),
    (Sig::QUIT, Signal::SIGQUIT),
    (Sig::SEGV, Signal::SIGSEGV),
    (Sig::TERM, Signal::SIGTERM),
    (Sig::USR1, Signal::SIGUSR1),
];

fn signal_of(name: &Sig) -> Option<Signal> {
    let same = |known: &Sig| std::mem::discriminant(known) == std::mem::discriminant(name);
    SIGNALS.iter().find(|(known, _signal)| same(known)).map(|(_known, signal)| *signal)
}

fn signal_name(number: i32) -> Sig {
    let Ok(signal) = Signal::try_from(number) else { return Sig::Custom(number.to_string()) };
    let known = SIGNALS.iter().find(|(_name, known)| *known == signal).map(|(name, _known)| name.clone());
    known.unwrap_or_else(|| Sig::Custom(signal.as_str().trim_start_matches("SIG").to_owned()))
}
