//! Draws a document.

use super::{
    check::edges,
    document::{Document, Step},
};

/// A Mermaid `stateDiagram-v2`, one line per way out of a state.
pub(super) fn mermaid(document: &Document) -> String {
    let mut lines = vec!["stateDiagram-v2".to_owned(), format!("    [*] --> {}", document.start_at)];
    for (name, step) in &document.states {
        for edge in edges(step) {
            let when = if edge.when.is_empty() { String::new() } else { format!(": {}", edge.when) };
            lines.push(format!("    {name} --> {}{when}", edge.to));
        }
        if matches!(step, Step::Succeed | Step::Fail { .. }) {
            lines.push(format!("    {name} --> [*]"));
        }
    }
    lines.join("\n") + "\n"
}
