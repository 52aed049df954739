//! HTTP: which request asks for what.

use std::collections::BTreeMap;

use axum::{
    Router,
    body::Body,
    extract::{Query as Words, State as Shared},
    http::{HeaderMap, Method, Response, StatusCode, Uri, header},
};
use bytes::Bytes;
use serde_json::Value;

use super::{
    Fake, Fault, State, discovery,
    store::{Key, RESOURCES, Refusal, Resource, refusal},
    watch::{self, Query},
};

pub(crate) fn router(fake: Fake) -> Router {
    Router::new().fallback(serve).with_state(fake)
}

/// What a request is for.
struct Target {
    resource: &'static Resource,
    space: Option<String>,
    name: Option<String>,
}

impl Target {
    fn read(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (space, rest) = match parts.as_slice() {
            ["api", "v1", "namespaces", space, rest @ ..] => (Some((*space).to_owned()), rest),
            ["api", "v1", rest @ ..] => (None, rest),
            _ => return None,
        };
        let (plural, name) = match rest {
            [plural] => (plural, None),
            // A subresource takes the whole object here.
            [plural, name] | [plural, name, "status"] => (plural, Some((*name).to_owned())),
            _ => return None,
        };
        let resource = RESOURCES.iter().find(|one| one.plural == *plural)?;
        match (resource.shared, space) {
            (true, Some(_)) => None,
            (true, None) => Some(Self { resource, space: Some(String::new()), name }),
            (false, space) => Some(Self { resource, space, name }),
        }
    }

    fn key(&self) -> Option<Key> {
        Some((self.resource.plural, self.space.clone()?, self.name.clone()?))
    }
}

fn verb(method: &Method, target: &Target, watching: bool) -> &'static str {
    match (method.as_str(), &target.name) {
        ("GET", Some(_)) => "get",
        ("GET", None) if watching => "watch",
        ("GET", None) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        _ => "delete",
    }
}

async fn serve(
    Shared(fake): Shared<Fake>,
    method: Method,
    uri: Uri,
    Words(words): Words<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bearer = bearer.trim_start_matches("Bearer ").to_owned();
    fake.turns().wait(&bearer).await;
    let answered = answer(&fake, &method, &uri, words, &headers, &body, &bearer);
    fake.turns().served(&bearer);
    answered.unwrap_or_else(|refused| written(refused.code, &refused.status()))
}

fn written(code: u16, value: &Value) -> Response<Body> {
    let status = StatusCode::from_u16(code).unwrap();
    let built = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    built.body(Body::from(value.to_string())).unwrap()
}

fn answer(
    fake: &Fake,
    method: &Method,
    uri: &Uri,
    words: BTreeMap<String, String>,
    headers: &HeaderMap,
    body: &Bytes,
    bearer: &str,
) -> Result<Response<Body>, Refusal> {
    if !fake.state().bearers.is_empty() && !fake.state().bearers.contains(bearer) {
        return Err(refusal(401, "Unauthorized", "Unauthorized"));
    }
    if let Some(document) = discovery::document(uri.path()) {
        return Ok(written(200, &document));
    }
    let nothing = || refusal(404, "NotFound", "the server could not find the requested resource");
    let target = Target::read(uri.path()).ok_or_else(nothing)?;
    let query = Query { space: target.space.clone().filter(|space| !space.is_empty()), words };
    let verb = verb(method, &target, query.wants("watch"));
    let fault = {
        let mut state = fake.state();
        state.asked.push((bearer.to_owned(), verb.to_owned(), target.resource.plural.to_owned()));
        let at = state.faults.iter().position(|(on, what, _)| *on == verb && *what == target.resource.plural);
        at.map(|at| state.faults.remove(at).2)
    };
    if let Some(Fault::Refuse(code, reason, message)) = fault {
        return Err(refusal(code, reason, message));
    }
    if verb == "watch" {
        let stream = watch::watch(fake, target.resource, query)?;
        return Ok(Response::builder().header(header::CONTENT_TYPE, "application/json").body(stream).unwrap());
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut done = Err(nothing());
    fake.act(|state| done = change(fake, state, verb, &target, &query, kind, body));
    if fault.is_some() {
        return Err(refusal(504, "Timeout", "the answer was lost"));
    }
    let (code, object) = done?;
    Ok(written(code, &object))
}

fn change(
    fake: &Fake,
    state: &mut State,
    verb: &str,
    target: &Target,
    query: &Query,
    kind: &str,
    body: &Bytes,
) -> Result<(u16, Value), Refusal> {
    let now = fake.0.clock.now();
    let parsed =
        || serde_json::from_slice::<Value>(body).map_err(|error| refusal(400, "BadRequest", error.to_string()));
    let key = || target.key().ok_or_else(|| refusal(405, "MethodNotAllowed", "the server does not allow this method"));
    let store = &mut state.store;
    Ok(match verb {
        "get" => (200, store.get(&key()?)?.clone()),
        "list" => (200, watch::list(store, target.resource, query)?),
        "create" => {
            let space = target.space.as_deref().ok_or_else(|| refusal(400, "BadRequest", "a namespace is needed"))?;
            (201, store.create(target.resource, space, parsed()?, now)?)
        }
        "update" => (200, store.update(&key()?, parsed()?)?),
        "patch" if kind.ends_with("merge-patch+json") => (200, store.patch(&key()?, &parsed()?)?),
        "patch" => return Err(refusal(415, "UnsupportedMediaType", format!("{kind} is not supported"))),
        _ => {
            let options = if body.is_empty() { Value::Null } else { parsed()? };
            (200, store.delete(&key()?, &options, now)?)
        }
    })
}
