//! Who asks.

use std::time::Duration;

use futures::{StreamExt, stream};
use reqwest::Client;
use serde_json::{Value, json};

use super::{
    process::computed,
    server::{EVENTS, now},
};

/// Short requests in a round, and so many at a time.
const REQUESTS: usize = 3_000;
/// Streams in a round whose events come as fast as they can.
const BURSTS: usize = 1_000;
/// Streams in a round whose events come one by one, and so many at a time.
const STREAMS: usize = 160;
const AT_ONCE: usize = 16;
/// Streams, one after the other, that are left when the first event is there.
const FIRSTS: usize = 100;

/// A way to the model.
pub(super) struct Way {
    pub(super) url: String,
    pub(super) key: String,
}

/// What a round found.
pub(super) struct Figures {
    /// CPU of a request.
    pub(super) request: Duration,
    /// CPU of a stream whose events come as fast as they can.
    pub(super) burst: Duration,
    /// CPU of a stream whose events come one by one.
    pub(super) stream: Duration,
    /// From the moment when a server sent the first event to the moment when it was here.
    pub(super) firsts: Vec<Duration>,
    /// The fewest events that any stream had.
    pub(super) events: usize,
}

pub(super) struct Load {
    client: Client,
    request: Value,
    burst: Value,
    stream: Value,
}

impl Load {
    pub(super) fn new(model: &str) -> Self {
        let messages = json!([{"role": "system", "content": "You are helpful."}, {"role": "user", "content": "What is the capital of France?"}]);
        let request = json!({"model": model, "messages": messages, "max_tokens": 100, "temperature": 0.7});
        let mut stream = request.clone();
        stream["stream"] = true.into();
        stream["stream_options"] = json!({"include_usage": true});
        let mut burst = stream.clone();
        burst["at_once"] = true.into();
        Self { client: Client::builder().tcp_nodelay(true).build().unwrap(), request, burst, stream }
    }

    /// How much is asked in so many rounds.
    pub(super) const fn asked(rounds: usize) -> usize {
        rounds * (REQUESTS + BURSTS + STREAMS + FIRSTS)
    }

    /// Asks one way, and looks at what a process computed meanwhile.
    pub(super) async fn round(&self, way: &Way, process: Option<u32>) -> Figures {
        let cpu = || process.map_or(Duration::ZERO, computed);
        let begun = cpu();
        each(REQUESTS, || self.ask(way)).await;
        let asked = cpu();
        let bursts = each(BURSTS, || self.listen(way, &self.burst)).await;
        let burst = cpu();
        let streams = each(STREAMS, || self.listen(way, &self.stream)).await;
        let streamed = cpu();
        let events = bursts.into_iter().chain(streams).min().unwrap();
        let mut firsts = Vec::new();
        for _ in 0..FIRSTS {
            firsts.push(self.first(way).await);
        }
        let part = |of: Duration, n: usize| of / u32::try_from(n).unwrap();
        Figures {
            request: part(asked - begun, REQUESTS),
            burst: part(burst - asked, BURSTS),
            stream: part(streamed - burst, STREAMS),
            firsts,
            events,
        }
    }

    async fn send(&self, way: &Way, body: &Value) -> reqwest::Response {
        let asked = self.client.post(format!("{}/v1/chat/completions", way.url)).bearer_auth(&way.key).json(body);
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer
    }

    async fn ask(&self, way: &Way) {
        let answer: Value = self.send(way, &self.request).await.json().await.unwrap();
        assert_eq!(answer["usage"]["total_tokens"], 11);
    }

    /// The number of events of a stream.
    async fn listen(&self, way: &Way, body: &Value) -> usize {
        let text = self.send(way, body).await.text().await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "it has an end");
        let events = text.matches("data: ").count();
        assert!(events <= EVENTS, "nothing comes twice");
        events
    }

    /// How long the first event of a stream was on its way.
    async fn first(&self, way: &Way) -> Duration {
        let mut body = self.send(way, &self.stream).await.bytes_stream();
        let first = body.next().await.unwrap().unwrap();
        let here = now();
        let text = std::str::from_utf8(&first).unwrap();
        let sent = text.split_once("\"sent\":").unwrap().1.split_once('}').unwrap().0.parse::<u128>().unwrap();
        Duration::from_nanos(u64::try_from(here.saturating_sub(sent)).unwrap())
    }
}

/// Does something so often, a few at a time.
async fn each<F: Future>(times: usize, once: impl Fn() -> F) -> Vec<F::Output> {
    stream::iter(0..times).map(|_| once()).buffer_unordered(AT_ONCE).collect().await
}
