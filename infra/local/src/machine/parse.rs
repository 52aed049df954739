//! Reads a document, and refuses all that lies outside the subset.

use std::time::Duration;

use serde_json::Value;

use super::{
    data::{Path, Place, Template},
    document::{ALL, Catcher, Document, HEARTBEAT_TIMEOUT, Kind, Retrier, Rule, Step, TASK_FAILED, TIMEOUT, Task},
    fields::Fields,
};

/// A document that cannot be run here, and so is not run at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct Unsupported {
    /// Where it is, as a path into the document: `$.States.Undo.Retry[0]`.
    pub at: String,
    /// What is wrong and what to do about it.
    pub why: String,
}

/// The refusal of what stands at `at`.
pub(super) fn refuse<T>(at: &str, why: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported { at: at.to_owned(), why: why.into() })
}

/// The Resource that hands a Lambda function a task token and waits for it.
///
/// Source: Developer Guide, "Invoke an AWS Lambda function with Step Functions".
const WITH_TOKEN: &str = "arn:aws:states:::lambda:invoke.waitForTaskToken";

/// Reads a whole document; the graph is still unchecked.
pub(super) fn document(text: &str) -> Result<Document, Unsupported> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return refuse("$", format!("the document is not JSON: {error}")),
    };
    let fields = Fields::of("$", &value)?;
    fields.only("a document", &["Comment", "StartAt", "TimeoutSeconds", "States"])?;
    let states = Fields::of("$.States", fields.required("States")?)?;
    let steps = states.map.iter().map(|(name, value)| {
        // A name is part of messages, of a path and of the diagram.
        if !name.chars().all(|letter| letter.is_ascii_alphanumeric()) || name.is_empty() || name.len() > 80 {
            return refuse(&states.path(name), "a state's name must be 1 to 80 letters and digits: rename it");
        }
        Ok((name.clone(), step(&Fields::of(&states.path(name), value)?)?))
    });
    Ok(Document {
        start_at: fields.text("StartAt")?.to_owned(),
        timeout: timeout(&fields)?,
        states: steps.collect::<Result<_, _>>()?,
    })
}

/// `TimeoutSeconds`, which everything that can last must have.
///
/// Source: Developer Guide, "Using timeouts to avoid stuck Step Functions workflow executions".
fn timeout(fields: &Fields<'_>) -> Result<Duration, Unsupported> {
    match fields.seconds("TimeoutSeconds")? {
        Some(time) => Ok(time),
        None => refuse(&fields.path("TimeoutSeconds"), "without a time limit this could wait for ever: add one"),
    }
}

/// One state.
fn step(fields: &Fields<'_>) -> Result<Step, Unsupported> {
    match fields.text("Type")? {
        "Task" => task(fields).map(Step::Task),
        "Choice" => choice(fields),
        "Wait" => {
            fields.only("a Wait", &["Type", "Comment", "Seconds", "Next"])?;
            fields.required("Seconds")?;
            Ok(Step::Wait {
                time: fields.seconds("Seconds")?.unwrap_or_default(),
                next: fields.text("Next")?.to_owned(),
            })
        }
        "Succeed" => fields.only("a Succeed", &["Type", "Comment"]).map(|()| Step::Succeed),
        "Fail" => {
            fields.only("a Fail", &["Type", "Comment", "Error", "Cause"])?;
            Ok(Step::Fail { error: fields.text("Error")?.to_owned(), cause: fields.text("Cause")?.to_owned() })
        }
        other => refuse(
            &fields.path("Type"),
            format!(
                "{other:?} is not one of Task, Choice, Wait, Succeed, Fail: use those, or teach infra/local/src/machine it"
            ),
        ),
    }
}

/// A Task.
///
/// Source: Developer Guide, "Task workflow state".
fn task(fields: &Fields<'_>) -> Result<Task, Unsupported> {
    fields.only(
        "a Task",
        &[
            "Type",
            "Comment",
            "Resource",
            "Parameters",
            "TimeoutSeconds",
            "HeartbeatSeconds",
            "Retry",
            "Catch",
            "ResultPath",
            "Next",
        ],
    )?;
    let timeout = timeout(fields)?;
    let resource = fields.text("Resource")?;
    let (handler, kind, payload) =
        if resource == WITH_TOKEN { with_token(fields, timeout)? } else { plain(fields, resource)? };
    Ok(Task {
        handler,
        kind,
        payload,
        timeout,
        retry: entries(fields, "Retry", retrier, |entry| &entry.errors)?,
        catch: entries(fields, "Catch", catcher, |entry| &entry.errors)?,
        result: place(fields)?,
        next: fields.text("Next")?.to_owned(),
    })
}

/// The handler, kind and payload of a Task whose Resource is the function itself.
fn plain(fields: &Fields<'_>, resource: &str) -> Result<(String, Kind, Option<Template>), Unsupported> {
    let Some(handler) = placeholder(resource) else {
        return refuse(
            &fields.path("Resource"),
            format!(
                "{resource:?} is neither a \"${{Name}}\" placeholder for a function nor {WITH_TOKEN:?}: use one of those"
            ),
        );
    };
    if fields.get("HeartbeatSeconds").is_some() {
        let at = fields.path("HeartbeatSeconds");
        return refuse(&at, "a function called directly has no token to send heartbeats with: remove this field");
    }
    let payload = fields.get("Parameters").map(|value| object(&fields.path("Parameters"), value)).transpose()?;
    if payload.as_ref().is_some_and(|payload| payload.reads(&Path::Token)) {
        let at = fields.path("Parameters");
        return refuse(&at, format!("only a Task with the Resource {WITH_TOKEN:?} has a token: change its Resource"));
    }
    Ok((handler, Kind::Answer, payload))
}

/// The handler, kind and payload of a Task that waits for its token.
///
/// Source: Developer Guide, "Discover service integration patterns in Step Functions", Wait for a Callback with Task Token.
fn with_token(fields: &Fields<'_>, timeout: Duration) -> Result<(String, Kind, Option<Template>), Unsupported> {
    let parameters = Fields::of(&fields.path("Parameters"), fields.required("Parameters")?)?;
    parameters.only("a call with a token", &["FunctionName", "Payload"])?;
    let name = parameters.text("FunctionName")?;
    let Some(handler) = placeholder(name) else {
        let at = parameters.path("FunctionName");
        return refuse(&at, format!("{name:?} is not a \"${{Name}}\" placeholder for a function: use one"));
    };
    let payload = object(&parameters.path("Payload"), parameters.required("Payload")?)?;
    if !payload.reads(&Path::Token) {
        let at = parameters.path("Payload");
        return refuse(&at, "nobody could complete this Task: hand its token on, as \"token.$\": \"$$.Task.Token\"");
    }
    let heartbeat = fields.seconds("HeartbeatSeconds")?;
    if heartbeat.is_some_and(|heartbeat| heartbeat >= timeout) {
        return refuse(&fields.path("HeartbeatSeconds"), "this must be less than TimeoutSeconds, or it means nothing");
    }
    Ok((handler, Kind::Token { heartbeat }, Some(payload)))
}

/// The name in `${Name}`.
fn placeholder(text: &str) -> Option<String> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    (!name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric())).then(|| name.to_owned())
}

/// A payload template's object.
fn object(at: &str, value: &Value) -> Result<Template, Unsupported> {
    let fields = Fields::of(at, value)?;
    let parts = fields.map.iter().map(|(name, value)| template(&fields.path(name), name, value));
    Ok(Template::Object(parts.collect::<Result<_, _>>()?))
}

/// One field of a payload template.
fn template(at: &str, name: &str, value: &Value) -> Result<(String, Template), Unsupported> {
    if let Some(name) = name.strip_suffix(".$") {
        return match value.as_str().and_then(Path::parse) {
            Some(path) => Ok((name.to_owned(), Template::From(path))),
            None => refuse(
                at,
                format!(
                    "{value} is not one of $, $.a.b, $$.Task.Token, $$.Execution.Name: use those, or teach infra/local/src/machine it"
                ),
            ),
        };
    }
    let part = match value {
        Value::Object(_) => object(at, value)?,
        Value::Null | Value::Bool(_) | Value::Number(_) => Template::Constant(value.clone()),
        Value::String(text) if !text.contains("${") => Template::Constant(value.clone()),
        Value::String(_) => return refuse(at, "a placeholder may stand for a function only: write the value itself"),
        Value::Array(_) => {
            return refuse(
                at,
                "arrays are outside the subset here: use an object, or teach infra/local/src/machine it",
            );
        }
    };
    Ok((name.to_owned(), part))
}

/// `Retry` or `Catch`, which may be missing.
fn entries<T>(
    fields: &Fields<'_>,
    name: &str,
    read: fn(&Fields<'_>) -> Result<T, Unsupported>,
    errors: fn(&T) -> &Vec<String>,
) -> Result<Vec<T>, Unsupported> {
    if fields.get(name).is_none() {
        return Ok(Vec::new());
    }
    let items = fields.list(name)?;
    let mut read_so_far = Vec::with_capacity(items.len());
    for (index, (at, item)) in items.iter().enumerate() {
        let entry = read(&Fields::of(at, item)?)?;
        let all = errors(&entry).iter().any(|error| error == ALL);
        if all && (errors(&entry).len() > 1 || index + 1 < items.len()) {
            return refuse(
                &format!("{at}.ErrorEquals"),
                "States.ALL must stand alone, in the last entry: move it there",
            );
        }
        read_so_far.push(entry);
    }
    Ok(read_so_far)
}

/// The machine's own error names that `ErrorEquals` may have.
const KNOWN: [&str; 4] = [ALL, TASK_FAILED, TIMEOUT, HEARTBEAT_TIMEOUT];

/// The names in `ErrorEquals`.
fn errors(fields: &Fields<'_>) -> Result<Vec<String>, Unsupported> {
    let read = fields.list("ErrorEquals")?.into_iter().map(|(at, name)| match name.as_str() {
        None => refuse(&at, "this must be a string"),
        Some(name) if name.starts_with("States.") && !KNOWN.contains(&name) => {
            let known = KNOWN.join(", ");
            refuse(&at, format!("{name:?} is not one of {known}: use those, or teach infra/local/src/machine it"))
        }
        Some(name) => Ok(name.to_owned()),
    });
    read.collect()
}

/// One entry of `Retry`, with the defaults of the language.
fn retrier(fields: &Fields<'_>) -> Result<Retrier, Unsupported> {
    fields.only(
        "a retrier",
        &["Comment", "ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds"],
    )?;
    let rate = match fields.get("BackoffRate").map(|rate| rate.as_f64().filter(|rate| *rate >= 1.0)) {
        None => 2.0,
        Some(Some(rate)) => rate,
        Some(None) => return refuse(&fields.path("BackoffRate"), "this must be a number of at least 1"),
    };
    let interval = fields.seconds("IntervalSeconds")?.unwrap_or(Duration::from_secs(1));
    let longest = fields.seconds("MaxDelaySeconds")?;
    if longest.is_some_and(|longest| longest <= interval) {
        return refuse(
            &fields.path("MaxDelaySeconds"),
            "this must be more than IntervalSeconds, or no wait would grow",
        );
    }
    // The reader of numbers has held this far below what 32 bits can count.
    let attempts = u32::try_from(fields.whole("MaxAttempts", 0)?.unwrap_or(3)).unwrap_or(u32::MAX);
    Ok(Retrier { errors: errors(fields)?, interval, attempts, rate, longest })
}

/// One entry of `Catch`.
fn catcher(fields: &Fields<'_>) -> Result<Catcher, Unsupported> {
    fields.only("a catcher", &["Comment", "ErrorEquals", "ResultPath", "Next"])?;
    Ok(Catcher { errors: errors(fields)?, result: place(fields)?, next: fields.text("Next")?.to_owned() })
}

/// `ResultPath`, which is `$` if it is missing.
fn place(fields: &Fields<'_>) -> Result<Place, Unsupported> {
    match fields.get("ResultPath") {
        None => Ok(Place::Whole),
        Some(Value::Null) => Ok(Place::Nowhere),
        Some(value) => match value.as_str().and_then(Place::parse) {
            Some(place) => Ok(place),
            None => refuse(&fields.path("ResultPath"), format!("{value} is not one of $, $.a.b, null: use those")),
        },
    }
}

/// A Choice. It must have a Default, so that an execution cannot end with `States.NoChoiceMatched`.
fn choice(fields: &Fields<'_>) -> Result<Step, Unsupported> {
    fields.only("a Choice", &["Type", "Comment", "Choices", "Default"])?;
    let rules = fields.list("Choices")?.into_iter().map(|(at, value)| rule(&Fields::of(&at, value)?));
    Ok(Step::Choice { rules: rules.collect::<Result<_, _>>()?, default: fields.text("Default")?.to_owned() })
}

/// One rule of a Choice.
fn rule(fields: &Fields<'_>) -> Result<Rule, Unsupported> {
    fields.only("a rule", &["Comment", "Variable", "BooleanEquals", "Next"])?;
    let variable = fields.text("Variable")?;
    let Some(variable @ Path::Input(_)) = Path::parse(variable) else {
        return refuse(&fields.path("Variable"), format!("{variable:?} is not one of $, $.a.b: use those"));
    };
    let Some(equals) = fields.required("BooleanEquals")?.as_bool() else {
        return refuse(&fields.path("BooleanEquals"), "this must be true or false");
    };
    Ok(Rule { variable, equals, next: fields.text("Next")?.to_owned() })
}
