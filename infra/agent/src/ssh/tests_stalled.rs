//! Clients that do not play along: they read nothing, close nothing, or say nothing.

use std::{
    io::{self, Write},
    net::TcpStream as StdStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use domain::Secret;
use russh::{
    client::{self, Config},
    keys::{PrivateKeyWithHashAlg, ssh_key::LineEnding},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};

use super::{
    server,
    tests::{Anyone, Server, gone, key, read_until},
};
use crate::{environment::tests::setup, node::Node};

/// A connection that can be told not to read.
struct Gated {
    stream: TcpStream,
    shut: Arc<AtomicBool>,
}

impl AsyncRead for Gated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.shut.load(Ordering::Acquire) {
            let waker = cx.waker().clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                waker.wake();
            });
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_put_out_all_the_same() {
    let server = Server::start().await;
    let shut = Arc::new(AtomicBool::new(false));
    let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let config = Arc::new(Config { window_size: 1 << 30, channel_buffer_size: 1 << 16, ..Config::default() });
    let gated = Gated { stream, shut: Arc::clone(&shut) };
    let mut handle = client::connect_stream(config, gated, Anyone).await.unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::clone(&server.key), None);
    assert!(handle.authenticate_publickey("anybody", key).await.unwrap().success());
    let mut channel = handle.channel_open_session().await.unwrap();
    let flood = "echo pid=$$; while :; do head -c 65536 /dev/zero; echo >>parts; done";
    channel.exec(true, flood).await.unwrap();
    let seen = read_until(&mut channel, "\n").await;
    let pid = seen.split_once("pid=").unwrap().1.lines().next().unwrap().parse().unwrap();
    shut.store(true, Ordering::Release);
    // Everything between the program and the client is full when the program gets nothing rid any more.
    let parts = server.home.path().join("parts");
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let now = std::fs::metadata(&parts).map_or(0, |found| found.len());
        if now > 0 && now == before {
            break;
        }
        before = now;
    }
    server.allow(false).await;
    shut.store(false, Ordering::Release);
    gone(pid).await;
    let again = async {
        let channel = handle.channel_open_session().await?;
        channel.exec(true, "touch was-here").await
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), again).await.unwrap().is_err(), "it asks in vain");
    let ended = async {
        while !handle.is_closed() {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), ended).await.is_ok(), "its connection has ended");
    assert!(!server.home.path().join("was-here").exists());
}

#[tokio::test]
async fn who_shows_no_key_does_not_keep_a_place() {
    for said in [&b""[..], b"SSH-2.0-silent\r\n"] {
        let home = tempfile::tempdir().unwrap();
        let (tell, _told) = mpsc::channel(1);
        let node = Arc::new(Node::new(&setup(home.path()), tell));
        let config = server::config(&Secret::new(key().to_openssh(LineEnding::LF).unwrap().to_string())).unwrap();
        let room = Arc::new(Semaphore::new(1));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // It neither reads nor closes.
        let mut client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(said).unwrap();
        let (stream, _from) = listener.accept().await.unwrap();
        let place = Arc::clone(&room).try_acquire_owned().unwrap();
        tokio::spawn(server::connection(node, config, stream, place, Duration::from_millis(200)));
        let free = tokio::time::timeout(Duration::from_secs(10), room.acquire()).await;
        assert!(free.is_ok(), "after {said:?}");
        drop(client);
    }
}
