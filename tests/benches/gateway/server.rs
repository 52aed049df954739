//! A model server that computes nothing: it answers at once, or with the 203 events of a stream, as fast as it can or a few milliseconds
//! apart.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use futures::stream;
use serde_json::json;
use tokio::{
    net::TcpListener,
    time::{self, MissedTickBehavior},
};

/// What a stream of 200 tokens has: who speaks, the tokens, why it ended, and `[DONE]`.
pub(super) const EVENTS: usize = 203;
/// Between two events. A token of a model that one person talks with takes longer, and so every event is passed on alone.
const PACE: Duration = Duration::from_millis(3);

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Paris"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;

pub(super) async fn serve(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    let models = || async { Json(json!({"object": "list", "data": []})) };
    let app = Router::new()
        .route("/health", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat));
    axum::serve(listener, app).await.unwrap();
}

async fn chat(body: Bytes) -> Response {
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
    if asked["stream"] != true {
        return ([("content-type", "application/json")], ANSWER).into_response();
    }
    if asked["at_once"] == true {
        let events = stream::iter((0..EVENTS).map(|at| Ok::<_, Infallible>(event(at))));
        return ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response();
    }
    let mut pace = time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = stream::unfold((0, pace), |(at, mut pace)| async move {
        if at == EVENTS {
            return None;
        }
        pace.tick().await;
        Some((Ok::<_, Infallible>(event(at)), (at + 1, pace)))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}

/// Nanoseconds since 1970, which all processes of a machine agree on.
#[expect(clippy::disallowed_methods, reason = "it is the machine's time that is measured")]
pub(super) fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

fn event(at: usize) -> Bytes {
    let choices = match at {
        // The first says when it was sent.
        0 => format!(r#"[{{"index":0,"delta":{{"role":"assistant","content":""}}}}],"sent":{}"#, now()),
        201 => r#"[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":200,"total_tokens":209}"#.to_owned(),
        202 => return Bytes::from_static(b"data: [DONE]\n\n"),
        _ => r#"[{"index":0,"delta":{"content":" word"}}]"#.to_owned(),
    };
    let begin = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":"#;
    format!("data: {begin}{choices}}}\n\n").into()
}
