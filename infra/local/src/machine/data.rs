//! The data that flows through an execution: the few paths, and how results and payloads are made.
//!
//! Source: Amazon States Language, sections Paths, Reference Paths and Input and Output Processing; Developer Guide, "Accessing
//! execution data from the Context object".

use std::fmt;

use serde_json::{Map, Value};

/// A path that may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// `$` or `$.a.b`: the state's input, or a field in it.
    Input(Vec<String>),
    /// `$$.Task.Token`: the token of the running attempt.
    Token,
    /// `$$.Execution.Name`: the name that the execution was started under.
    ExecutionName,
}

impl Path {
    /// Reads a path; none if it is outside the subset.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "$$.Task.Token" => Some(Self::Token),
            "$$.Execution.Name" => Some(Self::ExecutionName),
            input => fields(input).map(Self::Input),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(names) if names.is_empty() => f.write_str("$"),
            Self::Input(names) => write!(f, "$.{}", names.join(".")),
            Self::Token => f.write_str("$$.Task.Token"),
            Self::ExecutionName => f.write_str("$$.Execution.Name"),
        }
    }
}

/// Where a result is put in the state's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `$`: the result replaces the input.
    Whole,
    /// `$.a.b`: the result becomes that field, and objects on the way there are made.
    Field(Vec<String>),
    /// `null`: the result is dropped and the input goes on.
    Nowhere,
}

impl Place {
    /// Reads a reference path; none if it is outside the subset.
    pub(super) fn parse(text: &str) -> Option<Self> {
        fields(text).map(|names| if names.is_empty() { Self::Whole } else { Self::Field(names) })
    }

    /// The input with `result` put in; none if there is something on the way that is not an object.
    pub(super) fn put(&self, input: &Value, result: Value) -> Option<Value> {
        match self {
            Self::Whole => Some(result),
            Self::Nowhere => Some(input.clone()),
            Self::Field(names) => {
                let mut output = input.clone();
                let mut at = &mut output;
                for name in names {
                    at = at.as_object_mut()?.entry(name.as_str()).or_insert_with(|| Value::Object(Map::new()));
                }
                *at = result;
                Some(output)
            }
        }
    }
}

/// What a handler is given: an object of constants and paths.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Template {
    /// A string, number, boolean or null as it stands.
    Constant(Value),
    /// A field whose name ended in `.$`: what is found there.
    From(Path),
    /// An object of such things.
    Object(Vec<(String, Template)>),
}

impl Template {
    /// Whether `path` is read anywhere in it.
    pub(super) fn reads(&self, path: &Path) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::From(read) => read == path,
            Self::Object(parts) => parts.iter().any(|(_, part)| part.reads(path)),
        }
    }

    /// The payload.
    ///
    /// # Errors
    ///
    /// The path, as text, of a field that the state's input does not have.
    pub(super) fn fill(&self, from: &Source<'_>) -> Result<Value, String> {
        match self {
            Self::Constant(value) => Ok(value.clone()),
            Self::From(path) => from.read(path),
            Self::Object(parts) => {
                let filled = parts.iter().map(|(name, part)| Ok((name.clone(), part.fill(from)?)));
                filled.collect::<Result<Map<_, _>, String>>().map(Value::Object)
            }
        }
    }
}

/// What paths are read from.
pub(super) struct Source<'a> {
    /// The state's input.
    pub(super) input: &'a Value,
    /// The execution's name.
    pub(super) name: &'a str,
    /// The running attempt's token. Parsing refuses a path to it in a state that has none.
    pub(super) token: &'a str,
}

impl Source<'_> {
    /// What is at `path`, or the path as text if nothing is.
    pub(super) fn read(&self, path: &Path) -> Result<Value, String> {
        match path {
            Path::Token => Ok(Value::from(self.token)),
            Path::ExecutionName => Ok(Value::from(self.name)),
            Path::Input(names) => {
                let found = names.iter().try_fold(self.input, |at, name| at.as_object()?.get(name));
                found.cloned().ok_or_else(|| path.to_string())
            }
        }
    }
}

/// The names in `$.a.b`; none in `$`. No other path is understood: no brackets, wildcards, filters or functions.
fn fields(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix('$')?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let names: Vec<String> = rest.strip_prefix('.')?.split('.').map(str::to_owned).collect();
    names.iter().all(|name| is_name(name)).then_some(names)
}

/// Whether `text` is letters, digits and underscores, and does not begin with a digit: what every path language agrees on.
fn is_name(text: &str) -> bool {
    let letters = text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    letters && text.starts_with(|first: char| !first.is_ascii_digit())
}
