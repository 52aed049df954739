//! The launch's graph, beyond what the interpreter refuses: every Task has a limit and somebody who catches, every wait ends, and its
//! functions are there.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use slipway::machine::{LAUNCH, Machine};

use super::functions::{self, Trigger};

fn faults(document: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if document["TimeoutSeconds"].as_u64().is_none() {
        wrong.push("the execution has no limit".to_owned());
    }
    for (name, state) in document["States"].as_object().into_iter().flatten() {
        if state["Type"] != "Task" {
            continue;
        }
        if state["TimeoutSeconds"].as_u64().is_none() {
            wrong.push(format!("{name} has no TimeoutSeconds"));
        }
        let retries_all =
            state["Retry"].as_array().into_iter().flatten().any(|retry| retry["ErrorEquals"] == json!(["States.ALL"]));
        let catches =
            state["Catch"].as_array().into_iter().flatten().any(|catch| catch["ErrorEquals"] == json!(["States.ALL"]));
        // The undo has nobody to catch it: it is tried again whatever it meets, and the sweep comes after it.
        if !(catches || name == "Undo" && retries_all) {
            wrong.push(format!("{name} catches nothing"));
        }
    }
    wrong
}

fn launch() -> Value {
    serde_json::from_str(LAUNCH).expect("JSON")
}

#[test]
fn every_task_ends_and_is_caught() {
    assert!(Machine::parse(LAUNCH).is_ok(), "the interpreter refuses what cannot be reached or does not exist");
    assert_eq!(faults(&launch()), Vec::<String>::new());
}

#[test]
fn a_graph_with_a_fault_is_seen() {
    type Plant = fn(&mut Value);
    let plants: [(Plant, &str); 3] = [
        (
            |document| drop(document["States"]["AwaitBoot"].as_object_mut().expect("a state").remove("TimeoutSeconds")),
            "AwaitBoot has no",
        ),
        (
            |document| drop(document["States"]["Provision"].as_object_mut().expect("a state").remove("Catch")),
            "Provision catches",
        ),
        (|document| drop(document.as_object_mut().expect("a document").remove("TimeoutSeconds")), "no limit"),
    ];
    for (plant, expected) in plants {
        let mut document = launch();
        plant(&mut document);
        let found = faults(&document);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
    let mut dangling = launch();
    dangling["States"]["Activate"]["Next"] = json!("Nowhere");
    assert!(Machine::parse(&dangling.to_string()).is_err(), "a Next that leads nowhere");
}

#[test]
fn each_placeholder_is_a_function() {
    let steps = functions::all().into_iter().filter(|function| function.trigger == Trigger::Step);
    let steps = steps.map(|function| function.name.trim_start_matches("Launch").to_owned()).collect::<BTreeSet<_>>();
    let named = LAUNCH.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned());
    assert_eq!(named.collect::<BTreeSet<_>>(), steps);
}
