//! How refusals look, surface by surface (checklist K4).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::Error;

/// The GPU-jobs dialect: `{"detail": "..."}`, and for inputs `{"detail": [{type, loc, msg, input}]}`.
///
/// It also words what the router refuses by itself, such as an unknown path or a method that a path does not have.
#[must_use]
pub fn detail(mut response: Response) -> Response {
    // A refusal is worded once: by the innermost dialect that it passes.
    let refusal = response.extensions_mut().remove::<Error>();
    let body = match &refusal {
        Some(Error::Invalid(problems)) => json!({"detail": problems.iter().map(problem).collect::<Vec<_>>()}),
        Some(refusal) => json!({"detail": refusal.message()}),
        None => match response.status() {
            StatusCode::METHOD_NOT_ALLOWED if !is_worded(&response) => json!({"detail": "Method Not Allowed"}),
            _ => return response,
        },
    };
    let (mut parts, _) = response.into_parts();
    if refusal.is_none() {
        parts.headers.insert("x-error-code", HeaderValue::from_static("method_not_allowed"));
    }
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body.to_string()))
}

/// Whether a dialect has worded it already: what the router refuses passes every one of them.
fn is_worded(response: &Response) -> bool {
    response.headers().contains_key("x-error-code")
}

/// The dialect of tenants, nodes and inference: `{"error": {"message", "type", "code"}}`, as `OpenAI`'s clients read it, and for inputs the
/// `param` that is wrong.
#[must_use]
pub fn typed(mut response: Response) -> Response {
    let refusal = response.extensions_mut().remove::<Error>();
    let not_allowed = Error::BadRequest("Method not allowed".to_owned());
    let (refusal, code) = match &refusal {
        Some(refusal) => (refusal, refusal.code()),
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED && !is_worded(&response) => {
            (&not_allowed, "method_not_allowed")
        }
        None => return response,
    };
    let mut error = json!({"message": sentence(refusal), "type": kind(refusal), "code": code});
    if let (Error::Invalid(problems), Some(error)) = (refusal, error.as_object_mut()) {
        error.insert("param".to_owned(), problems.first().map(place).into());
    }
    let (mut parts, _) = response.into_parts();
    parts.headers.insert("x-error-code", HeaderValue::from_static(code));
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(json!({"error": error}).to_string()))
}

/// A refusal in one sentence; of an input, with where each mistake is.
fn sentence(refusal: &Error) -> String {
    let Error::Invalid(problems) = refusal else { return refusal.message() };
    let words = |problem: &crate::Problem| match place(problem) {
        place if place.is_empty() => problem.msg.clone(),
        place => format!("{place}: {}", problem.msg),
    };
    problems.iter().map(words).collect::<Vec<_>>().join("; ")
}

/// Where a mistake is: names and indexes with dots between.
fn place(problem: &crate::Problem) -> String {
    let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
    problem.loc.iter().skip(1).map(part).collect::<Vec<_>>().join(".")
}

/// The `type` of a refusal.
const fn kind(refusal: &Error) -> &'static str {
    match refusal {
        Error::Invalid(_) | Error::BadRequest(_) | Error::TooLarge | Error::UnsupportedMediaType => {
            "invalid_request_error"
        }
        Error::Unauthenticated(..) => "authentication_error",
        Error::Forbidden(_) => "permission_error",
        Error::Tier { .. } => "tier_restriction_error",
        Error::NotFound(_) | Error::Gone(_) => "not_found_error",
        Error::Conflict(_) => "conflict_error",
        Error::TooMany(..) => "rate_limit_error",
        Error::Unavailable(..) => "service_unavailable_error",
        Error::Internal(_) | Error::Replayed { .. } => "api_error",
    }
}

fn problem(problem: &crate::Problem) -> Value {
    let mut value = json!({"type": problem.kind, "loc": problem.loc, "msg": problem.msg});
    if let (Some(fields), Some(input)) = (value.as_object_mut(), &problem.input) {
        fields.insert("input".to_owned(), input.clone());
    }
    value
}

/// What answers where no route does.
#[must_use]
pub fn no_such_path() -> Response {
    detail(Error::NotFound("Not Found").into_response())
}
