//! What somebody should be told of. Each alarm costs 0.10 dollars a month, so there are few, and each means that something is to be done.

use domain::message::QueueName;
use serde_json::{Value, json};

use super::{Resources, state};
use crate::aws::{
    functions::{self, Trigger},
    roles::sub,
};

/// What is watched, over how long, and when it is too much.
#[derive(Clone)]
struct Watch<'a> {
    what: &'a str,
    metric: (&'a str, &'a str),
    of: (&'a str, Value),
    statistic: &'a str,
    /// A period's length in seconds, and how many of them.
    periods: (u32, u32),
    /// From there on it is too much; or up to there too little.
    limit: (&'a str, u32),
    /// What no data means.
    silence: &'a str,
}

const AT_LEAST: &str = "GreaterThanOrEqualToThreshold";
const LESS: &str = "LessThanThreshold";

pub(super) fn resources() -> Resources {
    let mut all = vec![
        (
            "AlarmTopic".to_owned(),
            json!({"Type": "AWS::SNS::Topic", "Condition": "Mailed", "Properties": {"TopicName": sub("${Deployment}-alarms")}}),
        ),
        (
            "AlarmMail".to_owned(),
            json!({
                "Type": "AWS::SNS::Subscription", "Condition": "Mailed",
                "Properties": {"TopicArn": {"Ref": "AlarmTopic"}, "Protocol": "email", "Endpoint": {"Ref": "AlarmEmail"}}
            }),
        ),
    ];
    all.extend(QueueName::ALL.into_iter().flat_map(queue));
    all.extend(launches());
    all.extend(clocks());
    let api = ("ApiName", json!({"Ref": "Deployment"}));
    all.push(alarm(
        "ApiFaults",
        &Watch {
            what: "Requests fail, and not through their callers.",
            metric: ("AWS/ApiGateway", "5XXError"),
            of: api,
            statistic: "Sum",
            periods: (300, 1),
            limit: (AT_LEAST, 5),
            silence: "notBreaching",
        },
    ));
    all
}

fn alarm(name: &str, watch: &Watch<'_>) -> (String, Value) {
    let mailed = json!({"Fn::If": ["Mailed", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]});
    let properties = json!({
        "AlarmName": sub(format!("${{Deployment}}-{name}")),
        "AlarmDescription": watch.what,
        "Namespace": watch.metric.0,
        "MetricName": watch.metric.1,
        "Dimensions": [{"Name": watch.of.0, "Value": watch.of.1}],
        "Statistic": watch.statistic,
        "Period": watch.periods.0,
        "EvaluationPeriods": watch.periods.1,
        "ComparisonOperator": watch.limit.0,
        "Threshold": watch.limit.1,
        "TreatMissingData": watch.silence,
        "AlarmActions": mailed,
        "OKActions": mailed
    });
    (name.to_owned(), json!({"Type": "AWS::CloudWatch::Alarm", "Properties": properties}))
}

fn queue(queue: QueueName) -> Resources {
    let name = state::logical(queue);
    let of = |resource: &str| ("QueueName", json!({"Fn::GetAtt": [resource, "QueueName"]}));
    let dead = format!("{name}Dead");
    let aside = Watch {
        what: "Messages were put aside because they failed again and again. The sweep does their work, but something is wrong.",
        metric: ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        of: of(&dead),
        statistic: "Maximum",
        periods: (300, 1),
        limit: (AT_LEAST, 1),
        silence: "notBreaching",
    };
    let old = Watch {
        what: "Messages wait for a quarter of an hour: their worker fails or does not keep up.",
        metric: ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
        of: of(name),
        limit: (AT_LEAST, 900),
        ..aside.clone()
    };
    vec![alarm(&format!("{name}Old"), &old), alarm(&format!("{dead}Letters"), &aside)]
}

fn launches() -> Resources {
    let failed = Watch {
        what: "Several launches failed within a quarter of an hour: the fleet, the image or the agent may be at fault.",
        metric: ("AWS/States", "ExecutionsFailed"),
        of: ("StateMachineArn", json!({"Ref": "Launch"})),
        statistic: "Sum",
        periods: (900, 1),
        limit: (AT_LEAST, 5),
        silence: "notBreaching",
    };
    let late = Watch {
        what: "A launch ran into its own limit, which no undo sees. The sweep ends what it bought.",
        metric: ("AWS/States", "ExecutionsTimedOut"),
        of: ("StateMachineArn", json!({"Ref": "Launch"})),
        limit: (AT_LEAST, 1),
        ..failed.clone()
    };
    vec![alarm("LaunchesLate", &late), alarm("LaunchesFailed", &failed)]
}

/// The clock's functions have no queue that would tell: one that fails, and the first of them when it is not called at all.
fn clocks() -> Resources {
    let of = |name: &str| ("FunctionName", sub(format!("${{Deployment}}-{name}")));
    let mut all = Resources::new();
    for function in functions::all() {
        let Trigger::Clock { minutes } = function.trigger else { continue };
        let what = format!("It failed three times within {} minutes: what is due is not done.", 5 * minutes);
        let failing = Watch {
            what: &what,
            metric: ("AWS/Lambda", "Errors"),
            of: of(&function.name),
            statistic: "Sum",
            periods: (300 * minutes, 1),
            limit: (AT_LEAST, 3),
            silence: "notBreaching",
        };
        all.push(alarm(&format!("{}Faults", function.name), &failing));
    }
    let silent = Watch {
        what: "The sweep was not called for five minutes: nothing expires, and what was dropped stays dropped.",
        metric: ("AWS/Lambda", "Invocations"),
        of: of("Sweeper"),
        statistic: "Sum",
        periods: (300, 1),
        limit: (LESS, 1),
        silence: "breaching",
    };
    all.push(alarm("SweeperSilent", &silent));
    all
}
