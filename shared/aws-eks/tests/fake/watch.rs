//! Lists, and what changes after them.

use std::{collections::BTreeMap, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};

use super::{
    Fake, selectors,
    store::{Change, Refusal, Resource, Store, refusal},
};

/// What was asked for in the address.
pub(crate) struct Query {
    pub(crate) space: Option<String>,
    pub(crate) words: BTreeMap<String, String>,
}

impl Query {
    fn word(&self, name: &str) -> &str {
        self.words.get(name).map_or("", String::as_str)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        matches!(self.word(name), "true" | "1")
    }

    fn chooses(&self, object: &Value) -> Result<bool, Refusal> {
        let unknown = || refusal(400, "BadRequest", "unable to parse the selector");
        let here = self.space.as_deref().is_none_or(|space| object["metadata"]["namespace"] == space);
        let labels = selectors::labels(self.word("labelSelector"), object).ok_or_else(unknown)?;
        let fields = selectors::fields(self.word("fieldSelector"), object).ok_or_else(unknown)?;
        Ok(here && labels && fields)
    }
}

/// A page of a list. The rest is told by the version that the list began at and the last name of the page.
pub(crate) fn list(store: &Store, resource: &Resource, query: &Query) -> Result<Value, Refusal> {
    let mut found = Vec::new();
    for object in store.all(resource.plural) {
        if query.chooses(object)? {
            found.push(object.clone());
        }
    }
    let place = |object: &Value| {
        let metadata = &object["metadata"];
        format!(
            "{}/{}",
            metadata["namespace"].as_str().unwrap_or_default(),
            metadata["name"].as_str().unwrap_or_default()
        )
    };
    let mut version = store.version();
    if let Some((began, last)) = query.word("continue").split_once('~') {
        version = began.parse().map_err(|_unreadable| refusal(400, "BadRequest", "continue key is not valid"))?;
        if version < store.compacted() {
            return Err(refusal(410, "Expired", "The provided continue parameter is too old"));
        }
        found.retain(|object| place(object).as_str() > last);
    }
    let limit = query.word("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let rest = found.len().saturating_sub(limit);
    found.truncate(limit);
    let next = found.last().filter(|_| rest > 0).map(|last| format!("{version}~{}", place(last)));
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(next) = next {
        metadata["continue"] = json!(next);
        metadata["remainingItemCount"] = json!(rest);
    }
    Ok(json!({"kind": format!("{}List", resource.kind), "apiVersion": "v1", "metadata": metadata, "items": found}))
}

/// What a change is to somebody who sees only what the query chooses.
fn event(change: &Change, query: &Query) -> Option<Value> {
    let chosen = |object: &Option<Value>| object.as_ref().is_some_and(|object| query.chooses(object) == Ok(true));
    let (kind, object) = match (chosen(&change.before), chosen(&change.after)) {
        (false, true) => ("ADDED", &change.after),
        (true, true) => ("MODIFIED", &change.after),
        (true, false) => ("DELETED", &change.before),
        (false, false) => return None,
    };
    let mut object = object.clone()?;
    object["metadata"]["resourceVersion"] = json!(change.version.to_string());
    Some(json!({"type": kind, "object": object}))
}

/// Changes from a version on, a line each, and a bookmark after each batch where they are asked for.
pub(crate) fn watch(fake: &Fake, resource: &'static Resource, query: Query) -> Result<Body, Refusal> {
    let given = query.word("resourceVersion").to_owned();
    let mut first = Vec::new();
    let from = {
        let state = fake.state();
        if matches!(given.as_str(), "" | "0") {
            let listed = list(&state.store, resource, &query)?;
            let items = listed["items"].as_array().cloned().unwrap_or_default();
            first.extend(items.into_iter().map(|object| json!({"type": "ADDED", "object": object})));
            state.store.version()
        } else {
            given.parse().map_err(|_unreadable| refusal(400, "BadRequest", "resourceVersion is not a number"))?
        }
    };
    if fake.state().store.since(from).is_none() {
        return Err(refusal(410, "Expired", format!("too old resource version: {from}")));
    }
    // Of quiet: the real one ends after so much time in all, which no test can wait for.
    let patience = Duration::from_secs(query.word("timeoutSeconds").parse().unwrap_or(300));
    let changes = fake.0.changed.subscribe();
    let begin = (fake.clone(), query, changes, from, first);
    let lines = stream::unfold(Some(begin), move |held| async move {
        let (fake, query, mut changes, mut from, mut events) = held?;
        while events.is_empty() {
            let since: Option<Vec<Change>> = fake
                .state()
                .store
                .since(from)
                .map(|all| all.filter(|one| one.plural == resource.plural).cloned().collect());
            let Some(since) = since else {
                let gone =
                    json!({"type": "ERROR", "object": refusal(410, "Expired", "too old resource version").status()});
                return Some((line(&[gone]), None));
            };
            from = since.last().map_or(from, |change| change.version);
            events = since.iter().filter_map(|change| event(change, &query)).collect();
            if events.is_empty() && tokio::time::timeout(patience, changes.changed()).await.is_err() {
                return None;
            }
        }
        if query.wants("allowWatchBookmarks") {
            let metadata = json!({"resourceVersion": from.to_string(), "creationTimestamp": null});
            let mark = json!({"kind": resource.kind, "apiVersion": "v1", "metadata": metadata});
            events.push(json!({"type": "BOOKMARK", "object": mark}));
        }
        let text = line(&events);
        Some((text, Some((fake, query, changes, from, Vec::new()))))
    });
    Ok(Body::from_stream(lines))
}

fn line(events: &[Value]) -> Result<Bytes, std::convert::Infallible> {
    Ok(events.iter().map(|event| format!("{event}\n")).collect::<String>().into())
}
