//! Between a channel and what runs behind it: input, outputs, signals, the terminal's size, and the end.

use std::{
    collections::VecDeque,
    io,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use portable_pty::{MasterPty, PtySize};
use russh::{
    Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig,
    server::{Handle, Msg},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::processes;

/// How much input of one connection may wait before its client is held back.
const MOST_WAITING: usize = 4 * 1024 * 1024;
/// The window of a client that may send, and of one that is held back. The latter must not be nothing: it is the arrival of data
/// that lets the window grow again.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;
const TRICKLE: u32 = 2;
/// How long after the program's end its output is still waited for: something that it left running may hold it for ever.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// How long the processes of a client that has gone have between the polite signal and the other one.
const GONE_GRACE: Duration = Duration::from_secs(2);

/// How much a connection's client may send, by what of it waits already. russh asks whenever it has enlarged a window.
pub(super) fn window(queued: &AtomicUsize) -> u32 {
    if queued.load(Ordering::Relaxed) > MOST_WAITING { TRICKLE } else { WINDOW }
}

/// What a relay must know of its connection.
///
/// russh serves a connection's two directions in one loop, which stands still while a channel is not read: a program that must get
/// rid of output before it takes more input (`gzip -c`) would wait for ever. So channels are read whatever the programs do, and
/// a client that sends too much is held back by its window instead.
#[derive(Clone)]
pub(super) struct Relay {
    pub(super) handle: Handle,
    pub(super) closed: watch::Receiver<bool>,
    /// How much input waits, in all of the connection's channels.
    pub(super) queued: Arc<AtomicUsize>,
}

/// The input that waits for a program.
struct Waiting {
    data: VecDeque<Bytes>,
    size: usize,
    all: Arc<AtomicUsize>,
}

impl Waiting {
    fn push(&mut self, data: Bytes) {
        self.size += data.len();
        self.all.fetch_add(data.len(), Ordering::Relaxed);
        self.data.push_back(data);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let data = self.data.pop_front()?;
        self.size -= data.len();
        self.all.fetch_sub(data.len(), Ordering::Relaxed);
        Some(data)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// Something that runs in a session.
pub(super) struct Running {
    /// The process, which leads its group; file transfer has none.
    pub(super) process: Option<i32>,
    /// Its input; dropping this ends it.
    pub(super) input: Option<mpsc::Sender<Bytes>>,
    /// The client will send no more input; what waits is still passed on.
    pub(super) ended_input: bool,
    pub(super) output: mpsc::Receiver<Bytes>,
    pub(super) errors: Option<mpsc::Receiver<Bytes>>,
    pub(super) end: oneshot::Receiver<io::Result<ExitStatus>>,
    /// Whether the client is told how it ended; a forwarded connection has no exit code.
    pub(super) tells: bool,
    pub(super) terminal: Option<Box<dyn MasterPty + Send>>,
    /// Where this terminal can be written to, among all that are open.
    pub(super) screen: Option<u64>,
}

/// How a session ended.
enum End {
    Exited(io::Result<ExitStatus>),
    ClientGone,
}

impl Relay {
    /// Relays between `running` and the channel to the end of either.
    pub(super) async fn run(mut self, mut running: Running, channel: Channel<Msg>) {
        let (mut read, write) = channel.split();
        let write = Arc::new(write);
        let (tell_exited, exited) = watch::channel(false);
        let mut pumps = JoinSet::new();
        let (_none, empty) = mpsc::channel(1);
        let output = std::mem::replace(&mut running.output, empty);
        pumps.spawn(pump(output, Arc::clone(&write), None, exited.clone()));
        if let Some(errors) = running.errors.take() {
            pumps.spawn(pump(errors, Arc::clone(&write), Some(1), exited));
        }
        let mut waiting = Waiting { data: VecDeque::new(), size: 0, all: Arc::clone(&self.queued) };
        let end = self.attend(&mut running, &mut read, &mut waiting).await;
        drop(waiting);
        tell_exited.send_replace(true);
        match end {
            End::Exited(status) => {
                if self.drained(&mut pumps, &mut read).await {
                    self.tell(running.tells.then_some(status), &write).await;
                }
            }
            End::ClientGone => {
                pumps.abort_all();
                if let Some(process) = running.process {
                    let tree = processes::tree(&processes::all(), &[process]);
                    processes::end(tree, Signal::SIGHUP, GONE_GRACE).await;
                }
            }
        }
    }

    /// Waits until the client has got the rest of the output; false when it is gone.
    async fn drained(&mut self, pumps: &mut JoinSet<()>, read: &mut ChannelReadHalf) -> bool {
        let drained = async { while pumps.join_next().await.is_some() {} };
        // What the client still sends is of no use, but unread it would hold up the connection.
        let gone = async { while !matches!(read.wait().await, Some(ChannelMsg::Close) | None) {} };
        tokio::select! {
            () = drained => true,
            () = gone => false,
            _gone = self.closed.wait_for(|closed| *closed) => false,
        }
    }

    /// Tells the client how it ended, if there is something to tell, and closes the channel.
    async fn tell(&self, status: Option<io::Result<ExitStatus>>, write: &ChannelWriteHalf<Msg>) {
        let status = status.map(|status| {
            status.unwrap_or_else(|error| {
                tracing::warn!(%error, "a session's end could not be seen");
                ExitStatus::from_raw(255 << 8)
            })
        });
        let mut told = Ok(());
        if let Some(signal) = status.and_then(|status| status.signal()) {
            let (name, core) = (signal_name(signal), status.is_some_and(|status| status.core_dumped()));
            let said = self.handle.exit_signal_request(write.id(), name, core, String::new(), String::new()).await;
            told = said.map_err(|()| russh::Error::SendError);
        }
        finished(told, write, status.and_then(|status| status.code())).await;
    }

    /// Passes on what the client says until the program ends or the client is gone.
    ///
    /// The channel is read whatever the program does: see [`Relay`].
    async fn attend(&mut self, running: &mut Running, read: &mut ChannelReadHalf, waiting: &mut Waiting) -> End {
        loop {
            let input = running.input.clone().filter(|_input| !waiting.data.is_empty());
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
                room = room => match (room, waiting.pop()) {
                    (Some(room), Some(data)) => {
                        room.send(data);
                        if running.ended_input && waiting.data.is_empty() {
                            running.input = None;
                        }
                    }
                    // The program has closed its input: what comes is thrown away.
                    _ => {
                        while waiting.pop().is_some() {}
                        running.input = None;
                    }
                },
                message = read.wait() => match message {
                    Some(ChannelMsg::Data { data }) if running.input.is_some() => waiting.push(data),
                    Some(ChannelMsg::Eof) => {
                        running.ended_input = true;
                        if waiting.data.is_empty() {
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
}

impl Running {
    /// Something with no more than an input, an output and an end.
    pub(super) fn new(
        input: mpsc::Sender<Bytes>,
        output: mpsc::Receiver<Bytes>,
        end: oneshot::Receiver<io::Result<ExitStatus>>,
    ) -> Self {
        Self {
            process: None,
            input: Some(input),
            ended_input: false,
            output,
            errors: None,
            end,
            tells: true,
            terminal: None,
            screen: None,
        }
    }

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

/// Says how it ended and closes the channel, in this order; `before` is what was sent just before.
async fn finished(before: Result<(), russh::Error>, write: &ChannelWriteHalf<Msg>, code: Option<i32>) {
    let said = async {
        before?;
        if let Some(code) = code {
            write.exit_status(u32::try_from(code).unwrap_or(255)).await?;
        }
        write.eof().await?;
        write.close().await
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "a client was gone before the end");
    }
}

/// Says why there is nothing to relay, as a shell does, and closes the channel.
pub(super) async fn refused(channel: Channel<Msg>, said: &str) {
    let (_read, write) = channel.split();
    finished(write.extended_data_bytes(1, Bytes::copy_from_slice(said.as_bytes())).await, &write, Some(126)).await;
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

/// What comes out of `from`, read by a task of its own.
pub(super) fn read_all(from: impl AsyncRead + Unpin + Send + 'static) -> mpsc::Receiver<Bytes> {
    let (tell, output) = mpsc::channel(8);
    tokio::spawn(copy_out(from, tell));
    output
}

/// Sends what comes out of `from`.
pub(super) async fn copy_out(mut from: impl AsyncRead + Unpin, to: mpsc::Sender<Bytes>) {
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
pub(super) async fn feed(mut to: impl AsyncWrite + Unpin, mut data: mpsc::Receiver<Bytes>) {
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

/// A terminal's size, or the usual one for what can be none.
pub(super) fn size(columns: u32, rows: u32) -> PtySize {
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
