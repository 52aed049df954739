//! What works: the launch, the machines' network, and the stacks with the functions.

use serde_json::{Map, Value, json};
use slipway::machine::LAUNCH;

use super::Resources;
use crate::aws::{
    environment::{given, placeholders},
    roles::sub,
    stacks,
};

/// The SSH server's port on every node (`aws_ec2::user_data::SSH_PORT`; a test holds it).
const SSH_PORT: u16 = 22_022;

pub(super) fn resources() -> Resources {
    let mut all = vec![
        (
            "# Launch".to_owned(),
            json!(
                "Step Functions keeps the history of each launch for 90 days: it needs no logs, which would take a role upon all logs."
            ),
        ),
        ("Launch".to_owned(), launch()),
        ("Nodes".to_owned(), nodes()),
    ];
    all.extend(stacks::documents().iter().map(|(surface, stack)| (logical(surface), nested(surface, stack))));
    all
}

fn launch() -> Value {
    let arn = |step: &str| {
        sub(format!(
            "arn:${{AWS::Partition}}:lambda:${{AWS::Region}}:${{AWS::AccountId}}:function:${{Deployment}}-Launch{step}"
        ))
    };
    let substitutions = placeholders(LAUNCH).map(|step| (step.clone(), arn(&step))).collect::<Map<_, _>>();
    let may = json!({
        "Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": substitutions.values().collect::<Vec<_>>()
    });
    json!({
        "Type": "AWS::Serverless::StateMachine",
        "Properties": {
            "Name": sub("${Deployment}-launch"),
            "Type": "STANDARD",
            "DefinitionUri": "infra/launch.asl.json",
            "DefinitionSubstitutions": substitutions,
            "Policies": [{"Version": "2012-10-17", "Statement": [may]}]
        }
    })
}

/// What reaches a machine, and what it reaches.
fn nodes() -> Value {
    let anywhere = json!({
        "IpProtocol": "-1", "CidrIp": "0.0.0.0/0", "Description": "The plane, images, and whatever a job asks for"
    });
    let ssh = json!({
        "IpProtocol": "tcp", "FromPort": SSH_PORT, "ToPort": SSH_PORT, "CidrIp": {"Ref": "AllowedRange"},
        "Description": "The SSH servers of jobs"
    });
    json!({
        "Type": "AWS::EC2::SecurityGroup",
        "Condition": "Machines",
        "Properties": {
            "GroupDescription": sub("${Deployment}: machines that jobs run on"), "VpcId": {"Ref": "Vpc"},
            "SecurityGroupIngress": [ssh], "SecurityGroupEgress": [anywhere]
        }
    })
}

/// The logical name of a surface's stack.
fn logical(surface: &str) -> String {
    let capital = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
    surface.split('-').map(capital).collect::<String>() + "Stack"
}

fn nested(surface: &str, stack: &Value) -> Value {
    let takes = |(name, _): &(&str, Value)| !stack["Parameters"][*name].is_null();
    let parameters = given().into_iter().filter(takes).map(|(name, value)| (name.to_owned(), value));
    json!({
        "Type": "AWS::CloudFormation::Stack",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": {"TemplateURL": stacks::path(surface), "Parameters": parameters.collect::<Map<_, _>>()}
    })
}

#[test]
fn the_port_is_the_machines() {
    let said = include_str!("../../../shared/aws-ec2/src/user_data.rs");
    assert!(
        said.contains("pub const SSH_PORT: u16 = 22_022;") && SSH_PORT == 22_022,
        "another port than the machines'"
    );
}
