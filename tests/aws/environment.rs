//! What functions are told: their environment, the parameters that it is made from, and where the root has those from.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::functions::Function;

/// What every function is told. `${Name}` is a parameter of its stack.
const EVERY: [(&str, &str); 14] = [
    ("TABLE_PREFIX", "${Deployment}-"),
    ("DOORBELLS_URL", "${DoorbellsUrl}"),
    ("RECONCILES_URL", "${ReconcilesUrl}"),
    ("DISKS_URL", "${DisksUrl}"),
    ("STATE_MACHINE_ARN", "${StateMachineArn}"),
    ("KMS_KEY_ID", "${KeyArn}"),
    ("SERVICE_SECRET_ID", "${ServiceSecretArn}"),
    ("ORIGIN_SECRET_ID", "${OriginSecretArn}"),
    ("CORS_ORIGINS", "${CorsOrigins}"),
    ("POOLS", "${Pools}"),
    ("POLICY", "${Policy}"),
    ("DEPLOYMENT", "${Deployment}"),
    ("PLANE_URL", "${PlaneUrl}"),
    ("LOGIN_LONG_LIVED_KEYS", "${LongLivedKeys}"),
];

/// What those are told in addition that buy, find and end machines and pods. Lambda takes empty values (Lambda API reference,
/// `Environment`, which sets no least length).
const FLEET: [(&str, &str); 14] = [
    ("EC2_IMAGE_ID", "${MachineImage}"),
    ("EC2_ROOT_GIB", "${RootGib}"),
    ("EC2_SUBNETS", "${Subnets}"),
    ("EC2_SECURITY_GROUP", "${NodeGroup}"),
    ("EC2_PUBLIC_ADDRESSES", "${PublicAddresses}"),
    ("EC2_MARKETS", "${Markets}"),
    ("AGENT_URL", "${AgentUrl}"),
    ("AGENT_SHA256", "${AgentSha256}"),
    ("EKS_CLUSTER", "${EksCluster}"),
    ("EKS_ENDPOINT", "${EksEndpoint}"),
    ("EKS_AUTHORITY", "${EksAuthority}"),
    ("EKS_NAMESPACE", "${EksNamespace}"),
    ("EKS_AGENT_IMAGE", "${EksAgentImage}"),
    ("EKS_ZONE", "${EksZone}"),
];

/// The surfaces whose functions have a fleet.
const WITH_FLEET: [&str; 2] = ["launcher", "sweeper"];

/// Whether a function is told of fleets.
pub(crate) fn has_fleet(function: &Function) -> bool {
    WITH_FLEET.contains(&&*function.surface)
}

/// A function's variables, as its stack writes them.
pub(crate) fn variables(function: &Function) -> Map<String, Value> {
    let fleet = if has_fleet(function) { &FLEET[..] } else { &[] };
    EVERY.iter().chain(fleet).map(|(name, value)| ((*name).to_owned(), expression(value))).collect()
}

/// `${Name}` alone is a reference, a text with it is filled in, and any other text is itself.
fn expression(value: &str) -> Value {
    let alone = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).filter(|name| !name.contains('$'));
    match alone {
        Some(name) => json!({"Ref": name}),
        None if value.contains("${") => json!({"Fn::Sub": value}),
        None => json!(value),
    }
}

/// Every parameter that a nested stack may have, and what the root gives for it.
pub(crate) fn given() -> Vec<(&'static str, Value)> {
    let reference = |name: &'static str| (name, json!({"Ref": name}));
    let attribute = |name: &str, attribute: &str| json!({"Fn::GetAtt": [name, attribute]});
    let mut given = vec![
        reference("Deployment"),
        ("Api", json!({"Ref": "Api"})),
        ("KeyArn", attribute("Key", "Arn")),
        ("ServiceSecretArn", json!({"Ref": "ServiceSecret"})),
        ("OriginSecretArn", json!({"Ref": "OriginSecret"})),
        ("StateMachineArn", json!({"Ref": "Launch"})),
        ("DoorbellsUrl", json!({"Ref": "Doorbells"})),
        ("DoorbellsArn", attribute("Doorbells", "Arn")),
        ("ReconcilesUrl", json!({"Ref": "Reconciles"})),
        ("ReconcilesArn", attribute("Reconciles", "Arn")),
        ("DisksUrl", json!({"Ref": "Disks"})),
        ("DisksArn", attribute("Disks", "Arn")),
        ("PlaneUrl", json!({"Fn::Sub": "https://${Edge.DomainName}"})),
        ("NodeGroup", json!({"Fn::If": ["Machines", attribute("Nodes", "GroupId"), ""]})),
    ];
    let root =
        ["CorsOrigins", "LongLivedKeys", "Pools", "Policy", "LogRetentionDays", "Vpc", "Subnets", "PublicAddresses"];
    let more = ["MachineImage", "RootGib", "Markets", "AgentUrl", "AgentSha256"];
    let eks = ["EksCluster", "EksEndpoint", "EksAuthority", "EksNamespace", "EksAgentImage", "EksZone"];
    given.extend(root.into_iter().chain(more).chain(eks).map(reference));
    given
}

/// The names that a part of a template refers to: parameters, resources, and conditions.
pub(crate) fn referred(value: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(value, &mut names);
    names
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("Ref" | "Condition", Value::String(text)) => drop(names.insert(text.clone())),
                    ("Fn::GetAtt" | "Fn::If", Value::Array(parts)) => {
                        names.extend(parts.first().and_then(Value::as_str).map(str::to_owned));
                    }
                    ("Fn::Sub", Value::String(text)) => names.extend(placeholders(text)),
                    _ => {}
                }
                collect(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

/// What a text has between `${` and `}`, without attributes and without what CloudFormation knows itself.
pub(crate) fn placeholders(text: &str) -> impl Iterator<Item = String> {
    let named = text.split("${").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let named = named.filter(|name| !name.starts_with("AWS::") && !name.starts_with('!'));
    named.map(|name| name.split('.').next().unwrap_or_default().to_owned()).collect::<Vec<_>>().into_iter()
}
