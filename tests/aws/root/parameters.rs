//! What an installation may say about itself.

use serde_json::{Value, json};

use crate::aws::eks;

/// One bought pool of small machines, as `POOLS` has it.
const POOLS: &str = r#"[{"id": "ec2/a10g", "gpu": "a10g", "max_per_node": 4, "nodes": 2}]"#;
/// The SSM parameter in which AWS publishes its newest image with the NVIDIA driver and a container engine.
const IMAGE: &str = "/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id";
/// What CloudWatch Logs takes (its API reference, `PutRetentionPolicy`), up to a year.
const RETENTION: [u16; 12] = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365];

/// A group of parameters, as the console shows them.
type Group = (&'static str, Vec<(&'static str, Value)>);

fn text(default: &str, meaning: &str) -> Value {
    json!({"Type": "String", "Default": default, "Description": meaning})
}

fn pattern(default: &str, meaning: &str, pattern: &str) -> Value {
    let mut parameter = text(default, meaning);
    parameter["AllowedPattern"] = json!(pattern);
    parameter
}

fn number(default: u16, (least, most): (u16, u16), meaning: &str) -> Value {
    json!({"Type": "Number", "Default": default, "MinValue": least, "MaxValue": most, "Description": meaning})
}

fn groups() -> [Group; 4] {
    [("Installation", installation()), ("Front door and logs", front()), ("Machines", machines()), ("Pods", pods())]
}

fn installation() -> Vec<(&'static str, Value)> {
    // The hash of no token that anybody could know.
    let nobodys = "0".repeat(64);
    let mut token = pattern(
        &nobodys,
        "The SHA-256 of the admin's token, in lower-case hexadecimal: printf %s \"$TOKEN\" | sha256sum. The default is nobody's.",
        "^[0-9a-f]{64}$",
    );
    token["NoEcho"] = json!(true);
    let mut service = pattern(
        &nobodys,
        "The same of the service token, with which operators' tools list clusters.",
        "^[0-9a-f]{64}$",
    );
    service["NoEcho"] = json!(true);
    let mut long_lived = text("false", "Whether the keys of IAM users, which live for years, may log in.");
    long_lived["AllowedValues"] = json!(["true", "false"]);
    vec![
        (
            "Deployment",
            pattern(
                "slipway",
                "The installation's name: what it makes is named and tagged with it.",
                "^[a-z][a-z0-9-]{1,30}$",
            ),
        ),
        ("AdminTokenSha256", token),
        ("ServiceTokenSha256", service),
        (
            "LoginTable",
            text("[]", "Which AWS roles may log in: a JSON list of {account, role, tenant, sessions_are_people}."),
        ),
        ("LongLivedKeys", long_lived),
        (
            "Pools",
            text(
                POOLS,
                "What is offered: a JSON list of {id, gpu, max_per_node, nodes, gpu_hour_usd}; nodes is how many of that size may be had at once, and the price is EC2's list price where it is left out.",
            ),
        ),
        ("Policy", text("", "Limits, as JSON, such as {\"longest_hours\": 24}. Empty means the defaults.")),
        ("CorsOrigins", text("", "Web pages that may call the API, comma-separated: https://console.example.com")),
    ]
}

fn front() -> Vec<(&'static str, Value)> {
    let mut retention = json!({"Type": "Number", "Default": 30, "Description": "For how many days logs are kept."});
    retention["AllowedValues"] = json!(RETENTION);
    vec![
        ("LogRetentionDays", retention),
        (
            "OriginTimeout",
            number(
                60,
                (1, 180),
                "For how many seconds CloudFront waits for the API to say something. More than 60 may need a raised quota.",
            ),
        ),
        ("AlarmEmail", text("", "Who is written to when an alarm goes off. Empty means nobody.")),
    ]
}

fn machines() -> Vec<(&'static str, Value)> {
    let image = json!({
        "Type": "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>", "Default": IMAGE,
        "Description": "The SSM parameter with the image of machines: Linux with systemd, cloud-init, curl and the NVIDIA driver."
    });
    let choice = |default: &str, values: [&str; 2], meaning: &str| {
        let mut parameter = text(default, meaning);
        parameter["AllowedValues"] = json!(values);
        parameter
    };
    vec![
        ("Vpc", text("", "The VPC that machines are bought into. Empty means that none are bought.")),
        ("Subnets", text("", "Its subnets, the preferred first: zone=subnet-id, comma-separated.")),
        (
            "PublicAddresses",
            choice(
                "false",
                ["true", "false"],
                "Whether machines have public addresses, by which users then reach them.",
            ),
        ),
        ("AllowedRange", text("10.0.0.0/8", "Who reaches the SSH servers of jobs: a range of IPv4 addresses.")),
        ("MachineImage", image),
        ("RootGib", number(200, (30, 16_384), "The size of a machine's disk, in GiB.")),
        (
            "Markets",
            choice("on-demand", ["on-demand", "spot,on-demand"], "How machines are paid for, the preferred first."),
        ),
        ("AgentUrl", text("", "Where machines fetch the agent's program: an https address that needs no credentials.")),
        ("AgentSha256", pattern("", "The SHA-256 that the agent's program must have.", "^([0-9a-f]{64})?$")),
    ]
}

fn pods() -> Vec<(&'static str, Value)> {
    vec![
        (
            "EksCluster",
            text(
                "",
                "The EKS cluster that runs jobs as pods; infra/eks/role.yaml says what it must allow. Empty means none.",
            ),
        ),
        ("EksEndpoint", text("", "The cluster's API server: https://....eks.amazonaws.com")),
        ("EksAuthority", text("", "The cluster's certificate authority, in base64 as EKS gives it.")),
        ("EksNamespace", text(eks::NAMESPACE, "The namespace for jobs; it is theirs alone.")),
        ("EksAgentImage", text("", "The agent's image.")),
        (
            "EksZone",
            text(
                "",
                "The zone of the nodes that jobs with disks run on. Empty means that jobs in the cluster have none.",
            ),
        ),
    ]
}

/// Every parameter.
pub(super) fn all() -> Value {
    let parameters = groups().into_iter().flat_map(|(_, parameters)| parameters);
    parameters.map(|(name, parameter)| (name.to_owned(), parameter)).collect()
}

/// How the console groups them.
pub(super) fn interface() -> Value {
    let group = |(label, parameters): Group| {
        let names = parameters.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        json!({"Label": {"default": label}, "Parameters": names})
    };
    json!({"AWS::CloudFormation::Interface": {"ParameterGroups": groups().map(group)}})
}

#[test]
fn defaults_are_what_the_code_reads() {
    let parameters = all();
    let default = |name: &str| parameters[name]["Default"].as_str().expect("a default").to_owned();
    let logins: domain::identity::LoginTable = serde_json::from_str(&default("LoginTable")).expect("a login table");
    assert_eq!(logins, domain::identity::LoginTable::default());
    for token in ["AdminTokenSha256", "ServiceTokenSha256"] {
        domain::SecretHash::try_from(default(token)).expect("a hash");
    }
    let pools: Vec<Value> = serde_json::from_str(&default("Pools")).expect("pools");
    for pool in pools {
        let gpu: domain::gpu::Gpu = serde_json::from_value(pool["gpu"].clone()).expect("a GPU");
        let largest = domain::gpu::INSTANCE_TYPES.iter().filter(|known| known.gpu == gpu).map(|known| known.gpus).max();
        assert!(u64::from(largest.expect("a machine")) >= pool["max_per_node"].as_u64().expect("a count"), "{pool}");
    }
}
