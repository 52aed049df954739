//! Forwarding of a client's connections to ports of the job.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    process::ExitStatus,
    time::Duration,
};

use russh::{
    Channel, ChannelOpenFailure,
    server::{ChannelOpenHandle, Msg},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};

use super::relay::{Relay, Running, feed, read_all};

/// How long a port of the job's may take to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The addresses that a host name means, if it means this machine itself: a job's SSH is no way to other machines.
pub(super) fn loopback(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![[127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1_u16].into()]);
    }
    host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback).map(|address| vec![address])
}

/// Connects a channel with a port of this machine's.
pub(super) async fn forward(
    channel: Channel<Msg>,
    addresses: Vec<IpAddr>,
    port: u16,
    reply: ChannelOpenHandle,
    mut relay: Relay,
) {
    let addresses: Vec<SocketAddr> = addresses.into_iter().map(|address| (address, port).into()).collect();
    let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(addresses.as_slice()));
    let stream = tokio::select! {
        connected = connected => connected,
        // The channel goes with this task: nobody is left to be told.
        _gone = relay.closed.wait_for(|closed| *closed) => return,
    };
    let stream = match stream.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into())) {
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
