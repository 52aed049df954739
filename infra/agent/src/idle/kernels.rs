//! What Jupyter's kernels and terminals do, by its own account of them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One kernel or terminal, as `/api/kernels` and `/api/terminals` list them.
#[derive(Debug, Deserialize)]
struct Listed {
    /// A kernel's; a terminal has a name alone, which for kernels is their kind.
    id: Option<String>,
    name: String,
    /// Kernels alone have one: `busy` while a cell runs.
    execution_state: Option<String>,
    /// When it last did or was told something, in words that are compared and not read.
    last_activity: Option<String>,
}

/// What was listed last.
#[derive(Debug, Default)]
pub(crate) struct Kernels {
    last: BTreeMap<String, String>,
    busy: bool,
}

impl Kernels {
    /// Whether something is at work, by a new account of one kind of things; what cannot be read changes nothing, because a Jupyter that
    /// does not answer may be one that is too busy to.
    pub(crate) fn after(&mut self, account: Option<&str>) -> bool {
        let Some(listed) = account.and_then(|body| serde_json::from_str::<Vec<Listed>>(body).ok()) else {
            return self.busy;
        };
        let mut last = BTreeMap::new();
        self.busy = false;
        for Listed { id, name, execution_state, last_activity } in listed {
            let id = id.unwrap_or(name);
            let activity = last_activity.unwrap_or_default();
            self.busy |= execution_state.as_deref() == Some("busy") || self.last.get(&id) != Some(&activity);
            last.insert(id, activity);
        }
        self.last = last;
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_busy_or_did_something_since_the_last_look() {
        let kernel = |id: &str, state: &str, activity: &str| {
            format!(
                r#"{{"id": "{id}", "name": "python3", "execution_state": "{state}", "last_activity": "{activity}", "connections": 1}}"#
            )
        };
        let mut kernels = Kernels::default();
        for (case, account, busy) in [
            ("none", Some("[]".to_owned()), false),
            ("a new one", Some(format!("[{}]", kernel("a", "idle", "t1"))), true),
            ("it is quiet", Some(format!("[{}]", kernel("a", "idle", "t1"))), false),
            ("no answer from a quiet one", None, false),
            ("a cell ran", Some(format!("[{}]", kernel("a", "idle", "t2"))), true),
            ("a cell runs", Some(format!("[{}]", kernel("a", "busy", "t2"))), true),
            ("no answer from a busy one", None, true),
            ("an answer of no use", Some("<html>".to_owned()), true),
            ("one of two runs", Some(format!("[{}, {}]", kernel("a", "idle", "t2"), kernel("b", "busy", "t0"))), true),
            ("both are quiet", Some(format!("[{}, {}]", kernel("a", "idle", "t2"), kernel("b", "idle", "t0"))), false),
            ("one is gone", Some(format!("[{}]", kernel("b", "idle", "t0"))), false),
            ("nobody has come to it yet", Some(format!("[{}]", kernel("b", "starting", "t0"))), false),
        ] {
            assert_eq!(kernels.after(account.as_deref()), busy, "{case}");
        }
        let mut terminals = Kernels::default();
        for (activity, busy) in [("t1", true), ("t1", false), ("t2", true)] {
            let account = format!(r#"[{{"name": "1", "last_activity": "{activity}"}}]"#);
            assert_eq!(terminals.after(Some(&account)), busy, "a terminal at {activity}");
        }
    }
}
