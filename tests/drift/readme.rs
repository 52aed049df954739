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

/// The README with `table` in its part `name`. A README without the marks has no such part.
fn with_part(readme: String, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let Some((before, rest)) = readme.split_once(&begin) else { return readme };
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("README.md: {begin}is not closed by {end}"));
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_tables_are_the_codes() {
    let readme = fs::read_to_string(bless::root().join("README.md")).expect("README.md");
    let expected = with_part(readme, "endpoints", &endpoints());
    let expected = with_part(expected, "settings", &settings());
    bless::same("README.md", &expected).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn a_part_is_replaced_between_its_marks() {
    let readme = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n".to_owned();
    assert_eq!(with_part(readme.clone(), "x", "new\n"), "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n");
    assert_eq!(with_part(readme.clone(), "y", "new\n"), readme);
}
