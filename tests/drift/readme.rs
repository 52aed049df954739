//! The README's tables are the code's, between marks such as `<!-- endpoints -->` and `<!-- /endpoints -->`.

use std::fs;

use slipway::settings::{VARIABLES, Variable};

use crate::support::{
    bless,
    operations::{Caller, operations},
};

/// Every operation: what it is, who may call it.
fn endpoints() -> String {
    let mut table = "| Operation | | Key |\n|---|---|---|\n".to_owned();
    for operation in operations() {
        let summary = operation.described["summary"].as_str().unwrap_or_default();
        let summary = summary.split(". ").next().unwrap_or_default().trim_end_matches('.');
        let key = match operation.caller {
            Caller::Public => "none",
            Caller::User => "user",
            Caller::Tenant => "tenant",
            Caller::Admin => "admin",
            Caller::Service => "service",
            Caller::Agent => "agent",
        };
        table.push_str(&format!("| `{} {}` | {summary} | {key} |\n", operation.method, operation.path));
    }
    table
}

/// Every setting, as `slipway --help` prints them.
fn settings() -> String {
    let mut table = "| Variable | Default | |\n|---|---|---|\n".to_owned();
    for Variable { name, default, meaning } in VARIABLES {
        table.push_str(&format!("| `{name}` | {default} | {meaning} |\n"));
    }
    table
}

/// The README with `table` in its part `name`, between its marks.
fn with_part(readme: &str, name: &str, table: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let lacks =
        |mark: &str| format!("README.md lacks {mark}: its table of {name} is held to the code between two marks");
    let (before, rest) = readme.split_once(&begin).ok_or_else(|| lacks(begin.trim_end()))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| lacks(&end))?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

#[test]
fn the_tables_are_the_codes() {
    let readme = fs::read_to_string(bless::root().join("README.md")).expect("README.md");
    let expected = with_part(&readme, "endpoints", &endpoints());
    let expected = expected.and_then(|readme| with_part(&readme, "settings", &settings()));
    expected.and_then(|readme| bless::same("README.md", &readme)).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn a_part_is_replaced_between_its_marks() {
    for (readme, expected) in [
        ("a\n<!-- x -->\nold\n<!-- /x -->\nb\n", Some("a\n<!-- x -->\nnew\n<!-- /x -->\nb\n")),
        ("a\n<!-- x -->\nold\nb\n", None),
        ("a\nold\n<!-- /x -->\nb\n", None),
        ("", None),
    ] {
        assert_eq!(with_part(readme, "x", "new\n").ok().as_deref(), expected, "{readme:?}");
    }
}
