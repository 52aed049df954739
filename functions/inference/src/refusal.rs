//! Refusals as `OpenAI`'s clients know them: `{"error": {"message", "type", "param", "code"}}`.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use domain::{Timestamp, limits::Unit, price::Price};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use store::{
    StoreError,
    limits::{Met, NoRoom},
};
use web::Error;

/// Why a request was not served.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// As any other surface says it: who is calling, mostly.
    Other(Error),
    /// The body is wrong, and what of it.
    Bad { param: Option<&'static str>, message: String },
    /// The body is too large.
    TooLarge,
    /// There is no such model.
    NoSuchModel(String),
    /// Nobody serves the model at this moment; again in so many seconds.
    NotReady { model: String, seconds: u64, is_coming: bool },
    /// A limit was met; its window is over in so many seconds.
    Limited(Box<Met>, u64),
    /// Who serves the model failed, or took too long.
    Failed(StatusCode, &'static str),
    /// Who serves the model refused it.
    Upstream(Box<Said>),
}

impl Refusal {
    pub(crate) const fn bad(param: Option<&'static str>, message: String) -> Self {
        Self::Bad { param, message }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if error == Error::TooLarge { Self::TooLarge } else { Self::Other(error) }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

/// What is said, in the words of `OpenAI`'s API.
#[derive(Debug)]
pub(crate) struct Said {
    status: StatusCode,
    message: String,
    kind: String,
    param: Value,
    code: Value,
    retry_after: Option<u64>,
}

impl Said {
    fn new(status: StatusCode, message: impl Into<String>, kind: &str, code: impl Into<Value>) -> Self {
        let (message, kind, code) = (message.into(), kind.to_owned(), code.into());
        Self { status, message, kind, param: Value::Null, code, retry_after: None }
    }

    fn about(self, param: &str) -> Self {
        Self { param: param.into(), ..self }
    }

    fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    fn body(&self) -> Value {
        let Self { message, kind, param, code, .. } = self;
        json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
    }
}

const INVALID: &str = "invalid_request_error";

impl Refusal {
    fn said(self) -> Said {
        match self {
            Self::Other(error) => other(&error),
            Self::Bad { param, message } => {
                let said = Said::new(StatusCode::BAD_REQUEST, message, INVALID, Value::Null);
                Said { param: param.into(), ..said }
            }
            Self::TooLarge => {
                Said::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 6 MB", INVALID, "request_too_large")
            }
            Self::NoSuchModel(model) => {
                let words = format!("The model `{model}` does not exist or you do not have access to it.");
                Said::new(StatusCode::NOT_FOUND, words, INVALID, "model_not_found").about("model")
            }
            Self::NotReady { model, seconds, is_coming } => {
                let why = if is_coming { "is being launched" } else { "is not served at the moment" };
                let words = format!("The model `{model}` {why}: try again in {seconds} seconds");
                let said = Said::new(StatusCode::SERVICE_UNAVAILABLE, words, "service_unavailable", "model_not_ready");
                said.about("model").after(seconds)
            }
            Self::Limited(met, seconds) => limited(&met, seconds),
            Self::Failed(status, words) => Said::new(status, words, "server_error", "model_server_failed"),
            Self::Upstream(said) => *said,
        }
    }
}

/// A limit that was met: which, whose, how much of it is left, and how much was wanted.
fn limited(met: &Met, seconds: u64) -> Said {
    let Met { whose, standing, wanted } = met;
    let (what, whose) = (standing.meter.words(), whose.words());
    let dollars = |micros| Price::from_micros(micros).dollars();
    let (kind, code, amounts) = match standing.meter.unit() {
        Unit::Requests => ("requests", "rate_limit_exceeded", format!("Limit {}", standing.limit)),
        Unit::Places => ("requests", "concurrency_limit_exceeded", format!("Limit {}", standing.limit)),
        Unit::Tokens => {
            let (limit, left) = (standing.limit, standing.remaining);
            ("tokens", "rate_limit_exceeded", format!("Limit {limit}, remaining {left}, requested {wanted}"))
        }
        Unit::Micros => {
            let (limit, left) = (dollars(standing.limit), dollars(standing.remaining));
            ("insufficient_quota", "insufficient_quota", format!("Limit {limit} dollars, remaining {left}"))
        }
    };
    let words = format!("Limit of {what} for {whose} reached: {amounts}. Please try again in {seconds}s.");
    Said::new(StatusCode::TOO_MANY_REQUESTS, words, kind, code).after(seconds)
}

/// What every surface can refuse.
fn other(error: &Error) -> Said {
    let (kind, code) = match error {
        Error::Unauthenticated(..) => (INVALID, "invalid_api_key"),
        Error::Invalid(_) | Error::BadRequest(_) | Error::TooLarge | Error::UnsupportedMediaType => {
            (INVALID, error.code())
        }
        Error::Forbidden(_) | Error::Tier { .. } => ("permission_error", error.code()),
        Error::NotFound(_) | Error::Gone(_) | Error::Conflict(_) => (INVALID, error.code()),
        Error::TooMany(..) => ("requests", "rate_limit_exceeded"),
        Error::Unavailable(..) => ("service_unavailable", error.code()),
        Error::Internal(_) | Error::Replayed { .. } => ("server_error", error.code()),
    };
    Said::new(error.status(), error.message(), kind, code)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            // The surface's dialect words it.
            Self::Other(error) => error.into_response(),
            refusal => worded(&refusal.said()),
        }
    }
}

fn worded(said: &Said) -> Response {
    let body = said.body().to_string();
    let code = said.code.as_str().and_then(|code| HeaderValue::from_str(code).ok());
    let mut response = (said.status, Body::from(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let code = code.unwrap_or_else(|| HeaderValue::from_static("bad_request"));
    headers.insert(HeaderName::from_static("x-error-code"), code);
    if let Some(seconds) = said.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The dialect of inference: `OpenAI`'s bodies, also for what the router refuses by itself.
#[must_use]
pub(crate) fn openai(mut response: Response) -> Response {
    let refusal = response.extensions_mut().remove::<Error>();
    let said = match &refusal {
        Some(refusal) => other(refusal),
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            let words = "Not allowed to do that to this path";
            Said::new(StatusCode::METHOD_NOT_ALLOWED, words, INVALID, "method_not_allowed")
        }
        None => return response,
    };
    let (mut parts, _) = response.into_parts();
    if refusal.is_none() {
        parts.headers.insert("x-error-code", HeaderValue::from_static("method_not_allowed"));
    }
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(said.body().to_string()))
}

/// What a model server refused, in `OpenAI`'s words where it used them.
pub(crate) fn of_upstream(status: StatusCode, body: &[u8]) -> Refusal {
    let read = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let error = read.get("error").filter(|error| error.is_object()).unwrap_or(&read);
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    let message = text("message").or_else(|| read.get("error").and_then(Value::as_str).map(str::to_owned));
    let message = message.unwrap_or_else(|| "The model's server refused the request".to_owned());
    let param = error.get("param").filter(|param| param.is_string()).cloned().unwrap_or_default();
    let code = error.get("code").filter(|code| code.is_string()).cloned().unwrap_or_default();
    // Who asks again later is told when; a limit of the server's own is none of the caller's.
    let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
    let kind = text("type").unwrap_or_else(|| INVALID.to_owned());
    Refusal::Upstream(Box::new(Said { status, message, kind, param, code, retry_after }))
}

impl Refusal {
    /// Why there was no room, at `now`.
    pub(crate) fn no_room(no: NoRoom, now: Timestamp) -> Self {
        match no {
            NoRoom::Met(met) => Self::Limited(Box::new(met), met.standing.reset_seconds(now)),
            NoRoom::Store(error) => error.into(),
        }
    }
}
