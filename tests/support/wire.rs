//! Requests and answers, through the real router.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use serde_json::Value;

/// A request in the making.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:8000"))]);
        Self { method, path: path.into(), headers, body: Bytes::new() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    pub(crate) fn raw(mut self, kind: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.with("content-type", kind)
    }

    pub(crate) fn bearer(self, key: &str) -> Self {
        self.with("authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn once(self, key: &str) -> Self {
        self.with("idempotency-key", key)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header's value");
        self.headers.insert(name.parse::<HeaderName>().expect("a header's name"), value);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    pub(crate) fn request(self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().unwrap_or_else(|error| panic!("{}: {error}", self.path));
        *request.headers_mut() = self.headers;
        request
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What every answer promises, whatever it says (design.md, section 2).
    #[track_caller]
    pub(crate) fn sound(self, what: &str) -> Self {
        assert_eq!(self.header("x-request-id").len(), 36, "{what}: no X-Request-Id");
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{what}");
        if self.status >= 400 {
            assert!(!self.header("x-error-code").is_empty(), "{what}: {} without X-Error-Code", self.status);
            assert_eq!(self.header("content-type"), "application/json", "{what}: {}", self.text());
            let (body, typed) = (self.json(), self.json()["error"]["message"].is_string());
            let detail = body["detail"].is_string() || body["detail"].is_array();
            assert!(detail || typed, "{what}: a refusal in no dialect: {}", self.text());
        }
        if self.status == 401 {
            assert!(self.header("www-authenticate").starts_with("Bearer"), "{what}: 401 without WWW-Authenticate");
        }
        if self.status == 503 {
            assert!(!self.header("retry-after").is_empty(), "{what}: 503 without Retry-After");
        }
        self
    }
}

/// Whether `found` is like `pattern`: the same names, types and wording, where `<uuid>`, `<time>`, `<number>` and `<text>` stand for what
/// differs from run to run. The error says where they part.
pub(crate) fn like(found: &Value, pattern: &Value) -> Result<(), String> {
    match (found, pattern) {
        (Value::Object(found), Value::Object(pattern)) => {
            let names = |of: &serde_json::Map<String, Value>| {
                let mut names = of.keys().cloned().collect::<Vec<_>>();
                names.sort();
                names
            };
            if names(found) != names(pattern) {
                return Err(format!("fields {:?} instead of {:?}", names(found), names(pattern)));
            }
            found.iter().try_for_each(|(name, value)| like(value, &pattern[name]).map_err(|at| format!(".{name}{at}")))
        }
        (Value::Array(found), Value::Array(pattern)) if found.len() == pattern.len() => {
            let mut pairs = found.iter().zip(pattern).enumerate();
            pairs.try_for_each(|(at, (found, pattern))| like(found, pattern).map_err(|why| format!("[{at}]{why}")))
        }
        (Value::Number(_), Value::String(pattern)) if pattern == "<number>" => Ok(()),
        (Value::String(found), Value::String(pattern)) if text_like(found, pattern) => Ok(()),
        (found, pattern) if found == pattern => Ok(()),
        (found, pattern) => Err(format!(": {found} instead of {pattern}")),
    }
}

fn text_like(mut found: &str, pattern: &str) -> bool {
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((name, after)) = after.split_once('>') else { return found == rest };
        let Some(here) = found.strip_prefix(before) else { return false };
        let Some(length) = placeholder(name, here) else { return false };
        (found, rest) = (&here[length..], after);
    }
    found == rest
}

/// How many bytes at the beginning of `text` the placeholder `name` stands for.
fn placeholder(name: &str, text: &str) -> Option<usize> {
    match name {
        "uuid" => text.get(..36).filter(|id| id.parse::<domain::WorkloadId>().is_ok()).map(str::len),
        "time" => {
            let length = text.find('Z')? + 1;
            domain::Timestamp::parse(&text[..length]).map(|_| length)
        }
        "text" => Some(text.len()).filter(|length| *length > 0),
        _ => None,
    }
}
