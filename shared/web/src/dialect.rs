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
            StatusCode::METHOD_NOT_ALLOWED => json!({"detail": "Method Not Allowed"}),
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
