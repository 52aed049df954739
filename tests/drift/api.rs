//! `infra/openapi.json` is the API, and what it says holds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    bless,
    operations::{Caller, Scene, document, operations},
};

#[test]
fn the_committed_document_is_the_codes() {
    bless::same("infra/openapi.json", &document()).unwrap_or_else(|why| panic!("{why}"));
}

/// Every `$ref` in the document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(target) => drop(found.insert(target.to_owned())),
                    None => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(&document()).unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for target in found {
        let there = document.pointer(target.trim_start_matches('#'));
        assert!(
            there.is_some(),
            "{target} is not in the document: name its type in a body or in openapi(components(schemas(..)))"
        );
    }
}

#[test]
fn every_operation_is_described() {
    let mut names = BTreeSet::new();
    for operation in operations() {
        let what = format!("{} {}", operation.method, operation.path);
        let described = &operation.described;
        assert!(names.insert(operation.id.clone()), "{what}: another operation is called {}", operation.id);
        let tags = described["tags"].as_array().map_or(0, Vec::len);
        assert_eq!(tags, 1, "{what}: give it one tag in #[utoipa::path(tag = ..)]");
        let summary = described["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty(), "{what}: its doc comment is its summary; write one");
        for (status, response) in described["responses"].as_object().expect("responses") {
            let words = response["description"].as_str().unwrap_or_default();
            assert!(
                words.len() > 5,
                "{what}: its {status} is not described; add (status = {status}, description = ..)"
            );
        }
        for parameter in described["parameters"].as_array().into_iter().flatten() {
            let words = parameter["description"].as_str().unwrap_or_default();
            assert!(!words.is_empty(), "{what}: its parameter {} is not described", parameter["name"]);
        }
        let promised = |status: &str| described["responses"].get(status).is_some();
        assert!(promised("200") || promised("201"), "{what}: no good answer");
        assert!(
            operation.caller == Caller::Public || promised("401"),
            "{what}: it takes a key, and does not say that it answers 401"
        );
    }
}

/// Whoever copies an example from the documentation sees it work, and gets what is described.
#[test]
fn every_example_is_good() {
    for operation in operations() {
        let scene = Scene::new();
        let answer = scene.bench.send(scene.ask(&operation));
        assert_eq!(answer.status, operation.good(), "{}: its example is refused: {}", operation.id, answer.text());
        let described =
            &operation.described["responses"][operation.good().to_string()]["content"]["application/json"]["schema"];
        let document: Value = serde_json::from_str(&document()).unwrap();
        let schema = described["$ref"]
            .as_str()
            .and_then(|name| document.pointer(name.trim_start_matches('#')))
            .unwrap_or(described);
        let Some(promised) = schema["properties"].as_object() else { continue };
        let names = |of: &serde_json::Map<String, Value>| of.keys().cloned().collect::<BTreeSet<_>>();
        // What is neither required nor ever null is left out where there is nothing to say.
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let is_nullable = |property: &Value| property.to_string().contains("\"null\"");
        let may_lack = |(name, property): (&String, &Value)| {
            (!required.contains(&json!(name)) && !is_nullable(property)).then(|| name.clone())
        };
        let optional = promised.iter().filter_map(may_lack).collect::<BTreeSet<_>>();
        let told = |of: &serde_json::Map<String, Value>| &names(of) | &optional;
        let found = answer.json();
        let found = told(found.as_object().unwrap());
        assert_eq!(found, names(promised), "{}: the answer's fields are not those described", operation.id);
        if let Some(example) = schema["example"].as_object() {
            assert_eq!(told(example), names(promised), "{}: the answer's example has other fields", operation.id);
        }
    }
}
