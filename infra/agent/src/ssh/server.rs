//! Connections: who is let in, and what they may ask for.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::Shutdown,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::Secret;
use nix::sys::signal::Signal;
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, MethodSet, Pty,
    keys::{PrivateKey, ssh_key::public::KeyData},
    server::{self, Auth, ChannelOpenHandle, Config, Msg, PublicKeyOffer, RunningSession, Session, VerifiedPublicKey},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use super::{
    forward::{forward, loopback},
    keys::{Guest, MOST_SESSIONS},
    relay::{self, Relay},
    session::{self, Terminal, Wish},
};
use crate::{
    AgentError, environment,
    node::Node,
    processes::{self, SESSION_MARK},
    spawn,
};

/// How many connections may be open at once; each costs memory before anybody has shown a key.
const MOST_CONNECTIONS: usize = 256;
/// How long a client may take to show its key.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);
/// How long a removed user's processes have between the polite signal and the other one.
const PUT_OUT_GRACE: Duration = Duration::from_secs(2);
/// How long a connection that is ended from here may take to be told why, and then to end by itself.
const WORDS_WITHIN: Duration = Duration::from_millis(300);
const GONE_WITHIN: Duration = Duration::from_millis(100);
/// How long the ends of removed users' connections are waited for, and the ends of their sessions.
const PUT_OUT_WITHIN: Duration = Duration::from_secs(1);
const SESSIONS_END_WITHIN: Duration = Duration::from_secs(10);

/// The server's settings, with the host key in OpenSSH's format.
pub(crate) fn config(host_key: &Secret) -> Result<Arc<Config>, AgentError> {
    let key = PrivateKey::from_openssh(host_key.reveal()).map_err(|error| AgentError::HostKey(error.to_string()))?;
    Ok(Arc::new(Config {
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        // Clients first ask which methods there are; that is no attempt to guess.
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        max_auth_attempts: 6,
        // People leave terminals open over night: a dead client is found by the keep-alive instead.
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(30)),
        nodelay: true,
        window_size: relay::WINDOW,
        ..Config::default()
    }))
}

/// Serves connections for ever.
pub(crate) async fn serve(node: Arc<Node>, config: Arc<Config>, listener: TcpListener) {
    if let Err(error) = spawn::take_signals() {
        tracing::warn!(%error, "programs ignore what this one ignores");
    }
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                    tracing::warn!(%peer, "too many connections");
                    continue;
                };
                let (node, config) = (Arc::clone(&node), Arc::clone(&config));
                tokio::spawn(async move { Box::pin(connection(node, config, stream, place, LOGIN_WITHIN)).await });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others will be given back.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A connection's socket, kept beside russh: its loop may stand still before a peer that does not read, or wait for one that
/// never closes, and hears nothing then. When this is dropped, whatever russh does ends with an error.
struct Socket(std::net::TcpStream);

impl Socket {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self(stream.as_fd().try_clone_to_owned()?.into()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown(Shutdown::Both) {
            tracing::debug!(%error, "a connection was closed already");
        }
    }
}

/// Serves one connection to its end, and ends what it started. Its `place` is given back when russh has let go of it.
pub(super) async fn connection(
    node: Arc<Node>,
    config: Arc<Config>,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    login_within: Duration,
) {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small packets may be slow");
    }
    let socket = match Socket::of(&stream) {
        Ok(socket) => socket,
        Err(error) => return tracing::warn!(%error, "a connection could not be served"),
    };
    let mark = format!("{}-{}-{}", node.workload, std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let (close, closed) = watch::channel(false);
    let (let_in, mut is_in) = watch::channel(false);
    let (out, mut is_out) = watch::channel(false);
    let channels = Channels::default();
    let client = Client {
        node: Arc::clone(&node),
        mark: mark.clone(),
        key: None,
        channels: channels.clone(),
        closed,
        queued: Arc::default(),
        let_in,
        out,
        places: Arc::new(Semaphore::new(MOST_SESSIONS.into())),
        _place: place,
    };
    let mut running = match tokio::time::timeout(login_within, server::run_stream(config, stream, client)).await {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection that is no SSH"),
        Err(_late) => return tracing::debug!("a connection that says nothing"),
    };
    let late = async {
        let entered = tokio::time::timeout(login_within, is_in.wait_for(|inside| *inside)).await;
        if entered.is_ok_and(|inside| inside.is_ok()) {
            std::future::pending::<()>().await;
        }
    };
    let words = tokio::select! {
        ended = &mut running => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke");
            }
            None
        }
        () = late => Some("no key was shown in time"),
        _told = is_out.wait_for(|out| *out) => Some("your key has been removed from this job"),
    };
    if let Some(words) = words {
        farewell(&mut running, words).await;
    }
    node.access.leave(&mark);
    close.send_replace(true);
    // What was opened and never begun is read by nobody, and russh may be waiting for just that.
    channels.lock().clear();
    drop(socket);
}

/// Tells a client why its connection ends, if it listens.
async fn farewell(running: &mut RunningSession<Client>, words: &str) {
    let handle = running.handle();
    let told = handle.disconnect(Disconnect::ByApplication, words.to_owned(), String::new());
    if !tokio::time::timeout(WORDS_WITHIN, told).await.is_ok_and(|told| told.is_ok()) {
        return tracing::debug!("a client could not be told why its connection ends");
    }
    if let Ok(Err(error)) = tokio::time::timeout(GONE_WITHIN, running).await {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Ends the connections of those who may not come in any more, and everything that was started from them. Comes back when the
/// connections have ended; their processes go in the background.
pub(crate) async fn put_out(guests: Vec<Guest>) {
    if guests.is_empty() {
        return;
    }
    for guest in &guests {
        guest.out.send_replace(true);
    }
    let gone = async {
        for guest in &guests {
            guest.out.closed().await;
        }
    };
    if tokio::time::timeout(PUT_OUT_WITHIN, gone).await.is_err() {
        tracing::warn!("a removed user's connection is slow to end");
    }
    tokio::spawn(end_processes(guests));
}

/// Ends every process of these connections, and those that they make meanwhile, until none is left.
async fn end_processes(guests: Vec<Guest>) {
    let marks: BTreeSet<&str> = guests.iter().map(|guest| guest.mark.as_str()).collect();
    let theirs = || processes::marked(SESSION_MARK, |mark| marks.contains(mark));
    processes::end(theirs(), Signal::SIGHUP, PUT_OUT_GRACE).await;
    // A session that was about to begin when its connection ended begins all the same: only when all have ended is a look the last.
    let ended = async {
        for guest in &guests {
            if let Err(error) = guest.places.acquire_many(MOST_SESSIONS.into()).await {
                tracing::error!(%error, "sessions are not counted");
            }
        }
    };
    if tokio::time::timeout(SESSIONS_END_WITHIN, ended).await.is_err() {
        tracing::warn!("a removed user's session is slow to end");
    }
    let mut pause = Duration::from_millis(25);
    loop {
        let left = theirs();
        if left.is_empty() {
            return;
        }
        processes::signal(&left, Signal::SIGKILL);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// One client.
struct Client {
    node: Arc<Node>,
    mark: String,
    key: Option<KeyData>,
    channels: Channels,
    closed: watch::Receiver<bool>,
    queued: Arc<AtomicUsize>,
    let_in: watch::Sender<bool>,
    out: watch::Sender<bool>,
    /// What its sessions and forwarded connections hold one of each.
    places: Arc<Semaphore>,
    /// Its own place among the connections; russh drops this with the rest when it is done with the connection.
    _place: OwnedSemaphorePermit,
}

/// A session that has been opened, and what was asked for it so far.
struct Opened {
    channel: Channel<Msg>,
    terminal: Option<Terminal>,
    environment: Vec<(String, String)>,
    place: OwnedSemaphorePermit,
}

/// A connection's sessions that have been opened and not begun.
#[derive(Clone, Default)]
struct Channels(Arc<Mutex<HashMap<ChannelId, Opened>>>);

impl Channels {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Opened>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    fn relay(&self, session: &Session) -> Relay {
        Relay { handle: session.handle(), closed: self.closed.clone(), queued: Arc::clone(&self.queued) }
    }

    fn check(&self, key: &KeyData) -> Auth {
        if self.node.access.allows(key) { Auth::Accept } else { Auth::reject() }
    }

    /// Ends the connection of somebody who has been put out and asks all the same.
    fn still_in(&self) -> Result<(), russh::Error> {
        if self.node.access.is_in(&self.mark) { Ok(()) } else { Err(russh::Error::Disconnect) }
    }

    /// A place for one more session, if there is one left.
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Starts what was asked for, in a task of its own.
    fn start(&mut self, id: ChannelId, wish: Wish, session: &mut Session) -> Result<(), russh::Error> {
        self.still_in()?;
        let Some(opened) = self.channels.lock().remove(&id) else { return session.channel_failure(id) };
        session.channel_success(id)?;
        let mut environment = self.node.environment.clone();
        environment.extend(opened.environment);
        environment.insert(SESSION_MARK.to_owned(), self.mark.clone());
        let started = session::Started {
            node: Arc::clone(&self.node),
            relay: self.relay(session),
            terminal: opened.terminal,
            environment,
            wish,
            place: opened.place,
        };
        tokio::spawn(started.run(opened.channel));
        Ok(())
    }
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.check(offer.public_key.key_data()))
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        self.key = Some(key.public_key.key_data().clone());
        Ok(self.check(key.public_key.key_data()))
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        let Some(key) = self.key.clone() else { return Err(russh::Error::Disconnect) };
        let guest = Guest { key, mark: self.mark.clone(), out: self.out.clone(), places: Arc::clone(&self.places) };
        if !self.node.access.enter(guest) {
            return Err(russh::Error::Disconnect);
        }
        self.let_in.send_replace(true);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.still_in()?;
        if let Some(place) = self.place() {
            let opened = Opened { channel, terminal: None, environment: Vec::new(), place };
            self.channels.lock().insert(opened.channel.id(), opened);
            reply.accept().await;
        } else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.still_in()?;
        let Some((addresses, port)) = loopback(host).zip(u16::try_from(port).ok()) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let Some(place) = self.place() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let forwarded = forward(channel, addresses, port, reply, self.relay(session));
        tokio::spawn(async move {
            forwarded.await;
            drop(place);
        });
        Ok(())
    }

    fn adjust_window(&mut self, _channel: ChannelId, _current: u32) -> u32 {
        relay::window(&self.queued)
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.lock().remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let mut channels = self.channels.lock();
        let Some(opened) = channels.get_mut(&channel) else { return session.channel_failure(channel) };
        opened.terminal = Some(Terminal { name: term.to_owned(), columns, rows });
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.channels.lock().get_mut(&channel) {
            Some(opened)
                if environment::client_may_set(name) && !value.contains('\0') && opened.environment.len() < 64 =>
            {
                opened.environment.push((name.to_owned(), value.to_owned()));
                session.channel_success(channel)
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start(channel, Wish::Shell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, Wish::Command(data.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name == "sftp" { self.start(channel, Wish::Files, session) } else { session.channel_failure(channel) }
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn agent_request(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<bool, Self::Error> {
        Ok(false)
    }
}
