//! Whether what users come for can be reached from outside of where the job runs, as they will.

use std::{io, time::Duration};

use reqwest::Client;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::model;

/// How long one attempt may take, and the pause between two.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// Where something that listens at this address of the machine's is reached from the machine itself.
pub(crate) fn host(listen: &str) -> String {
    match listen {
        "0.0.0.0" | "" => "127.0.0.1".to_owned(),
        "::" => "::1".to_owned(),
        other => other.to_owned(),
    }
}

/// Comes back when an SSH server greets at this address.
pub(crate) async fn ssh(host: String, port: u16) {
    loop {
        let greeted = async {
            let mut stream = TcpStream::connect((host.as_str(), port)).await?;
            let mut greeting = [0; 8];
            stream.read_exact(&mut greeting).await?;
            Ok::<_, io::Error>(&greeting == b"SSH-2.0-")
        };
        match tokio::time::timeout(ATTEMPT_WITHIN, greeted).await {
            Ok(Ok(true)) => return,
            Ok(Ok(false)) => tracing::warn!(host, port, "something else than an SSH server answers"),
            Ok(Err(error)) => tracing::debug!(%error, "SSH does not answer yet"),
            Err(_late) => tracing::debug!("SSH does not answer yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Comes back when the model's server says at this address that it is ready.
pub(crate) async fn model(host: String, port: u16) {
    let Ok(client) = Client::builder().no_proxy().timeout(ATTEMPT_WITHIN).build() else {
        return std::future::pending().await;
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    while !model::is_ready(&client, &format!("http://{host}:{port}")).await {
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_reached_by_loopback() {
        for (listen, reached) in
            [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7"), ("::1", "::1")]
        {
            assert_eq!(host(listen), reached);
        }
    }
}
