//! Against servers that are written out, on loopback.

use std::time::Duration;

use futures::StreamExt;
use http::HeaderMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;

const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server, and what is asked of it: each request with the connection on which it came, and the number of the connection.
struct Server {
    upstream: Upstream,
    asked: mpsc::UnboundedReceiver<(usize, String, TcpStream)>,
    back: mpsc::UnboundedSender<(usize, TcpStream)>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Upstream(listener.local_addr().unwrap().to_string());
        let (tell, asked) = mpsc::unbounded_channel();
        let (back, mut given_back) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for number in 0.. {
                let mut stream = tokio::select! {
                    accepted = listener.accept() => (number, accepted.unwrap().0),
                    Some(stream) = given_back.recv() => stream,
                };
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut text = String::new();
                    while !text.ends_with("{}") {
                        let mut bytes = [0; 1024];
                        match stream.1.read(&mut bytes).await {
                            Ok(read @ 1..) => text.push_str(std::str::from_utf8(&bytes[..read]).unwrap()),
                            _ => return,
                        }
                    }
                    drop(tell.send((stream.0, text, stream.1)));
                });
            }
        });
        Self { upstream, asked, back }
    }

    /// Answers the next request, and waits for another on the same connection; gives the connection's number and the request.
    async fn answers(&mut self, answer: &str) -> (usize, String) {
        let (number, text, mut stream) = self.asked.recv().await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        self.back.send((number, stream)).unwrap();
        (number, text)
    }
}

fn question() -> Question {
    let body = vec![Bytes::from_static(b"{"), Bytes::from_static(b"}")];
    Question { path: "/v1/chat/completions", headers: HeaderMap::new(), body }
}

async fn whole(answer: Answer) -> Result<String, UpstreamError> {
    let parts = answer.body.collect::<Vec<_>>().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(String::from_utf8(parts.concat()).unwrap())
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_closed_one_is_not() {
    let (mut server, upstreams) = (Server::start().await, HttpUpstreams::new());
    let upstream = server.upstream.clone();
    let ask = async || whole(upstreams.ask(&upstream, question()).await?).await;
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let (found, (number, text)) = tokio::join!(ask(), server.answers(SHORT));
        assert_eq!(found.unwrap(), "ok");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {upstream}")) && head.contains("content-length: 2"), "{head}");
        assert_eq!(body, "{}");
        numbers.push(number);
    }
    assert!(numbers.iter().all(|number| *number == numbers[0]), "one connection is enough: {numbers:?}");
    // One that the server closes while nobody asks on it.
    let closing = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    assert_eq!(tokio::join!(ask(), server.answers(closing)).0.unwrap(), "ok");
    // And one that it closes without a word.
    let wordless = async {
        let (number, _, mut stream) = server.asked.recv().await.unwrap();
        stream.write_all(SHORT.as_bytes()).await.unwrap();
        number
    };
    let (found, second) = tokio::join!(ask(), wordless);
    assert_eq!((found.unwrap().as_str(), second != numbers[0]), ("ok", true), "another one");
    let (found, (third, _)) = tokio::join!(ask(), server.answers(SHORT));
    assert_eq!((found.unwrap().as_str(), third != second), ("ok", true), "and another one");
}

#[tokio::test]
async fn events_come_as_they_are_sent_and_together_if_they_were() {
    let (mut server, upstreams) = (Server::start().await, HttpUpstreams::new());
    let upstream = server.upstream.clone();
    let asking = upstreams.ask(&upstream, question());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let serving = async {
        let (_, _, mut stream) = server.asked.recv().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let (answer, mut stream) = tokio::join!(asking, serving);
    let mut answer = answer.unwrap();
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert!(futures::poll!(answer.body.next()).is_pending(), "nothing has come");
    for round in 0..3 {
        stream.write_all(b"3\r\none\r\n3\r\ntwo\r\n").await.unwrap();
        assert_eq!(answer.body.next().await.unwrap().unwrap(), "one", "{round}");
        assert!(matches!(futures::poll!(answer.body.next()), Poll::Ready(Some(Ok(two))) if two == "two"), "{round}");
        assert!(futures::poll!(answer.body.next()).is_pending(), "{round}");
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(answer.body.next().await.is_none() && answer.body.next().await.is_none());
}

#[tokio::test]
async fn whoever_goes_away_ends_the_connection() {
    let (mut server, upstreams) = (Server::start().await, HttpUpstreams::new());
    let upstream = server.upstream.clone();
    for has_begun in [false, true] {
        let mut asking = upstreams.ask(&upstream, question());
        assert!(futures::poll!(&mut asking).is_pending());
        let (asking, asked) = {
            let asked = server.asked.recv();
            match futures::future::select(asking, std::pin::pin!(asked)).await {
                futures::future::Either::Right((asked, asking)) => (asking, asked),
                futures::future::Either::Left(_) => panic!("nobody has answered"),
            }
        };
        let (_, _, mut stream) = asked.unwrap();
        if has_begun {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
            let mut answer = asking.await.unwrap();
            assert_eq!(answer.body.next().await.unwrap().unwrap(), "one");
            drop(answer);
        } else {
            drop(asking);
        }
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 8])).await.expect("it is closed");
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
}

#[tokio::test]
async fn what_goes_wrong_says_whether_it_was_asked() {
    let upstreams = HttpUpstreams::new();
    let nobody = Upstream("127.0.0.1:9".to_owned());
    assert!(matches!(upstreams.ask(&nobody, question()).await, Err(UpstreamError::NotReached(_))));
    let nowhere = Upstream("no host\n".to_owned());
    assert!(matches!(upstreams.ask(&nowhere, question()).await, Err(UpstreamError::NotReached(_))));
    for begun in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "nonsense\r\n\r\n"] {
        let mut server = Server::start().await;
        let upstream = server.upstream.clone();
        let serving = async {
            let (_, _, mut stream) = server.asked.recv().await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
        };
        let asking = async { whole(upstreams.ask(&upstream, question()).await?).await };
        let (found, ()) = tokio::join!(asking, serving);
        assert!(matches!(found, Err(UpstreamError::Broken(_))), "{begun:?}: {found:?}");
    }
}
