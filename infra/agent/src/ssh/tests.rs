//! The whole server, driven over TCP by a client.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{
    Secret,
    agent::{Notice, User},
};
use russh::{
    Channel, ChannelMsg, Sig,
    client::{self, Handle},
    keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, key::safe_rng, ssh_key::LineEnding},
};
use russh_sftp::{client::SftpSession, protocol::FileAttributes};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use super::server;
use crate::{environment::tests::setup, node::Node};

pub(super) struct Anyone;

impl client::Handler for Anyone {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// A server, with somebody who may come in.
pub(super) struct Server {
    pub(super) node: Arc<Node>,
    pub(super) port: u16,
    pub(super) key: Arc<PrivateKey>,
    pub(super) home: TempDir,
}

pub(super) fn key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap())
}

impl Server {
    pub(super) async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (tell, told) = mpsc::channel(64);
        let mut job = setup(home.path());
        job.host_key = Secret::new(key().to_openssh(LineEnding::LF).unwrap().to_string());
        job.env.insert("GREETING".into(), Secret::new("hello"));
        let node = Arc::new(Node::new(&job, tell));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = server::config(&job.host_key).unwrap();
        let served = Arc::clone(&node);
        tokio::spawn(async move {
            let _told = told;
            server::serve(served, config, listener).await;
        });
        let key = key();
        let server = Self { node, port, key, home };
        server.allow(true).await;
        server
    }

    pub(super) async fn allow(&self, allowed: bool) {
        let keys = if allowed { vec![self.key.public_key().to_openssh().unwrap()] } else { Vec::new() };
        server::put_out(self.node.access.replace(&[User { name: "ada".into(), keys }])).await;
    }

    async fn try_login(&self, key: &Arc<PrivateKey>) -> Option<Handle<Anyone>> {
        let mut handle = client::connect(Arc::default(), ("127.0.0.1", self.port), Anyone).await.unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
        handle.authenticate_publickey("anybody", key).await.unwrap().success().then_some(handle)
    }

    async fn login(&self) -> Handle<Anyone> {
        self.try_login(&self.key).await.unwrap()
    }
}

/// What came out of a session until it was closed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    output: String,
    errors: String,
    code: Option<u32>,
    signal: Option<String>,
}

async fn outcome(channel: &mut Channel<client::Msg>) -> Outcome {
    let mut found = Outcome::default();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => found.output.push_str(&String::from_utf8_lossy(&data)),
            ChannelMsg::ExtendedData { data, .. } => found.errors.push_str(&String::from_utf8_lossy(&data)),
            ChannelMsg::ExitStatus { exit_status } => found.code = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => found.signal = Some(format!("{signal_name:?}")),
            _ => {}
        }
    }
    found
}

/// Reads until `wanted` has come.
pub(super) async fn read_until(channel: &mut Channel<client::Msg>, wanted: &str) -> String {
    let mut seen = String::new();
    let read = async {
        while !seen.contains(wanted) {
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) => seen.push_str(&String::from_utf8_lossy(&data)),
                Some(_) => {}
                None => break,
            }
        }
    };
    let late = tokio::time::timeout(Duration::from_secs(20), read).await.is_err();
    assert!(!late && seen.contains(wanted), "{wanted:?} is not in {seen:?}");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_how_they_end() {
    let server = Server::start().await;
    let handle = server.login().await;
    for (command, input, output, errors, code, signal) in [
        ("exit 3", "", "", "", Some(3), None),
        ("echo out; echo err >&2", "", "out\n", "err\n", Some(0), None),
        ("cat; exit 4", "some input", "some input", "", Some(4), None),
        ("echo $GREETING $LC_TEST $FORBIDDEN", "", "hello there\n", "", Some(0), None),
        ("test \"$PWD\" = \"$HOME\"", "", "", "", Some(0), None),
        ("kill -TERM $$", "", "", "", None, Some("TERM")),
        ("kill -KILL $$", "", "", "", None, Some("KILL")),
        // What a command leaves running does not keep its session open for ever.
        ("sleep 20 & echo left", "", "left\n", "", Some(0), None),
        // Input that nobody reads holds nothing up.
        ("true", &"x".repeat(1_000_000), "", "", Some(0), None),
    ] {
        let mut channel = handle.channel_open_session().await.unwrap();
        channel.set_env(false, "LC_TEST", "there").await.unwrap();
        channel.set_env(false, "FORBIDDEN", "no").await.unwrap();
        channel.exec(true, command).await.unwrap();
        // A program may end before it has read its input, and the channel with it.
        let _closed = channel.data_bytes(Bytes::copy_from_slice(input.as_bytes())).await;
        let _closed = channel.eof().await;
        let expected =
            Outcome { output: output.into(), errors: errors.into(), code, signal: signal.map(str::to_owned) };
        assert_eq!(outcome(&mut channel).await, expected, "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn much_goes_both_ways_at_once() {
    let server = Server::start().await;
    let handle = server.login().await;
    let channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "cat").await.unwrap();
    let size = 20_000_000;
    let (mut read, write) = tokio::io::split(channel.into_stream());
    let writer = tokio::spawn(async move {
        let mut write = write;
        write.write_all(&vec![7; size]).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    assert_eq!(back.len(), size);
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_resizes_interrupts_and_shows_notices() {
    let server = Server::start().await;
    let handle = server.login().await;
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.request_pty(false, "xterm", 90, 30, 0, 0, &[]).await.unwrap();
    channel.request_shell(true).await.unwrap();
    channel.data_bytes("stty size; echo $TERM-done\n").await.unwrap();
    let seen = read_until(&mut channel, "xterm-done").await;
    assert!(seen.contains("30 90"), "{seen}");
    channel.window_change(101, 41, 0, 0).await.unwrap();
    // It says something itself before it sleeps: a ^C between two programs would reach neither.
    channel.data_bytes("stty size; sh -c 'echo asleep-$((40 + 1)); exec sleep 60'\n").await.unwrap();
    let seen = read_until(&mut channel, "asleep-41").await;
    assert!(seen.contains("41 101"), "{seen}");
    channel.data_bytes("\x03").await.unwrap();
    channel.data_bytes("PS1='ready'; PS1=\"$PS1> \"; echo after-$((40 + 2))\n").await.unwrap();
    let seen = read_until(&mut channel, "after-42").await;
    // Until the prompt is there, the shell has not set its terminal up, and ^D would be nothing to it.
    if !seen.contains("ready> ") {
        read_until(&mut channel, "ready> ").await;
    }
    server.node.terminals.show(&[Notice { number: 1, text: "It ends in five minutes.".into() }]);
    read_until(&mut channel, "It ends in five minutes.\r\n").await;
    // The end of the input is ^D to the shell, which then ends by itself.
    channel.eof().await.unwrap();
    assert_eq!(outcome(&mut channel).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_takes_its_processes_along() {
    let server = Server::start().await;
    let handle = server.login().await;
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "sleep 300 & echo pid=$!; wait").await.unwrap();
    let seen = read_until(&mut channel, "\n").await;
    let pid: i32 = seen.trim().trim_start_matches("pid=").parse().unwrap();
    assert!(crate::processes::look(pid).is_some());
    drop(channel);
    drop(handle);
    gone(pid).await;
}

pub(super) async fn gone(pid: i32) {
    for _attempt in 0..400 {
        if crate::processes::look(pid).is_none_or(|process| crate::processes::alive(&[process]).is_empty()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("process {pid} is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_wanted_stays_out_and_is_put_out() {
    let server = Server::start().await;
    assert!(server.try_login(&key()).await.is_none(), "an unknown key");
    let handle = server.login().await;
    let mut channel = handle.channel_open_session().await.unwrap();
    // It has left its session and its parent, as tmux does, and is found by its mark.
    channel.exec(true, "setsid sleep 300 & echo pid=$!; wait").await.unwrap();
    let seen = read_until(&mut channel, "\n").await;
    let pid: i32 = seen.trim().trim_start_matches("pid=").parse().unwrap();
    server.allow(true).await;
    assert!(crate::processes::look(pid).is_some(), "the same keys again put nobody out");
    server.allow(false).await;
    assert_eq!(outcome(&mut channel).await.code, None);
    gone(pid).await;
    assert!(server.try_login(&server.key).await.is_none(), "the removed key");
    server.allow(true).await;
    assert!(server.try_login(&server.key).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_there_and_back() {
    let server = Server::start().await;
    let handle = server.login().await;
    let channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let sftp = SftpSession::new(channel.into_stream()).await.unwrap();
    let content: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut file = sftp.create("data.bin").await.unwrap();
    file.write_all(&content).await.unwrap();
    file.shutdown().await.unwrap();
    assert_eq!(sftp.read("data.bin").await.unwrap(), content);
    assert_eq!(std::fs::read(server.home.path().join("data.bin")).unwrap(), content);
    sftp.create_dir("folder").await.unwrap();
    sftp.rename("data.bin", "folder/moved").await.unwrap();
    let wanted = FileAttributes { permissions: Some(0o600), size: Some(5), ..FileAttributes::empty() };
    sftp.set_metadata("folder/moved", wanted).await.unwrap();
    let metadata = sftp.metadata("folder/moved").await.unwrap();
    assert_eq!((metadata.size, metadata.permissions), (Some(5), Some(0o100_600)));
    // The link's target comes first, as OpenSSH has it.
    sftp.symlink("folder/moved", "link").await.unwrap();
    assert_eq!(sftp.read_link("link").await.unwrap(), "folder/moved");
    assert!(sftp.symlink_metadata("link").await.unwrap().is_symlink());
    let names: HashSet<String> = sftp.read_dir(".").await.unwrap().map(|entry| entry.file_name()).collect();
    assert_eq!(names, HashSet::from(["folder".to_owned(), "link".to_owned()]));
    let home = std::fs::canonicalize(server.home.path()).unwrap();
    assert_eq!(sftp.canonicalize(".").await.unwrap(), home.to_str().unwrap());
    assert!(sftp.remove_dir("folder").await.is_err(), "it is not empty");
    assert!(sftp.read("nothing").await.is_err());
    sftp.remove_file("link").await.unwrap();
    sftp.remove_file("folder/moved").await.unwrap();
    sftp.remove_dir("folder").await.unwrap();
    assert_eq!(std::fs::read_dir(home).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_transfer_ends_as_clients_expect() {
    let server = Server::start().await;
    let handle = server.login().await;
    for _round in 0..20 {
        let mut channel = handle.channel_open_session().await.unwrap();
        channel.request_subsystem(true, "sftp").await.unwrap();
        channel.eof().await.unwrap();
        let mut said = Vec::new();
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::ExitStatus { exit_status: 0 } => said.push("status"),
                ChannelMsg::Eof => said.push("eof"),
                ChannelMsg::Close => said.push("close"),
                _ => {}
            }
        }
        assert!(said.starts_with(&["status", "eof"]), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_loopback_is_forwarded_to() {
    let server = Server::start().await;
    let handle = server.login().await;
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _from) = echo.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let channel = handle.channel_open_direct_tcpip("localhost", port.into(), "127.0.0.1", 1).await.unwrap();
    let mut stream = channel.into_stream();
    stream.write_all(b"there and back").await.unwrap();
    let mut back = [0; 14];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"there and back");
    for (host, port) in [("10.0.0.1", 80), ("example.com", 80), ("127.0.0.1", 1), ("127.0.0.1", 70_000)] {
        assert!(handle.channel_open_direct_tcpip(host, port, "127.0.0.1", 1).await.is_err(), "{host}:{port}");
    }
    assert!(handle.tcpip_forward("127.0.0.1", 0).await.is_err(), "no port of the job's is opened for a client");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_signal_reaches_the_program() {
    let server = Server::start().await;
    let handle = server.login().await;
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "trap 'echo heard; exit 5' INT; echo set; while :; do sleep 0.05; done").await.unwrap();
    read_until(&mut channel, "set\n").await;
    channel.signal(Sig::INT).await.unwrap();
    let outcome = outcome(&mut channel).await;
    assert_eq!((outcome.output.as_str(), outcome.code), ("heard\n", Some(5)));
}
