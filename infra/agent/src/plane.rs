//! The control plane, as the agent calls it.

use std::{
    sync::{PoisonError, RwLock},
    time::Duration,
};

use cloud::{Ids, OsIds};
use domain::{
    Secret,
    agent::{Bye, Contents, Enroll, Enrolled, LogBatch, Report, Synced},
};
use reqwest::{Client, Response, StatusCode, redirect::Policy};
use serde::{Serialize, de::DeserializeOwned};

use crate::AgentError;

/// Why a call was not answered as it should have been.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The control plane does not know this agent, or not any more: asking again does not help.
    #[error("refused with status {0}")]
    Refused(u16),
    /// Something is wrong with this request: the same one again is answered the same, until something changes over there.
    #[error("rejected with status {0}")]
    Rejected(u16),
    /// It could not be reached, or is in trouble: asking again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// The header that every refusal of the control plane's own has.
const OURS: &str = "x-error-code";

/// The connection to the control plane, with the session secret that is current.
#[derive(Debug)]
pub(crate) struct Plane {
    http: Client,
    base: String,
    session: RwLock<Secret>,
}

impl Plane {
    /// A client for the control plane at `base`, with the secret that the agent has made for itself.
    pub(crate) fn new(base: &str, session: Secret) -> Result<Self, AgentError> {
        let mut http = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            // The session secret goes where we were told to send it and nowhere else.
            .redirect(Policy::none());
        let host = base.split_once("://").map_or(base, |(_scheme, rest)| rest);
        if ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local)) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(AgentError::Http)?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), session: RwLock::new(session) })
    }

    /// From now on the session is this one.
    pub(crate) fn rotate(&self, session: Secret) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    pub(crate) async fn enroll(&self, token: &Secret, enroll: &Enroll) -> Result<Enrolled, CallError> {
        json(self.post("enroll", token, enroll).await?).await
    }

    pub(crate) async fn sync(&self, report: &Report) -> Result<Synced, CallError> {
        json(self.post("sync", &self.session(), report).await?).await
    }

    pub(crate) async fn logs(&self, batch: &LogBatch) -> Result<(), CallError> {
        self.post("logs", &self.session(), batch).await.map(drop)
    }

    pub(crate) async fn contents(&self, contents: &Contents) -> Result<(), CallError> {
        self.post("contents", &self.session(), contents).await.map(drop)
    }

    pub(crate) async fn bye(&self, bye: &Bye) -> Result<(), CallError> {
        self.post("bye", &self.session(), bye).await.map(drop)
    }

    fn session(&self) -> Secret {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn post<T: Serialize + Sync>(&self, call: &str, bearer: &Secret, body: &T) -> Result<Response, CallError> {
        let request = self.http.post(format!("{}/agent/v1/{call}", self.base)).bearer_auth(bearer.reveal()).json(body);
        let answer = request.send().await.map_err(|error| CallError::Unavailable(chain(&error)))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(failure(status, answer.headers().contains_key(OURS))),
        }
    }
}

/// What an answer with this status means. Only the control plane's own word ends a job: whatever stands between it and us refuses
/// with the same statuses when it is set up wrongly or in trouble.
fn failure(status: StatusCode, ours: bool) -> CallError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE if ours => {
            CallError::Refused(status.as_u16())
        }
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => CallError::Unavailable(format!("status {status}")),
        status if status.is_client_error() => CallError::Rejected(status.as_u16()),
        status => CallError::Unavailable(format!("status {status}")),
    }
}

async fn json<T: DeserializeOwned>(answer: Response) -> Result<T, CallError> {
    answer.json().await.map_err(|error| CallError::Unavailable(chain(&error)))
}

/// An error with its causes: a bare `reqwest` error says that something failed, but not what.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Pauses between attempts: each about twice the one before, up to 5 s. Each is shortened by chance, to half at most: else all the
/// agents that lost the control plane at once would come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(200).saturating_mul(2_u32.saturating_pow(self.attempts));
        self.attempts = self.attempts.saturating_add(1);
        let [chance, ..] = OsIds.random();
        pause.min(Duration::from_secs(5)).mul_f64(0.5 + f64::from(chance) / 512.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        pin::Pin,
        sync::{Arc, Mutex},
    };

    use cloud::Clock;
    use domain::Timestamp;
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// A control plane that gives these answers one after another, each as (head, body), and keeps what it was told. The last one is
    /// given again and again.
    pub(crate) struct Stub {
        pub(crate) plane: Arc<Plane>,
        pub(crate) told: Arc<Mutex<Vec<String>>>,
    }

    impl Stub {
        pub(crate) async fn answering(answers: &[(&'static str, &'static str)]) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base = format!("http://{}", listener.local_addr().unwrap());
            let told = Arc::<Mutex<Vec<String>>>::default();
            let (heard, answers) = (Arc::clone(&told), answers.to_vec());
            tokio::spawn(async move {
                for turn in 0.. {
                    let (stream, _from) = listener.accept().await.unwrap();
                    let mut stream = BufReader::new(stream);
                    let said = body(&mut stream).await;
                    heard.lock().unwrap().push(said);
                    let (head, body) = answers[answers.len().min(turn + 1) - 1];
                    let rest = format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                    stream.write_all(format!("HTTP/1.1 {head}\r\n{rest}").as_bytes()).await.unwrap();
                }
            });
            Self { plane: Arc::new(Plane::new(&base, Secret::new("session")).unwrap()), told }
        }
    }

    /// Reads a request, and gives back its body.
    async fn body(stream: &mut BufReader<TcpStream>) -> String {
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut told = vec![0; length];
        stream.read_exact(&mut told).await.unwrap();
        String::from_utf8(told).unwrap()
    }

    /// A clock on which every pause is over at once, and that counts them.
    #[derive(Debug, Default)]
    pub(crate) struct Jumping(pub(crate) Mutex<Duration>);

    impl Clock for Jumping {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0).plus(*self.0.lock().unwrap())
        }

        fn sleep<'life0, 'async_trait>(
            &'life0 self,
            pause: Duration,
        ) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async move {
                *self.0.lock().unwrap() += pause;
                tokio::task::yield_now().await;
            })
        }
    }

    #[test]
    fn only_the_control_planes_own_word_is_a_refusal() {
        for (status, ours, meaning) in [
            (401, true, "refused"),
            (403, true, "refused"),
            (404, true, "refused"),
            (410, true, "refused"),
            (401, false, "unavailable"),
            (403, false, "unavailable"),
            (404, false, "unavailable"),
            (410, false, "unavailable"),
            (408, true, "unavailable"),
            (409, true, "rejected"),
            (413, false, "rejected"),
            (422, true, "rejected"),
            (429, true, "unavailable"),
            (302, false, "unavailable"),
            (500, true, "unavailable"),
            (503, false, "unavailable"),
        ] {
            let found = match failure(StatusCode::from_u16(status).unwrap(), ours) {
                CallError::Refused(_) => "refused",
                CallError::Rejected(_) => "rejected",
                CallError::Unavailable(_) => "unavailable",
            };
            assert_eq!(found, meaning, "{status} {ours}");
        }
    }

    #[test]
    fn pauses_grow_and_stop_growing_and_differ() {
        let (mut backoff, mut other) = (Backoff::default(), Backoff::default());
        let mut same = true;
        for longest in [200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            let (pause, others) = (backoff.next(), other.next());
            assert!((longest / 2..longest).contains(&pause.as_millis()), "{pause:?} of {longest}");
            same &= pause == others;
        }
        assert!(!same, "two agents do not come back together");
    }
}
