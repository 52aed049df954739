//! Label and field selectors.

use serde_json::Value;

/// Whether the object is chosen by a label selector: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, with commas between.
pub(crate) fn labels(selector: &str, object: &Value) -> Option<bool> {
    let mut all = true;
    for term in terms(selector) {
        all &= label(term, object)?;
    }
    Some(all)
}

/// Splits at commas that are not in brackets.
fn terms(selector: &str) -> Vec<&str> {
    let (mut found, mut from, mut depth) = (Vec::new(), 0, 0);
    for (at, letter) in selector.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&selector[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(&selector[from..]);
    found.into_iter().map(str::trim).filter(|term| !term.is_empty()).collect()
}

fn label(term: &str, object: &Value) -> Option<bool> {
    let value = |name: &str| object["metadata"]["labels"][name.trim()].as_str();
    if let Some((name, set)) = term.split_once(" notin ") {
        return Some(!value(name).is_some_and(|value| within(set, value)));
    }
    if let Some((name, set)) = term.split_once(" in ") {
        return Some(value(name).is_some_and(|value| within(set, value)));
    }
    if let Some((name, wanted)) = term.split_once("!=") {
        return Some(value(name) != Some(wanted.trim()));
    }
    if let Some((name, wanted)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Some(value(name) == Some(wanted.trim()));
    }
    if term.contains(' ') {
        return None;
    }
    Some(term.strip_prefix('!').map_or_else(|| value(term).is_some(), |name| value(name).is_none()))
}

fn within(set: &str, value: &str) -> bool {
    set.trim().trim_start_matches('(').trim_end_matches(')').split(',').any(|one| one.trim() == value)
}

/// Whether the object is chosen by a field selector; `None` for a field that cannot be selected by.
pub(crate) fn fields(selector: &str, object: &Value) -> Option<bool> {
    let mut all = true;
    for term in selector.split(',').filter(|term| !term.is_empty()) {
        let (name, wanted, equal) = match term.split_once("!=") {
            Some((name, wanted)) => (name, wanted, false),
            None => {
                let (name, wanted) = term.split_once("==").or_else(|| term.split_once('='))?;
                (name, wanted, true)
            }
        };
        let found = match name {
            "metadata.name" => &object["metadata"]["name"],
            "metadata.namespace" => &object["metadata"]["namespace"],
            "status.phase" => &object["status"]["phase"],
            "spec.nodeName" => &object["spec"]["nodeName"],
            "involvedObject.name" => &object["involvedObject"]["name"],
            _ => return None,
        };
        all &= (found.as_str().unwrap_or_default() == wanted) == equal;
    }
    Some(all)
}
