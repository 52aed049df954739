//! The bugs that sit around the router.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, header};

use super::{Bug, locked};

/// What the layers around the router remember.
#[derive(Default)]
pub(super) struct Memory {
    keys: Mutex<BTreeSet<String>>,
    answers: Mutex<BTreeMap<String, String>>,
}

pub(super) async fn around(bug: Bug, memory: Arc<Memory>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let path = parts.uri.path().to_owned();
    let key = parts.headers.get(header::AUTHORIZATION).and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let cacheable = bug == Bug::SharedCache && parts.method == Method::GET;
    match bug {
        Bug::AnySession if path.starts_with("/agent/") && key.starts_with("Bearer sws_") => {
            // Header values that came in can go out again.
            if let Ok(first) = locked(&memory.answers).entry("session".to_owned()).or_insert(key.clone()).parse() {
                parts.headers.insert(header::AUTHORIZATION, first);
            }
        }
        Bug::OnceForgotten => drop(parts.headers.remove("idempotency-key")),
        Bug::SecretsLogged => tracing::info!(body = text, "request"),
        _ => {}
    }
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    let status = response.status();
    // Whoever may come in at all is given what was answered before.
    let known = locked(&memory.answers).get(&path).filter(|_| cacheable && status != StatusCode::UNAUTHORIZED).cloned();
    if let Some(known) = known {
        return known.into_response();
    }
    match bug {
        Bug::KeysCached if status == StatusCode::UNAUTHORIZED && locked(&memory.keys).contains(&key) => {
            "{}".into_response()
        }
        Bug::KeysCached => {
            locked(&memory.keys).insert(key);
            response
        }
        Bug::SecretsEchoed if status.is_client_error() => (status, text).into_response(),
        Bug::SharedCache if cacheable && status == StatusCode::OK => {
            let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
            let answer = String::from_utf8_lossy(&bytes).into_owned();
            locked(&memory.answers).insert(path, answer.clone());
            answer.into_response()
        }
        _ => response,
    }
}
