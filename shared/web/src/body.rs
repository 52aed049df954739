//! Bodies: read within limits, checked field by field, and claimed once.

use std::marker::PhantomData;

use axum::{
    body::{Body, to_bytes},
    extract::{FromRef, FromRequest, FromRequestParts, MatchedPath, Request},
};
use bytes::Bytes;
use domain::{SecretHash, TenantId, Timestamp};
use http::{HeaderMap, header, request::Parts};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use store::{Plane, identities::Claim};
use zeroize::Zeroize;

use crate::{Error, Member, Problem, caller::Principal};

/// The largest body that is taken.
const LARGEST: usize = 1024 * 1024;
/// The deepest nesting that is read.
pub const DEEPEST: usize = 64;

/// A body's type. Unknown fields are to be refused (`deny_unknown_fields`).
pub trait Input: DeserializeOwned {
    /// Fields whose values never come back in a refusal.
    const SECRET: &'static [&'static str];
}

/// The body of an operation that takes none: empty, or an empty object.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Input for Nothing {
    const SECRET: &'static [&'static str] = &[];
}

/// A POST of somebody's: its checked body, and the claim of its `Idempotency-Key`.
///
/// A request that was answered before ends here, with that answer.
#[derive(Clone, Debug)]
pub struct Command<T, P = Member> {
    /// The body.
    pub input: T,
    once: Option<Once>,
    caller: PhantomData<P>,
}

#[derive(Clone, Debug)]
struct Once {
    realm: TenantId,
    key: SecretHash,
    request: SecretHash,
}

impl<T, P> Command<T, P> {
    /// What nobody sent over the wire: a repetition of it is another one.
    #[must_use]
    pub const fn unclaimed(input: T) -> Self {
        Self { input, once: None, caller: PhantomData }
    }

    /// The claim to be written together with what the request changes: `answer` is what repetitions get.
    ///
    /// # Errors
    /// When the answer cannot be written as JSON.
    pub fn claim(
        &self,
        resource: impl Into<String>,
        answer: &impl Serialize,
        at: Timestamp,
    ) -> Result<Option<Claim>, Error> {
        let answer = serde_json::to_string(answer).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(self.claimed(resource.into(), Some(answer), at))
    }

    /// As [`Command::claim`], where something new is made: repetitions are answered with 201 as well.
    ///
    /// # Errors
    /// When the answer cannot be written as JSON.
    pub fn claim_new(
        &self,
        resource: impl Into<String>,
        answer: &impl Serialize,
        at: Timestamp,
    ) -> Result<Option<Claim>, Error> {
        Ok(self.claim(resource, answer, at)?.map(|claim| Claim { made: true, ..claim }))
    }

    /// As [`Command::claim`], where the answer holds a secret: it is not kept, and repetitions are told what was made.
    #[must_use]
    pub fn claim_secret(&self, resource: impl Into<String>, at: Timestamp) -> Option<Claim> {
        self.claimed(resource.into(), None, at)
    }

    fn claimed(&self, resource: String, answer: Option<String>, at: Timestamp) -> Option<Claim> {
        self.once.as_ref().map(|once| Claim {
            tenant: once.realm.clone(),
            key: once.key.clone(),
            request: once.request.clone(),
            answer,
            made: false,
            resource,
            at,
        })
    }
}

impl<S: Send + Sync, T: Input, P: Principal + FromRequestParts<S, Rejection = Error>> FromRequest<S> for Command<T, P>
where
    Plane: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let (mut parts, body) = request.into_parts();
        let caller = P::from_request_parts(&mut parts, state).await?;
        let bytes = read(&parts.headers, body, LARGEST).await?;
        let once = claim_of(&parts, &caller, &bytes)?;
        if let Some(once) = &once {
            let plane = Plane::from_ref(state);
            let claimed = plane.store.claimed(&once.realm, &once.key, plane.ports.clock.now()).await?;
            if let Some(claimed) = claimed {
                if claimed.request != once.request {
                    return Err(store::StoreError::ClaimedOtherwise.into());
                }
                return Err(store::StoreError::Claimed(Box::new(claimed)).into());
            }
        }
        Ok(Self { input: check(&parts.headers, &bytes)?, once, caller: PhantomData })
    }
}

/// A body without a caller's idempotency key: a login's, or an agent's.
#[derive(Clone, Debug)]
pub struct Plain<T>(pub T);

impl<S: Send + Sync, T: Input> FromRequest<S> for Plain<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body, LARGEST).await?;
        let checked = check(&parts.headers, &bytes).map(Self);
        wipe(bytes);
        checked
    }
}

/// Overwrites a body that may be somebody's keys, as far as it is ours alone: what the transport held of it before is not.
fn wipe(bytes: Bytes) {
    if let Ok(mut own) = bytes.try_into_mut() {
        own.as_mut().zeroize();
    }
}

/// A body of at most `largest` bytes.
///
/// # Errors
/// When it is larger, compressed, or cut off.
pub async fn read(headers: &HeaderMap, body: Body, largest: usize) -> Result<Bytes, Error> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > largest) {
        return Err(Error::TooLarge);
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Error::UnsupportedMediaType);
    }
    to_bytes(body, largest).await.map_err(|error| {
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            if cause.to_string().contains("length limit exceeded") {
                return Error::TooLarge;
            }
            source = cause.source();
        }
        if error.to_string().contains("length limit exceeded") {
            Error::TooLarge
        } else {
            Error::BadRequest("The body was cut off".into())
        }
    })
}

/// The claim that the request's `Idempotency-Key` makes: within one caller and one operation.
fn claim_of(parts: &Parts, caller: &impl Principal, bytes: &Bytes) -> Result<Option<Once>, Error> {
    let Some(key) = parts.headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    let key = key.ok_or_else(|| Error::BadRequest("An Idempotency-Key has 1 to 255 printable characters".into()))?;
    let operation = parts.extensions.get::<MatchedPath>().map_or_else(|| parts.uri.path(), MatchedPath::as_str);
    let scope = [caller.name().as_str(), parts.method.as_str(), operation, key].join("\n");
    // The path holds the ids: the same key on another job is another request.
    let request = [parts.uri.path().as_bytes(), b"\n", bytes].concat();
    Ok(Some(Once {
        realm: caller.realm().clone(),
        key: SecretHash::of(scope.as_bytes()),
        request: SecretHash::of(&request),
    }))
}

fn check<T: Input>(headers: &HeaderMap, bytes: &Bytes) -> Result<T, Error> {
    // An operation that takes no body gets an empty object.
    let empty = bytes.iter().all(u8::is_ascii_whitespace);
    let text: &[u8] = if empty { b"{}" } else { bytes };
    if !empty && !is_json(headers) {
        return Err(Error::UnsupportedMediaType);
    }
    if too_deep(text) {
        return Err(Error::BadRequest(format!("The body is nested deeper than {DEEPEST} levels")));
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    match serde_path_to_error::deserialize(&mut reader) {
        Ok(input) => reader.end().map(|()| input).map_err(|error| json_invalid(&error)),
        Err(error) => {
            let path = error.path().clone();
            Err(refuse::<T>(text, &path, error.inner()))
        }
    }
}

/// Whether the headers say that a body is JSON.
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Whether brackets outside of strings nest too deeply. It is looked at before anything is parsed.
#[must_use]
pub fn too_deep(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return true;
        }
    }
    false
}

fn json_invalid(error: &serde_json::Error) -> Error {
    let loc = vec!["body".into(), Value::from(error.column())];
    Error::Invalid(vec![Problem { kind: "json_invalid", loc, msg: "JSON decode error".to_owned(), input: None }])
}

/// A refused body as FastAPI's users know it: what kind of mistake, where, and what was given there.
fn refuse<T: Input>(text: &[u8], path: &serde_path_to_error::Path, error: &serde_json::Error) -> Error {
    if error.is_syntax() || error.is_eof() {
        return json_invalid(error);
    }
    let words = error.to_string();
    // serde_json ends its messages with the place in the text, which the path says better.
    let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
    let named = |prefix: &str| words.strip_prefix(prefix)?.split_once('`').map(|(name, _)| name.to_owned());
    let (kind, field, msg) = if let Some(field) = named("missing field `") {
        ("missing", Some(field), "Field required".to_owned())
    } else if let Some(field) = named("unknown field `") {
        ("extra_forbidden", Some(field), "Extra inputs are not permitted".to_owned())
    } else if words.starts_with("invalid type") {
        ("type_error", None, words.to_owned())
    } else {
        ("value_error", None, words.to_owned())
    };
    let mut loc = vec![Value::from("body")];
    for segment in path {
        match segment {
            serde_path_to_error::Segment::Seq { index } => loc.push(Value::from(*index)),
            serde_path_to_error::Segment::Map { key } => loc.push(Value::from(key.as_str())),
            serde_path_to_error::Segment::Enum { variant } => loc.push(Value::from(variant.as_str())),
            serde_path_to_error::Segment::Unknown => {}
        }
    }
    // An unknown field is in the path already; a missing one is not.
    if let Some(field) = field
        && loc.last().and_then(Value::as_str) != Some(&field)
    {
        loc.push(Value::from(field));
    }
    let input = given::<T>(text, &loc, kind);
    let msg = if is_secret::<T>(&loc) { without_value(&msg) } else { msg };
    Error::Invalid(vec![Problem { kind, loc, msg, input }])
}

/// Whether `loc` lies in a field whose value never comes back.
fn is_secret<T: Input>(loc: &[Value]) -> bool {
    loc.get(1).and_then(Value::as_str).is_some_and(|name| T::SECRET.contains(&name))
}

/// serde's words without the value that they quote, as in `invalid type: string "hunter2", expected a map`.
fn without_value(msg: &str) -> String {
    msg.rsplit_once(", expected ").map_or_else(|| msg.to_owned(), |(_, expected)| format!("expected {expected}"))
}

/// What was given at `loc`, unless it may be a secret. For a missing field that is the object that lacks it, without its secrets.
fn given<T: Input>(text: &[u8], loc: &[Value], kind: &str) -> Option<Value> {
    let whole: Value = serde_json::from_slice(text).ok()?;
    // Deeper down the object is not ours to show in full: fields of the body that were not read yet may be misspelt secrets.
    if kind == "missing" && loc.len() == 2 {
        let fields = whole.as_object()?;
        let open = fields.iter().filter(|(name, _)| !T::SECRET.contains(&name.as_str()));
        return Some(Value::Object(open.map(|(name, value)| (name.clone(), value.clone())).collect()));
    }
    // What is not one of our fields may be a misspelt secret.
    if kind == "extra_forbidden" || is_secret::<T>(loc) {
        return None;
    }
    let place = loc.split_last().filter(|_| kind == "missing").map_or(loc, |(_, lacking)| lacking);
    let mut value = &whole;
    for segment in place.iter().skip(1) {
        value = match segment {
            Value::String(name) => value.get(name)?,
            Value::Number(index) => value.get(usize::try_from(index.as_u64()?).ok()?)?,
            _ => return None,
        };
    }
    Some(value.clone())
}

#[cfg(test)]
mod tests;
