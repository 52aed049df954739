//! One line of embedded metrics a request: CloudWatch makes metrics of it, without a call and without a permission.
//!
//! Source: CloudWatch user guide, "Specification: Embedded metric format".

use std::{io::Write, time::Duration};

use domain::Timestamp;
use serde_json::{Value, json};

/// What is counted of one request, message or step.
pub(crate) struct Counted<'a> {
    /// The function.
    pub(crate) operation: &'a str,
    /// When it was over.
    pub(crate) at: Timestamp,
    /// How long it took.
    pub(crate) took: Duration,
    /// What came of it: an HTTP status's class such as `2xx`, or `done` and `failed`.
    pub(crate) outcome: &'a str,
    /// It was our fault.
    pub(crate) failed: bool,
}

/// The line.
pub(crate) fn line(counted: &Counted<'_>) -> Value {
    let metric = |name: &str, unit: &str| json!({"Name": name, "Unit": unit});
    json!({
        "_aws": {
            "Timestamp": counted.at.millis(),
            "CloudWatchMetrics": [{
                "Namespace": "Slipway",
                "Dimensions": [["Operation"]],
                "Metrics": [metric("Calls", "Count"), metric("Faults", "Count"), metric("Duration", "Milliseconds")]
            }]
        },
        "Operation": counted.operation,
        "Outcome": counted.outcome,
        "Calls": 1,
        "Faults": u8::from(counted.failed),
        "Duration": u64::try_from(counted.took.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Writes the line where CloudWatch reads it.
pub(crate) fn write(counted: &Counted<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{}", line(counted)) {
        tracing::debug!(%error, "a line of metrics is lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_cloudwatch_reads() {
        let at = Timestamp::from_millis(1_768_932_000_000);
        let counted =
            Counted { operation: "SubmitJob", at, took: Duration::from_millis(12), outcome: "5xx", failed: true };
        let line = line(&counted);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        // Every metric and every dimension that is declared is a field of the line.
        for metric in directive["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
        }
        assert_eq!(line[directive["Dimensions"][0][0].as_str().unwrap()], "SubmitJob");
        assert_eq!((&line["Faults"], &line["Duration"]), (&json!(1), &json!(12)));
    }
}
