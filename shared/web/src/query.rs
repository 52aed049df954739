//! Query strings, checked like bodies.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;

use crate::{Error, Problem};

/// A checked query string: unknown names, repeated names and values of the wrong form are refused by name.
#[derive(Clone, Copy, Debug)]
pub struct Checked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Checked<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let axum::extract::Query(query) =
            axum::extract::Query::<T>::try_from_uri(&parts.uri).map_err(|refused| refuse(&refused.body_text()))?;
        Ok(Self(query))
    }
}

/// A refused query in the words of the body's refusals. The extractor's text is `...: NAME: WHAT` or `...: unknown field ...`.
fn refuse(text: &str) -> Error {
    let what = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    let (name, msg) = what.split_once(": ").unwrap_or(("query", what));
    let kind = if msg.starts_with("unknown field") || what.starts_with("unknown field") {
        "extra_forbidden"
    } else {
        "value_error"
    };
    let name = field_in_question(what).unwrap_or(name);
    Error::Invalid(vec![Problem { kind, loc: vec!["query".into(), name.into()], msg: msg.to_owned(), input: None }])
}

/// The name in serde's `unknown field` and `duplicate field` messages.
fn field_in_question(text: &str) -> Option<&str> {
    let (_, named) = text.split_once("unknown field `").or_else(|| text.split_once("duplicate field `"))?;
    named.split_once('`').map(|(name, _)| name)
}
