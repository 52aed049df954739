//! The nested stacks, one a surface: its functions, each with a role that grants what its scenes do and no more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    functions::{self, Function, Trigger},
    yaml,
};
use crate::support::grants::{self, Grant};

const HEAD: &str = "# Written from the code by SLIPWAY_BLESS=1 cargo test -p tests --test all aws. What a role grants is what its function\n\
    # did in the scenes of tests/aws/scenes.rs.\n";

/// Every stack: its path and its text.
pub(crate) fn all() -> Vec<(String, String)> {
    let mut surfaces = BTreeMap::<String, Vec<Function>>::new();
    for function in functions::all() {
        surfaces.entry(function.surface.clone()).or_default().push(function);
    }
    let stack = |(surface, functions): (&String, &Vec<Function>)| {
        (format!("infra/stacks/{surface}.yaml"), HEAD.to_owned() + &yaml::text(&stack(surface, functions)))
    };
    surfaces.iter().map(stack).collect()
}

/// What the root tells each stack.
const PARAMETERS: [&str; 14] = [
    "Deployment",
    "Api",
    "KeyArn",
    "SecretArn",
    "StateMachineArn",
    "DoorbellsUrl",
    "DoorbellsArn",
    "ReconcilesUrl",
    "ReconcilesArn",
    "PlaneUrl",
    "LongLivedKeys",
    "CorsOrigins",
    "Pools",
    "LogRetentionDays",
];

pub(crate) fn stack(surface: &str, functions: &[Function]) -> Value {
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
    let parameters = PARAMETERS.map(|name| (name.to_owned(), json!({"Type": "String"})));
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": format!("Slipway: the functions of {surface}."),
        "Parameters": Map::from_iter(parameters),
        "Resources": resources
    })
}

fn sub(text: impl Into<String>) -> Value {
    json!({"Fn::Sub": text.into()})
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
        "Environment": {"Variables": {
            "TABLE_PREFIX": sub("${Deployment}-"),
            "DOORBELLS_URL": {"Ref": "DoorbellsUrl"},
            "RECONCILES_URL": {"Ref": "ReconcilesUrl"},
            "STATE_MACHINE_ARN": {"Ref": "StateMachineArn"},
            "KMS_KEY_ID": {"Ref": "KeyArn"},
            "SERVICE_SECRET_ID": {"Ref": "SecretArn"},
            "PLANE_URL": {"Ref": "PlaneUrl"},
            "LOGIN_LONG_LIVED_KEYS": {"Ref": "LongLivedKeys"},
            "CORS_ORIGINS": {"Ref": "CorsOrigins"},
            "POOLS": {"Ref": "Pools"}
        }},
        "Policies": [{"Version": "2012-10-17", "Statement": statements(function)}]
    });
    if let Some(events) = events(function) {
        properties["Events"] = events;
    }
    json!({"Type": "AWS::Serverless::Function", "DependsOn": [format!("{name}Logs")], "Properties": properties})
}

/// What calls a worker; API Gateway and the launch name their functions themselves.
fn events(function: &Function) -> Option<Value> {
    match &function.trigger {
        Trigger::Queue(queue) => {
            let arn = if queue.is_fifo() { "DoorbellsArn" } else { "ReconcilesArn" };
            Some(json!({"Messages": {"Type": "SQS", "Properties": {
                "Queue": {"Ref": arn}, "BatchSize": 1, "FunctionResponseTypes": ["ReportBatchItemFailures"]
            }}}))
        }
        Trigger::Clock => Some(json!({"Minute": {"Type": "ScheduleV2", "Properties": {
            "ScheduleExpression": "rate(1 minute)", "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
        }}})),
        Trigger::Http { .. } | Trigger::Pages(_) | Trigger::Step => None,
    }
}

/// What every function reads that answers HTTP: whether a request came in by the front door.
fn of_every_surface(function: &Function) -> BTreeSet<Grant> {
    let reads = matches!(function.trigger, Trigger::Http { .. } | Trigger::Pages(_));
    reads.then(|| ("secretsmanager:GetSecretValue".to_owned(), "secret".to_owned())).into_iter().collect()
}

/// The role's statements, one a resource.
pub(crate) fn statements(function: &Function) -> Vec<Value> {
    let mut granted = grants::committed().get(&function.name).cloned().unwrap_or_default();
    granted.extend(of_every_surface(function));
    let mut by_resource = BTreeMap::<String, Vec<String>>::new();
    for (action, resource) in granted {
        by_resource.entry(resource).or_default().push(action);
    }
    by_resource
        .into_iter()
        .map(|(resource, actions)| {
            let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": arn(&resource)});
            if resource == "instances" {
                // What is not ours cannot be touched, and what is made is ours from its first moment.
                statement["Condition"] =
                    json!({"StringEquals": {"aws:ResourceTag/slipway:deployment": {"Ref": "Deployment"}}});
            }
            statement
        })
        .collect()
}

fn arn(resource: &str) -> Value {
    const HERE: &str = "${AWS::Region}:${AWS::AccountId}";
    match resource.split_once('/') {
        Some(("table", table)) => sub(format!("arn:${{AWS::Partition}}:dynamodb:{HERE}:table/${{Deployment}}-{table}")),
        Some(("queue", "doorbells")) => json!({"Ref": "DoorbellsArn"}),
        Some(("queue", "reconciles")) => json!({"Ref": "ReconcilesArn"}),
        None if resource == "machine" => json!({"Ref": "StateMachineArn"}),
        None if resource == "key" => json!({"Ref": "KeyArn"}),
        None if resource == "secret" => json!({"Ref": "SecretArn"}),
        None if resource == "instances" => sub(format!("arn:${{AWS::Partition}}:ec2:{HERE}:instance/*")),
        None if resource == "*" => json!("*"),
        _ => panic!("{resource}: say in tests/aws/stacks.rs what its ARN is"),
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

#[test]
fn no_stack_is_too_large_and_no_role_is_wide() {
    for (path, _) in all() {
        let surface = path.trim_start_matches("infra/stacks/").trim_end_matches(".yaml");
        let functions = functions::all().into_iter().filter(|function| function.surface == surface).collect::<Vec<_>>();
        // A function's resources are itself, its role, its log group, and what calls it.
        let resources = functions.len() * 4;
        assert!(resources < 400, "{path}: {resources} resources");
        for function in &functions {
            for statement in statements(function) {
                let wide = statement["Resource"] == "*";
                let only_looks = statement["Action"]
                    .as_array()
                    .expect("actions")
                    .iter()
                    .all(|action| action == "ec2:DescribeInstances");
                assert!(!wide || only_looks, "{}: {statement}", function.name);
            }
        }
    }
}
