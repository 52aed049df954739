//! What a function's role grants: what the function does in its scenes, on the very resources, and no more.

mod disks;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    environment,
    functions::{Function, Trigger},
};
use crate::support::grants::{self, Grant};

/// The tag with the installation's name, on everything that is bought (`aws_ec2::request::DEPLOYMENT`).
const OURS: &str = "slipway:deployment";
/// What comes to be when a machine is bought, all of it tagged in the same request (`aws_ec2::request`).
const MADE: [&str; 4] = ["instance", "volume", "network-interface", "spot-instances-request"];

pub(crate) fn sub(text: impl Into<String>) -> Value {
    json!({"Fn::Sub": text.into()})
}

/// What every function reads that answers HTTP: whether a request came in by the front door.
fn of_every_surface(function: &Function) -> BTreeSet<Grant> {
    let reads = matches!(function.trigger, Trigger::Http { .. } | Trigger::Pages(_));
    reads.then(|| ("secretsmanager:GetSecretValue".to_owned(), "secret".to_owned())).into_iter().collect()
}

/// The role's statements, one a resource; buying machines takes several.
pub(crate) fn statements(function: &Function) -> Vec<Value> {
    let mut granted = grants::committed().get(&function.name).cloned().unwrap_or_default();
    granted.extend(of_every_surface(function));
    let mut by_resource = BTreeMap::<String, BTreeSet<String>>::new();
    for (action, resource) in granted {
        by_resource.entry(resource).or_default().insert(action);
    }
    let statement = |(resource, actions): (String, BTreeSet<String>)| match &*resource {
        "instances" => actions.iter().flat_map(|action| machines(action)).collect(),
        "volumes" | "snapshots" | "names" => {
            actions.iter().flat_map(|action| disks::statements(&resource, action)).collect()
        }
        _ => vec![json!({"Effect": "Allow", "Action": actions, "Resource": arn(&resource)})],
    };
    by_resource.into_iter().flat_map(statement).collect()
}

/// The statements that buying and ending machines takes. What is made is ours from its first moment, what is used is what the installation
/// names, and nothing that is not ours is ever touched.
///
/// Source: service authorization reference, "Actions, resources, and condition keys for Amazon EC2": each resource of a `RunInstances` is
/// allowed on its own, `aws:RequestTag` is known for what is made alone, and tagging it needs `CreateTags`.
fn machines(action: &str) -> Vec<Value> {
    let made = || MADE.map(|kind| sub(ec2(&format!("${{AWS::AccountId}}:{kind}/*"))));
    let used = |resource: &str| json!({"Effect": "Allow", "Action": action, "Resource": sub(ec2(resource))});
    match action {
        "ec2:RunInstances" => {
            let mut subnet = used("${AWS::AccountId}:subnet/*");
            subnet["Condition"] = json!({"ArnEquals": {"ec2:Vpc": sub(ec2("${AWS::AccountId}:vpc/${Vpc}"))}});
            vec![
                json!({
                    "Effect": "Allow", "Action": action, "Resource": made(),
                    "Condition": {"StringEquals": tagged("aws:RequestTag")}
                }),
                used(":image/${MachineImage}"),
                used("${AWS::AccountId}:security-group/${NodeGroup}"),
                subnet,
            ]
        }
        "ec2:CreateTags" => {
            let mut when = tagged("aws:RequestTag");
            when["ec2:CreateAction"] = json!("RunInstances");
            vec![json!({"Effect": "Allow", "Action": action, "Resource": made(), "Condition": {"StringEquals": when}})]
        }
        "ec2:TerminateInstances" => {
            let mut statement = used("${AWS::AccountId}:instance/*");
            statement["Condition"] = json!({"StringEquals": tagged("aws:ResourceTag")});
            vec![statement]
        }
        other => panic!("{other}: say in tests/aws/roles.rs on which machines it is granted"),
    }
}

/// An ARN of EC2's. An image's and a snapshot's have no account.
fn ec2(resource: &str) -> String {
    format!("arn:${{AWS::Partition}}:ec2:${{AWS::Region}}:{resource}")
}

pub(crate) fn arn(resource: &str) -> Value {
    const HERE: &str = "${AWS::Region}:${AWS::AccountId}";
    match resource.split_once('/') {
        Some(("table", table)) => sub(format!("arn:${{AWS::Partition}}:dynamodb:{HERE}:table/${{Deployment}}-{table}")),
        Some(("queue", "doorbells")) => json!({"Ref": "DoorbellsArn"}),
        Some(("queue", "reconciles")) => json!({"Ref": "ReconcilesArn"}),
        Some(("queue", "disks")) => json!({"Ref": "DisksArn"}),
        None if resource == "machine" => json!({"Ref": "StateMachineArn"}),
        None if resource == "key" => json!({"Ref": "KeyArn"}),
        None if resource == "secret" => json!([{"Ref": "ServiceSecretArn"}, {"Ref": "OriginSecretArn"}]),
        None if resource == "*" => json!("*"),
        _ => panic!("{resource}: say in tests/aws/roles.rs what its ARN is"),
    }
}

/// Whether a function reaches a fleet. What only keeps disks asks EC2 alone, and no cluster.
pub(crate) fn has_fleet(function: &Function) -> bool {
    let granted = grants::committed().get(&function.name).filter(|_| environment::has_fleet(function));
    granted.is_some_and(|granted| granted.iter().any(|(action, _)| action.starts_with("ec2:")))
}

/// That something carries the installation's tag, or is asked for with it.
fn tagged(key: &str) -> Value {
    json!({format!("{key}/{OURS}"): {"Ref": "Deployment"}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::functions;

    /// A request, as IAM sees it: once for each resource.
    pub(super) struct Asked<'a> {
        pub(super) action: &'a str,
        pub(super) resource: &'a str,
        pub(super) context: &'a [(&'a str, &'a str)],
    }

    const HERE: [(&str, &str); 7] = [
        ("${AWS::Partition}", "aws"),
        ("${AWS::Region}", "eu-central-1"),
        ("${AWS::AccountId}", "000000000000"),
        ("${Deployment}", "slipway"),
        ("${Vpc}", "vpc-1"),
        ("${MachineImage}", "ami-1"),
        ("${NodeGroup}", "sg-1"),
    ];

    fn text(value: &Value) -> String {
        match value {
            Value::Object(fields) => {
                let reference = fields.get("Ref").and_then(Value::as_str).map(|name| format!("${{{name}}}"));
                let text = reference.or_else(|| fields["Fn::Sub"].as_str().map(str::to_owned)).expect("a text");
                HERE.iter().fold(text, |text, (name, value)| text.replace(name, value))
            }
            other => other.as_str().expect("a text").to_owned(),
        }
    }

    fn each(value: &Value) -> Vec<String> {
        value.as_array().map_or_else(|| vec![text(value)], |values| values.iter().map(text).collect())
    }

    /// Whether some statement allows it.
    pub(super) fn allowed(statements: &[Value], asked: &Asked<'_>) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => asked.resource.starts_with(start),
            None => pattern == asked.resource,
        };
        let holds = |conditions: &Value| {
            let tests = conditions.as_object().into_iter().flatten().flat_map(|(_, tests)| tests.as_object());
            tests.flatten().all(|(key, expected)| asked.context.contains(&(&**key, &*text(expected))))
        };
        statements.iter().any(|statement| {
            each(&statement["Action"]).iter().any(|action| action == asked.action)
                && each(&statement["Resource"]).iter().any(matches)
                && holds(&statement["Condition"])
        })
    }

    pub(super) fn of(name: &str) -> Vec<Value> {
        let function = functions::all().into_iter().find(|function| function.name == name);
        statements(&function.expect("a function"))
    }

    /// Requests that must be allowed, and such that must not be.
    fn wrong(buyer: &[Value], ender: &[Value]) -> Vec<String> {
        const ACCOUNT: &str = "arn:aws:ec2:eu-central-1:000000000000:";
        let ours = [("aws:RequestTag/slipway:deployment", "slipway")];
        let bought = [ours[0], ("ec2:CreateAction", "RunInstances")];
        let vpc = [("ec2:Vpc", "arn:aws:ec2:eu-central-1:000000000000:vpc/vpc-1")];
        let strange = [("ec2:Vpc", "arn:aws:ec2:eu-central-1:000000000000:vpc/vpc-2")];
        let tagged = [("aws:ResourceTag/slipway:deployment", "slipway")];
        let other = [("aws:ResourceTag/slipway:deployment", "another")];
        let mut cases = Vec::new();
        for kind in MADE {
            let made = format!("{ACCOUNT}{kind}/new");
            cases.push((buyer, "ec2:RunInstances", made.clone(), &ours[..], true));
            cases.push((buyer, "ec2:RunInstances", made.clone(), &[], false));
            cases.push((buyer, "ec2:CreateTags", made.clone(), &bought, true));
            cases.push((buyer, "ec2:CreateTags", made, &ours, false));
        }
        let on = |rest: &str| format!("{ACCOUNT}{rest}");
        let image = |id: &str| format!("arn:aws:ec2:eu-central-1::image/{id}");
        cases.extend([
            (buyer, "ec2:RunInstances", image("ami-1"), &[][..], true),
            (buyer, "ec2:RunInstances", image("ami-2"), &[], false),
            (buyer, "ec2:RunInstances", on("security-group/sg-1"), &[], true),
            (buyer, "ec2:RunInstances", on("security-group/sg-2"), &[], false),
            (buyer, "ec2:RunInstances", on("subnet/subnet-1"), &vpc, true),
            (buyer, "ec2:RunInstances", on("subnet/subnet-1"), &strange, false),
            (buyer, "ec2:RunInstances", on("key-pair/mine"), &ours, false),
            (buyer, "ec2:TerminateInstances", on("instance/i-1"), &tagged, false),
            (ender, "ec2:TerminateInstances", on("instance/i-1"), &tagged, true),
            (ender, "ec2:TerminateInstances", on("instance/i-1"), &other, false),
            (ender, "ec2:TerminateInstances", on("instance/i-1"), &[], false),
        ]);
        let differs = |(statements, action, resource, context, expected): (&[Value], &str, String, &[_], bool)| {
            let answer = allowed(statements, &Asked { action, resource: &resource, context });
            (answer != expected).then(|| format!("{action} {resource} {context:?}: {answer}"))
        };
        cases.into_iter().filter_map(differs).collect()
    }

    #[test]
    fn machines_are_bought_and_ended_as_they_should_be() {
        let (buyer, ender) = (of("LaunchProvision"), of("Reconciler"));
        assert_eq!(wrong(&buyer, &ender), Vec::<String>::new());
        // One statement for all of it, as it once was, allows nothing to be bought.
        let instance = sub(ec2("${AWS::AccountId}:instance/*"));
        let ours = json!({"StringEquals": {"aws:ResourceTag/slipway:deployment": {"Ref": "Deployment"}}});
        let all = json!({
            "Action": ["ec2:CreateTags", "ec2:RunInstances"], "Resource": instance, "Condition": ours
        });
        assert!(wrong(&[all], &ender).len() > 5);
        // Without its condition each statement allows too much.
        for (at, _) in buyer.iter().enumerate().filter(|(_, statement)| !statement["Condition"].is_null()) {
            let mut loose = buyer.clone();
            loose[at]["Condition"] = Value::Null;
            assert!(!wrong(&loose, &ender).is_empty(), "{}", buyer[at]);
        }
    }
}
