//! What is installed on AWS, held against the code: functions, roles, the API's body, the templates.
//!
//! `template.yaml`, the stacks in `infra/stacks`, the API's body and the fleet's role in a cluster are written from the code
//! (`SLIPWAY_BLESS=1 cargo test -p tests --test all aws`), and what comes of it is checked (`rules`).

mod api;
mod eks;
mod environment;
mod functions;
mod machine;
mod roles;
mod root;
mod rules;
mod scenes;
mod stacks;
mod yaml;

use std::collections::BTreeSet;

use crate::{
    drift::events,
    support::{bless, grants},
};

#[test]
fn every_function_grants_what_it_does() {
    let recorded = grants::recorded(scenes::all);
    bless::same("tests/grants.txt", &grants::text(&recorded)).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn functions_are_operations_and_workers_and_have_events() {
    let names = functions::all().into_iter().map(|function| function.name).collect::<BTreeSet<_>>();
    let events = events::generated().into_keys().collect::<BTreeSet<_>>();
    assert_eq!(names, events, "a function without a sample event, or an event without a function");
    let granted = grants::committed().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names, granted, "a function that no scene of tests/aws/scenes.rs drives, or a grant without a function");
}

#[test]
fn the_templates_are_the_codes() {
    let root = ("template.yaml".to_owned(), root::text());
    let all = stacks::all().into_iter().chain([root, eks::manifest()]);
    let wrong = all.filter_map(|(path, text)| bless::same(&path, &text).err()).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_apis_body_is_the_codes() {
    bless::same("infra/api.json", &api::text()).unwrap_or_else(|why| panic!("{why}"));
}
