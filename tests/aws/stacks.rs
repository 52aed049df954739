//! The nested stacks, one a surface: its functions, each with a role that grants what its scenes do and no more.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    eks, environment,
    functions::{self, Function, Trigger},
    roles::{self, sub},
    yaml,
};

const HEAD: &str = "# Written from the code by SLIPWAY_BLESS=1 cargo test -p tests --test all aws. What a role grants is what its function\n\
    # did in the scenes of tests/aws/scenes.rs.\n";

/// Every stack: its path and its text.
pub(crate) fn all() -> Vec<(String, String)> {
    let text = |(surface, stack): (String, Value)| (path(&surface), HEAD.to_owned() + &yaml::text(&stack));
    documents().into_iter().map(text).collect()
}

/// Where a surface's stack lies.
pub(crate) fn path(surface: &str) -> String {
    format!("infra/stacks/{surface}.yaml")
}

/// Every stack: its surface, and the stack.
pub(crate) fn documents() -> Vec<(String, Value)> {
    let mut surfaces = BTreeMap::<String, Vec<Function>>::new();
    for function in functions::all() {
        surfaces.entry(function.surface.clone()).or_default().push(function);
    }
    surfaces.iter().map(|(surface, functions)| (surface.clone(), stack(surface, functions))).collect()
}

fn stack(surface: &str, functions: &[Function]) -> Value {
    let mut resources = Map::new();
    for function in functions {
        resources.insert(function.name.clone(), lambda(function));
        resources.insert(format!("{}Logs", function.name), logs(function));
        if let Trigger::Http { method, path, .. } = &function.trigger {
            resources.insert(format!("{}Permission", function.name), permission(function, method, path));
        }
        if let Trigger::Pages(paths) = &function.trigger {
            for (number, path) in (1..).zip(paths) {
                resources.insert(format!("{}Permission{number}", function.name), permission(function, "GET", path));
            }
        }
    }
    let mut stack = json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": format!("Slipway: the functions of {surface}.")
    });
    let fleet = functions.iter().filter(|function| roles::has_fleet(function)).collect::<Vec<_>>();
    for function in &fleet {
        let role = format!("{}Role", function.name);
        resources.insert(format!("{}Access", function.name), eks::access_entry(&role));
    }
    if !fleet.is_empty() {
        stack["Conditions"] = json!({"Pods": {"Fn::Not": [{"Fn::Equals": [{"Ref": "EksCluster"}, ""]}]}});
    }
    let mut used = environment::referred(&json!(resources));
    used.extend(environment::referred(&stack));
    let given = environment::given().into_iter().filter(|(name, _)| used.contains(*name));
    stack["Parameters"] = given.map(|(name, _)| (name.to_owned(), json!({"Type": "String"}))).collect();
    stack["Resources"] = json!(resources);
    stack
}

fn lambda(function: &Function) -> Value {
    let name = &function.name;
    let mut properties = json!({
        "FunctionName": sub(format!("${{Deployment}}-{name}")),
        "Handler": name,
        "Runtime": "provided.al2023",
        "Architectures": ["arm64"],
        "MemorySize": 256,
        "Timeout": function.timeout().as_secs(),
        "CodeUri": format!("../../target/lambda/{}/", function.surface),
        "Environment": {"Variables": environment::variables(function)},
        "Policies": [{"Version": "2012-10-17", "Statement": roles::statements(function)}]
    });
    if let Some(events) = events(function) {
        properties["Events"] = events;
    }
    json!({"Type": "AWS::Serverless::Function", "DependsOn": [format!("{name}Logs")], "Properties": properties})
}

/// What calls a worker; API Gateway and the launch name their functions themselves.
fn events(function: &Function) -> Option<Value> {
    match function.trigger {
        Trigger::Queue(queue) => Some(json!({"Messages": {"Type": "SQS", "Properties": {
            "Queue": roles::arn(&format!("queue/{}", queue.name())), "BatchSize": 1, "FunctionResponseTypes": ["ReportBatchItemFailures"]
        }}})),
        Trigger::Clock { minutes } => {
            let rate = if minutes == 1 { "1 minute".to_owned() } else { format!("{minutes} minutes") };
            Some(json!({"Minute": {"Type": "ScheduleV2", "Properties": {
                "ScheduleExpression": format!("rate({rate})"),
                "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
            }}}))
        }
        Trigger::Http { .. } | Trigger::Pages(_) | Trigger::Step => None,
    }
}

fn logs(function: &Function) -> Value {
    json!({
        "Type": "AWS::Logs::LogGroup",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": {
            "LogGroupName": sub(format!("/aws/lambda/${{Deployment}}-{}", function.name)),
            "RetentionInDays": {"Ref": "LogRetentionDays"}
        }
    })
}

fn permission(function: &Function, method: &str, path: &str) -> Value {
    let path = path.split('/').map(|part| if part.starts_with('{') { "*" } else { part }).collect::<Vec<_>>().join("/");
    json!({
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "Action": "lambda:InvokeFunction",
            "FunctionName": {"Ref": function.name},
            "Principal": "apigateway.amazonaws.com",
            "SourceArn": sub(format!("arn:${{AWS::Partition}}:execute-api:${{AWS::Region}}:${{AWS::AccountId}}:${{Api}}/*/{method}{path}"))
        }
    })
}
