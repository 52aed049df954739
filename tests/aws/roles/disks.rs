//! The statements that disks take: what is made is ours from its first moment, and nothing that is not ours is ever touched.
//!
//! Source: service authorization reference, "Actions, resources, and condition keys for Amazon EC2": each resource of an action is allowed on
//! its own. A volume is made of a snapshot, and a snapshot of a volume; a volume is fixed to an instance. `aws:RequestTag` is known for what is
//! made alone, and tagging it needs `CreateTags`, with the action that makes it as `ec2:CreateAction`.

use serde_json::{Value, json};

use super::{ec2, sub, tagged};

const VOLUMES: &str = "${AWS::AccountId}:volume/*";
const INSTANCES: &str = "${AWS::AccountId}:instance/*";
const SNAPSHOTS: &str = ":snapshot/*";

fn statement(action: &str, resources: &[&str], when: &Value) -> Value {
    let resources = resources.iter().map(|resource| sub(ec2(resource))).collect::<Vec<_>>();
    json!({"Effect": "Allow", "Action": action, "Resource": resources, "Condition": when})
}

/// The statements of an action upon `volumes`, `snapshots`, or the `names` that snapshots carry.
pub(super) fn statements(upon: &str, action: &str) -> Vec<Value> {
    let made = json!({"StringEquals": tagged("aws:RequestTag")});
    let ours = json!({"StringEquals": tagged("aws:ResourceTag")});
    let tagging = |kind: &str, maker: &str| {
        let mut when = made.clone();
        when["StringEquals"]["ec2:CreateAction"] = json!(maker);
        vec![statement(action, &[kind], &when)]
    };
    match (upon, action) {
        ("volumes", "ec2:CreateVolume") => {
            vec![statement(action, &[VOLUMES], &made), statement(action, &[SNAPSHOTS], &ours)]
        }
        ("snapshots", "ec2:CreateSnapshot") => {
            vec![statement(action, &[SNAPSHOTS], &made), statement(action, &[VOLUMES], &ours)]
        }
        ("volumes", "ec2:CreateTags") => tagging(VOLUMES, "CreateVolume"),
        ("snapshots", "ec2:CreateTags") => tagging(SNAPSHOTS, "CreateSnapshot"),
        ("names", "ec2:CreateTags") => {
            let mut when = ours;
            when["ForAllValues:StringEquals"] = json!({"aws:TagKeys": "Name"});
            vec![statement(action, &[SNAPSHOTS], &when)]
        }
        ("volumes", "ec2:AttachVolume" | "ec2:DetachVolume") => vec![statement(action, &[VOLUMES, INSTANCES], &ours)],
        ("volumes", "ec2:DeleteVolume") => vec![statement(action, &[VOLUMES], &ours)],
        ("snapshots", "ec2:DeleteSnapshot") => vec![statement(action, &[SNAPSHOTS], &ours)],
        (upon, other) => panic!("{other}: say in tests/aws/roles/disks.rs on which {upon} it is granted"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Asked, allowed, of};

    type Context = &'static [(&'static str, &'static str)];

    const OURS: Context = &[("aws:ResourceTag/slipway:deployment", "slipway")];
    const OTHERS: Context = &[("aws:ResourceTag/slipway:deployment", "another")];
    const MADE: Context = &[("aws:RequestTag/slipway:deployment", "slipway")];
    const NEW_VOLUME: Context =
        &[("aws:RequestTag/slipway:deployment", "slipway"), ("ec2:CreateAction", "CreateVolume")];
    const NEW_SNAPSHOT: Context =
        &[("aws:RequestTag/slipway:deployment", "slipway"), ("ec2:CreateAction", "CreateSnapshot")];
    const NAMED: Context = &[("aws:ResourceTag/slipway:deployment", "slipway"), ("aws:TagKeys", "Name")];
    const RETAGGED: Context =
        &[("aws:ResourceTag/slipway:deployment", "slipway"), ("aws:TagKeys", "slipway:operation")];

    /// What the function may do upon the volume, the snapshot or the instance, and in which of these contexts.
    fn check(function: &str, action: &str, upon: &str, may: &[Context]) {
        let volume = "arn:aws:ec2:eu-central-1:000000000000:volume/vol-1";
        let instance = "arn:aws:ec2:eu-central-1:000000000000:instance/i-1";
        let snapshot = "arn:aws:ec2:eu-central-1::snapshot/snap-1";
        let resource = match upon {
            "volume" => volume,
            "instance" => instance,
            _ => snapshot,
        };
        let action = format!("ec2:{action}");
        for context in [&[], OURS, OTHERS, MADE, NEW_VOLUME, NEW_SNAPSHOT, NAMED, RETAGGED] {
            // What carries more than is asked for is allowed, too.
            let expected = may.iter().any(|may| may.iter().all(|condition| context.contains(condition)));
            let answer = allowed(&of(function), &Asked { action: &action, resource, context });
            assert_eq!(answer, expected, "{function} {action} {resource} {context:?}");
        }
    }

    #[test]
    fn disks_are_made_and_removed_as_they_should_be() {
        check("LaunchAttachDisk", "CreateVolume", "volume", &[MADE]);
        check("LaunchAttachDisk", "CreateVolume", "snapshot", &[OURS]);
        check("LaunchAttachDisk", "CreateTags", "volume", &[NEW_VOLUME]);
        check("LaunchAttachDisk", "CreateTags", "snapshot", &[]);
        check("LaunchAttachDisk", "AttachVolume", "volume", &[OURS]);
        check("LaunchAttachDisk", "AttachVolume", "instance", &[OURS]);
        check("LaunchAttachDisk", "DetachVolume", "volume", &[]);
        check("LaunchAttachDisk", "DeleteVolume", "volume", &[]);
        check("DiskWorker", "DetachVolume", "volume", &[OURS]);
        check("DiskWorker", "DetachVolume", "instance", &[OURS]);
        check("DiskWorker", "CreateSnapshot", "volume", &[OURS]);
        check("DiskWorker", "CreateSnapshot", "snapshot", &[MADE]);
        check("DiskWorker", "CreateTags", "snapshot", &[NEW_SNAPSHOT, NAMED]);
        check("DiskWorker", "CreateTags", "volume", &[]);
        check("DiskWorker", "CreateVolume", "volume", &[]);
        for function in ["DiskWorker", "DiskSweep", "DiskOrphans"] {
            check(function, "DeleteVolume", "volume", &[OURS]);
            check(function, "DeleteSnapshot", "snapshot", &[OURS]);
            check(function, "TerminateInstances", "instance", &[]);
        }
    }
}
