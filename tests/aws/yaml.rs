//! JSON as YAML, for templates that people read: block style, strings quoted where YAML could take them for something else.

use serde_json::Value;

/// A field whose name begins so is a comment for people, above the field that follows it.
const COMMENT: char = '#';

/// The document without its comments.
pub(crate) fn data(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| !name.starts_with(COMMENT));
            Value::Object(fields.map(|(name, value)| (name.clone(), data(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(data).collect()),
        other => other.clone(),
    }
}

/// The document.
pub(crate) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name.starts_with(COMMENT) {
                    let comment = value.as_str().unwrap_or_default();
                    comment.lines().for_each(|line| *out += &format!("{indent}# {line}\n"));
                    continue;
                }
                *out += &format!("{indent}{}:", scalar(name));
                child(value, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut inner = String::new();
                if is_block(item) {
                    write(item, depth + 1, &mut inner);
                    *out += &format!("{indent}- {}", inner.trim_start());
                } else {
                    *out += &format!("{indent}- {}\n", flow(item));
                }
            }
        }
        other => *out += &format!("{indent}{}\n", flow(other)),
    }
}

fn child(value: &Value, depth: usize, out: &mut String) {
    if let Some(lines) = value.as_str().and_then(|text| text.strip_suffix('\n')) {
        *out += " |\n";
        lines.lines().for_each(|line| *out += &format!("{}{line}\n", "  ".repeat(depth + 1)));
    } else if is_block(value) {
        *out += "\n";
        write(value, depth + 1, out);
    } else {
        *out += &format!(" {}\n", flow(value));
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// A string, plain where that is safe.
fn scalar(text: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '$' | '{' | '}' | '*' | ' ' | '+')
    };
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    let safe = first
        && !word
        && text.chars().all(plain)
        && !text.contains(": ")
        && !text.ends_with(':')
        && !text.ends_with(' ');
    if safe { text.to_owned() } else { Value::from(text).to_string() }
}

#[test]
fn what_yaml_could_misread_is_quoted() {
    for (text, expected) in [
        ("plain words", "plain words"),
        ("2012-10-17", "\"2012-10-17\""),
        ("on", "\"on\""),
        ("a: b", "\"a: b\""),
        ("${Deployment}-x", "\"${Deployment}-x\""),
        ("{a}", "\"{a}\""),
        ("*", "\"*\""),
        ("a#b", "\"a#b\""),
        ("/v1/jobs/{job_id}", "/v1/jobs/{job_id}"),
    ] {
        assert_eq!(scalar(text), expected);
    }
    let nested = serde_json::json!({"a": [{"b": 1, "c": []}, "d"], "e": {}});
    assert_eq!(text(&nested), "a:\n  - b: 1\n    c: []\n  - d\ne: {}\n");
    let lines = serde_json::json!({"a": {"code": "f() {\n  g: 1\n}\n"}});
    assert_eq!(text(&lines), "a:\n  code: |\n    f() {\n      g: 1\n    }\n");
    let explained = serde_json::json!({"a": {"# b": "Why.\nAnd how.", "b": [{"# c": "x", "d": 1}]}});
    assert_eq!(text(&explained), "a:\n  # Why.\n  # And how.\n  b:\n    - # x\n      d: 1\n");
    assert_eq!(data(&explained), serde_json::json!({"a": {"b": [{"d": 1}]}}));
}
