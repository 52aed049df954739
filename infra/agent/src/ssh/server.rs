//! Connections: who is let in, and what they may ask for.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::Secret;
use nix::sys::signal::Signal;
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, MethodSet, Pty,
    keys::{PrivateKey, ssh_key::public::KeyData},
    server::{self, Auth, ChannelOpenHandle, Config, Msg, PublicKeyOffer, Session, VerifiedPublicKey},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
};

use super::{
    keys::Guest,
    relay::{self, Relay, Running, feed, read_all},
    session::{self, Terminal, Wish},
};
use crate::{
    AgentError, environment,
    node::Node,
    processes::{self, SESSION_MARK},
};

/// How many connections may be open at once; each costs memory before anybody has shown a key.
const MOST_CONNECTIONS: usize = 256;
/// How many sessions one connection may have.
const MOST_CHANNELS: usize = 64;
/// How long a client may take to show its key.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);
/// How long a removed user's processes have between the polite signal and the other one.
const PUT_OUT_GRACE: Duration = Duration::from_secs(2);

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
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                    tracing::warn!(%peer, "too many connections");
                    continue;
                };
                let (node, config) = (Arc::clone(&node), Arc::clone(&config));
                tokio::spawn(async move {
                    Box::pin(connection(node, config, stream)).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others will be given back.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves one connection to its end, and ends what it started.
async fn connection(node: Arc<Node>, config: Arc<Config>, stream: TcpStream) {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small packets may be slow");
    }
    let mark = format!("{}-{}-{}", node.workload, std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let (close, closed) = watch::channel(false);
    let (let_in, mut is_in) = watch::channel(false);
    let client = Client {
        node: Arc::clone(&node),
        mark: mark.clone(),
        key: None,
        channels: HashMap::new(),
        closed,
        queued: Arc::default(),
        let_in,
    };
    let running = match tokio::time::timeout(LOGIN_WITHIN, server::run_stream(config, stream, client)).await {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection that is no SSH"),
        Err(_late) => return tracing::debug!("a connection that says nothing"),
    };
    let handle = running.handle();
    let late = async {
        let entered = tokio::time::timeout(LOGIN_WITHIN, is_in.wait_for(|inside| *inside)).await;
        if entered.is_ok_and(|inside| inside.is_ok()) {
            std::future::pending().await
        } else {
            Disconnect::ByApplication
        }
    };
    tokio::select! {
        ended = running => if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        },
        reason = late => {
            if let Err(error) = handle.disconnect(reason, "no key was shown in time".into(), String::new()).await {
                tracing::debug!(%error, "a connection was gone already");
            }
        }
    }
    node.access.leave(&mark);
    close.send_replace(true);
}

/// Ends the connections of those who may not come in any more, and everything that was started from them.
pub(crate) async fn put_out(guests: Vec<Guest>) {
    for guest in guests {
        let said = "your key has been removed from this job".to_owned();
        // A connection that does not take the message in time loses its processes all the same.
        let told = guest.handle.disconnect(Disconnect::ByApplication, said, String::new());
        if !tokio::time::timeout(Duration::from_secs(1), told).await.is_ok_and(|told| told.is_ok()) {
            tracing::debug!("a removed user's connection was gone already");
        }
        let theirs = processes::marked(SESSION_MARK, |mark| mark == guest.mark);
        tokio::spawn(processes::end(theirs, Signal::SIGHUP, PUT_OUT_GRACE));
    }
}

/// One client.
struct Client {
    node: Arc<Node>,
    mark: String,
    key: Option<KeyData>,
    channels: HashMap<ChannelId, Opened>,
    closed: watch::Receiver<bool>,
    queued: Arc<AtomicUsize>,
    let_in: watch::Sender<bool>,
}

/// A session that has been opened, and what was asked for it so far.
struct Opened {
    channel: Channel<Msg>,
    terminal: Option<Terminal>,
    environment: Vec<(String, String)>,
}

impl Client {
    fn relay(&self, session: &Session) -> Relay {
        Relay { handle: session.handle(), closed: self.closed.clone(), queued: Arc::clone(&self.queued) }
    }

    fn check(&self, key: &KeyData) -> Auth {
        if self.node.access.allows(key) { Auth::Accept } else { Auth::reject() }
    }

    /// Starts what was asked for, in a task of its own.
    fn start(&mut self, id: ChannelId, wish: Wish, session: &mut Session) -> Result<(), russh::Error> {
        let Some(opened) = self.channels.remove(&id) else { return session.channel_failure(id) };
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

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let Some(key) = self.key.clone() else { return Err(russh::Error::Disconnect) };
        if !self.node.access.enter(Guest { key, handle: session.handle(), mark: self.mark.clone() }) {
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
        if self.channels.len() >= MOST_CHANNELS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        } else {
            self.channels.insert(channel.id(), Opened { channel, terminal: None, environment: Vec::new() });
            reply.accept().await;
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
        let Some((addresses, port)) = loopback(host).zip(u16::try_from(port).ok()) else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        tokio::spawn(forward(channel, addresses, port, reply, self.relay(session)));
        Ok(())
    }

    fn adjust_window(&mut self, _channel: ChannelId, _current: u32) -> u32 {
        relay::window(&self.queued)
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
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
        let Some(opened) = self.channels.get_mut(&channel) else { return session.channel_failure(channel) };
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
        match self.channels.get_mut(&channel) {
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

/// The addresses that a host name means, if it means this machine itself: a job's SSH is no way to other machines.
fn loopback(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![[127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1_u16].into()]);
    }
    host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback).map(|address| vec![address])
}

/// Connects a channel with a port of this machine's.
async fn forward(channel: Channel<Msg>, addresses: Vec<IpAddr>, port: u16, reply: ChannelOpenHandle, relay: Relay) {
    let addresses: Vec<SocketAddr> = addresses.into_iter().map(|address| (address, port).into()).collect();
    let stream = match TcpStream::connect(addresses.as_slice()).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, port, "nothing to forward to");
            return reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small packets may be slow");
    }
    reply.accept().await;
    let (from, to) = stream.into_split();
    let (input, data) = mpsc::channel(8);
    tokio::spawn(feed(to, data));
    let mut output = read_all(from);
    let (tell, shown) = mpsc::channel(8);
    let (ended, end) = oneshot::channel();
    // It ends when the program has nothing more to say; that the client has not is only passed on to the program.
    tokio::spawn(async move {
        while let Some(data) = output.recv().await {
            if tell.send(data).await.is_err() {
                return;
            }
        }
        if ended.send(Ok(ExitStatus::default())).is_err() {
            tracing::debug!("a forwarded connection's end was of no interest any more");
        }
    });
    relay.run(Running { tells: false, ..Running::new(input, shown, end) }, channel).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_forwarded_to() {
        for (host, allowed) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("127.8.9.1", true),
            ("::1", true),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("10.0.0.1", false),
            ("localhost.example.com", false),
            ("example.com", false),
            ("", false),
        ] {
            assert_eq!(loopback(host).is_some(), allowed, "{host}");
        }
    }
}
