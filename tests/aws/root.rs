//! `template.yaml`: the whole installation but for its functions, which are in the nested stacks.

mod front;
mod parameters;
mod state;
mod watch;
mod work;

use serde_json::{Map, Value, json};

use super::{environment::given, yaml};

const HEAD: &str = "# The installation. Written from the code by SLIPWAY_BLESS=1 cargo test -p tests --test all aws, out of tests/aws/root.\n\
    # Deploy it with: sam deploy --guided (see the README).\n";

/// Resources by their logical names, in order. A name that begins with # is a comment on the next one.
type Resources = Vec<(String, Value)>;

/// The template's text.
pub(crate) fn text() -> String {
    HEAD.to_owned() + &yaml::text(&explained())
}

/// The template, without its comments.
pub(crate) fn template() -> Value {
    yaml::data(&explained())
}

fn is_set(parameter: &str) -> Value {
    json!({"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]})
}

/// What must be said together: without it the functions that have a fleet would not start.
fn rules() -> Value {
    let needs = |whenever: &str, needed: &[&str]| {
        let assertion = |name: &&str| json!({"Assert": is_set(name), "AssertDescription": format!("{whenever} is given, and so {name} must be.")});
        json!({"RuleCondition": is_set(whenever), "Assertions": needed.iter().map(assertion).collect::<Vec<_>>()})
    };
    json!({
        "MachinesAreWhole": needs("Vpc", &["Subnets", "AgentUrl", "AgentSha256"]),
        "PodsAreWhole": needs("EksCluster", &["EksEndpoint", "EksAuthority", "EksNamespace", "EksAgentImage"])
    })
}

fn explained() -> Value {
    let parts = [state::resources(), front::resources(), work::resources(), watch::resources()];
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": "Slipway: a GPU cloud in this account.",
        "Metadata": parameters::interface(),
        "Parameters": parameters::all(),
        "Rules": rules(),
        "Conditions": {"Machines": is_set("Vpc"), "Mailed": is_set("AlarmEmail")},
        "Resources": parts.into_iter().flatten().collect::<Map<_, _>>(),
        "Outputs": outputs()
    })
}

/// A resource that holds what nobody could make again: it outlives the stack.
fn protected(kind: &str, properties: &Value) -> Value {
    json!({"Type": kind, "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain", "Properties": properties})
}

/// What the nested stacks are given and no parameter says, and where people call.
fn outputs() -> Value {
    let parameters = parameters::all();
    let mut outputs = Map::new();
    for (name, value) in given().into_iter().filter(|(name, _)| parameters[*name].is_null()) {
        outputs.insert(name.to_owned(), json!({"Value": value}));
    }
    outputs["PlaneUrl"]["Description"] = json!("Where people and agents call.");
    outputs["NodeGroup"]["Condition"] = json!("Machines");
    outputs["NodeGroup"]["Value"] = json!({"Fn::GetAtt": ["Nodes", "GroupId"]});
    Value::Object(outputs)
}
