//! The model's endpoint: connections from outside, passed on byte by byte to the server on loopback.
//!
//! Nothing is read of what passes, and nothing kept. All that is noticed is which way the last bytes of a connection went: whoever has
//! asked and not been answered yet has a request in flight.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

/// How many connections may be open at once: each takes two of the process's files.
const MOST_CONNECTIONS: usize = 400;

/// What goes on at the endpoint.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Connections whose last bytes were a caller's.
    waiting: AtomicUsize,
    /// Bytes went either way since the last look.
    moved: AtomicBool,
}

impl Traffic {
    /// Whether a request waits for its answer, or something passed since this was asked last.
    pub(crate) fn since_last_look(&self) -> bool {
        let moved = self.moved.swap(false, Ordering::Relaxed);
        moved || self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Serves connections for ever; `port` is where the server answers on loopback, while it does.
pub(crate) async fn serve(listener: TcpListener, port: watch::Receiver<Option<u16>>, traffic: Arc<Traffic>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                    tracing::warn!(%peer, "too many connections to the model");
                    continue;
                };
                let (port, traffic) = (*port.borrow(), Arc::clone(&traffic));
                // A server that does not answer yet, or not just now, is as if there were none.
                let Some(port) = port else { continue };
                tokio::spawn(async move {
                    if let Err(error) = relayed(stream, port, traffic).await {
                        tracing::debug!(%error, "a connection to the model broke");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others will be given back.
                tracing::warn!(%error, "a connection to the model could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Passes a connection's bytes on until both sides have ended.
async fn relayed(caller: TcpStream, port: u16, traffic: Arc<Traffic>) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    caller.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut caller = Noticed { stream: caller, traffic, waits: false };
    tokio::io::copy_bidirectional(&mut caller, &mut server).await.map(drop)
}

/// A caller's connection, with a note of which way its last bytes went.
struct Noticed<S> {
    stream: S,
    traffic: Arc<Traffic>,
    waits: bool,
}

impl<S> Noticed<S> {
    /// Bytes went one way; a caller whose bytes they were waits for an answer.
    fn passed(&mut self, waits: bool) {
        self.traffic.moved.store(true, Ordering::Relaxed);
        self.waits(waits);
    }

    fn waits(&mut self, waits: bool) {
        match (self.waits, waits) {
            (false, true) => self.traffic.waiting.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.traffic.waiting.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => 0,
        };
        self.waits = waits;
    }
}

impl<S> Drop for Noticed<S> {
    fn drop(&mut self) {
        self.waits(false);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noticed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, to))?;
        if to.filled().len() > before {
            self.passed(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noticed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if written > 0 {
            self.passed(false);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listening() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn bytes_pass_and_a_request_is_in_flight_until_it_is_answered() {
        let ((endpoint, at), (server, port)) = (listening().await, listening().await);
        let (tell, told) = watch::channel(None);
        let traffic = Arc::<Traffic>::default();
        tokio::spawn(serve(endpoint, told, Arc::clone(&traffic)));
        let mut refused = TcpStream::connect(("127.0.0.1", at)).await.unwrap();
        assert_eq!(refused.read(&mut [0; 8]).await.unwrap_or(0), 0, "there is no server yet");

        tell.send_replace(Some(port));
        let mut caller = TcpStream::connect(("127.0.0.1", at)).await.unwrap();
        let (mut behind, _peer) = server.accept().await.unwrap();
        let mut bytes = [0; 3];
        assert!(!traffic.since_last_look(), "a connection alone is no request");
        caller.write_all(b"ask").await.unwrap();
        behind.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ask");
        assert_eq!([traffic.since_last_look(), traffic.since_last_look()], [true; 2], "it waits for its answer");
        behind.write_all(b"say").await.unwrap();
        caller.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"say");
        assert_eq!([traffic.since_last_look(), traffic.since_last_look()], [true, false], "it was answered");

        caller.write_all(b"bye").await.unwrap();
        behind.read_exact(&mut bytes).await.unwrap();
        assert!(traffic.since_last_look());
        drop((caller, behind));
        while traffic.waiting.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        assert!(!traffic.since_last_look(), "who went away waits for nothing");
    }
}
