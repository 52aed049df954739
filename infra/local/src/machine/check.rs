//! What must hold for the states together.

use super::{
    document::{Document, Step},
    parse::{Unsupported, refuse},
};

/// Refuses a graph that could not run: a target that does not exist, a state that nothing leads to, a circle without a pause.
pub(super) fn graph(document: &Document) -> Result<(), Unsupported> {
    let exists = |at: &str, name: &str| match document.step(name) {
        Some(_) => Ok(()),
        None => refuse(at, format!("there is no state called {name:?}: correct the name or add the state")),
    };
    exists("$.StartAt", &document.start_at)?;
    for (name, step) in &document.states {
        for edge in edges(step) {
            exists(&format!("$.States.{name}.{}", edge.field), edge.to)?;
        }
    }
    reachable(document)?;
    no_circle(document)
}

/// One way out of a state.
pub(super) struct Edge<'a> {
    /// The field that names the target, under the state.
    pub(super) field: String,
    /// The target.
    pub(super) to: &'a str,
    /// When it is taken, for the diagram; empty where it is the only way.
    pub(super) when: String,
}

/// Every way out of a state.
pub(super) fn edges(step: &Step) -> Vec<Edge<'_>> {
    let only = |next| Edge { field: "Next".to_owned(), to: next, when: String::new() };
    match step {
        Step::Succeed | Step::Fail { .. } => Vec::new(),
        Step::Wait { time, next } => vec![Edge { when: format!("after {} s", time.as_secs()), ..only(next) }],
        Step::Task(task) => {
            let caught = task.catch.iter().enumerate().map(|(index, catcher)| Edge {
                field: format!("Catch[{index}].Next"),
                to: &catcher.next,
                when: catcher.errors.join(", "),
            });
            std::iter::once(only(&task.next)).chain(caught).collect()
        }
        Step::Choice { rules, default } => {
            let ruled = rules.iter().enumerate().map(|(index, rule)| Edge {
                field: format!("Choices[{index}].Next"),
                to: &rule.next,
                when: format!("{} is {}", rule.variable, rule.equals),
            });
            let otherwise = Edge { field: "Default".to_owned(), to: default, when: "otherwise".to_owned() };
            ruled.chain([otherwise]).collect()
        }
    }
}

/// Refuses a state that nothing leads to: it is a leftover or a misspelt target.
fn reachable(document: &Document) -> Result<(), Unsupported> {
    let mut seen: Vec<&str> = vec![&document.start_at];
    let mut next = 0;
    while let Some(name) = seen.get(next) {
        for edge in document.step(name).map(edges).unwrap_or_default() {
            if !seen.contains(&edge.to) {
                seen.push(edge.to);
            }
        }
        next += 1;
    }
    match document.states.iter().find(|(name, _)| !seen.contains(&name.as_str())) {
        Some((name, _)) => {
            refuse(&format!("$.States.{name}"), "nothing leads to this state: remove it or name it in a Next")
        }
        None => Ok(()),
    }
}

/// Refuses Choice states that can lead back to themselves with neither a Task nor a Wait between: that would never end.
fn no_circle(document: &Document) -> Result<(), Unsupported> {
    let mut pausing: Vec<&str> = Vec::new();
    loop {
        let pauses = |(name, step): &&(String, Step)| {
            let choice = matches!(step, Step::Choice { .. });
            !pausing.contains(&name.as_str()) && (!choice || edges(step).iter().all(|edge| pausing.contains(&edge.to)))
        };
        match document.states.iter().find(pauses) {
            Some((name, _)) => pausing.push(name),
            None => break,
        }
    }
    match document.states.iter().find(|(name, _)| !pausing.contains(&name.as_str())) {
        Some((name, _)) => {
            refuse(&format!("$.States.{name}"), "this Choice can lead back to itself at once: put a Wait between")
        }
        None => Ok(()),
    }
}
