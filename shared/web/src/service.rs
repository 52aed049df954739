//! Operators' tools, with the service token that the installation was given: they look, and change nothing.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use domain::SecretHash;
use http::header;
use store::Plane;

use crate::{
    Error,
    admin::{Door, guarded},
    caller::bearer,
};

const SERVICE: Door = Door {
    name: "service",
    wrong: "Invalid service token",
    too_many: "Too many wrong service tokens from this address",
};

/// Whoever has the service token, as `Authorization: Bearer TOKEN`.
#[derive(Clone, Copy, Debug)]
pub struct Service;

impl<S: Send + Sync> FromRequestParts<S> for Service
where
    Plane: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        if parts.extensions.get::<Self>().is_some() {
            return Ok(Self);
        }
        let Some(header) = parts.headers.get(header::AUTHORIZATION) else {
            return Err(Error::Unauthenticated("Missing service token: send Authorization: Bearer TOKEN", false));
        };
        let token = header.to_str().ok().and_then(bearer).unwrap_or_default();
        let offered = SecretHash::of(token.as_bytes());
        let plane = Plane::from_ref(state);
        guarded(&plane, parts, &SERVICE, |secrets, _| {
            secrets.service_token.as_ref().is_some_and(|token| offered.matches(token))
        })
        .await?;
        parts.extensions.insert(Self);
        Ok(Self)
    }
}
