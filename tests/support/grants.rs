//! What each function does to which resource: recorded in every test that drives one, and held against what its role grants.
//!
//! `tests/grants.txt` is the record. The scenes of `tests/aws/scenes.rs` do everything that a function can do, and write it (with
//! `SLIPWAY_BLESS=1`); in every other test a call that the record lacks fails at once.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::OnceLock,
};

use cloud::sim::World;
use domain::message::QueueName;
use store::embedded::Embedded;

use super::bless;

/// An action of IAM's, such as `dynamodb:GetItem`, upon a resource in our words, such as `table/workloads`.
pub(crate) type Grant = (String, String);
/// What each function does.
pub(crate) type Grants = BTreeMap<String, BTreeSet<Grant>>;

thread_local! {
    static USED: RefCell<Grants> = RefCell::default();
    static SCENES: Cell<bool> = const { Cell::new(false) };
}

/// What was used in this thread while `scenes` ran.
pub(crate) fn recorded(scenes: impl FnOnce()) -> Grants {
    SCENES.set(true);
    scenes();
    SCENES.set(false);
    USED.take()
}

/// The committed record.
pub(crate) fn committed() -> &'static Grants {
    static COMMITTED: OnceLock<Grants> = OnceLock::new();
    COMMITTED.get_or_init(|| {
        let text = fs::read_to_string(bless::root().join("tests/grants.txt")).unwrap_or_default();
        parse(&text)
    })
}

/// The record's text: a line a function and resource, with its actions.
pub(crate) fn text(grants: &Grants) -> String {
    let mut text = "# What each function does to which resource: what its role grants, no more and no less. Written by\n\
        # SLIPWAY_BLESS=1 cargo test -p tests --test all aws; a call that is not in here fails the test that makes it.\n"
        .to_owned();
    for (function, grants) in grants {
        if grants.is_empty() {
            text += &format!("{function:<18} -\n");
        }
        let mut by_resource = BTreeMap::<&str, Vec<&str>>::new();
        for (action, resource) in grants {
            by_resource.entry(resource).or_default().push(action);
        }
        for (resource, actions) in by_resource {
            text += &format!("{function:<18} {resource:<30} {}\n", actions.join(" "));
        }
    }
    text
}

fn parse(text: &str) -> Grants {
    let mut grants = Grants::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        if let (Some(function), Some(resource)) = (words.next(), words.next()) {
            let granted = grants.entry(function.to_owned()).or_default();
            // A dash says that it does nothing to anything.
            granted.extend(words.map(|action| (action.to_owned(), resource.to_owned())));
        }
    }
    grants
}

/// What a port's method needs, beyond the queue that a message goes to. The contract tests of the `aws-*` crates hold it true.
fn of_port(label: &str) -> &'static [(&'static str, &'static str)] {
    match label {
        "launches.start" => &[("states:StartExecution", "machine")],
        "launches.complete" => &[("states:SendTaskSuccess", "machine")],
        "launches.fail" => &[("states:SendTaskFailure", "machine")],
        "vault.seal" => &[("kms:GenerateDataKey", "key")],
        "vault.open" => &[("kms:Decrypt", "key")],
        "fleet.provision" => {
            &[("ec2:RunInstances", "instances"), ("ec2:CreateTags", "instances"), ("ec2:DescribeInstances", "*")]
        }
        "fleet.describe" | "fleet.list" => &[("ec2:DescribeInstances", "*")],
        "fleet.terminate" => &[("ec2:TerminateInstances", "instances"), ("ec2:DescribeInstances", "*")],
        "queue.healthy" => &[
            ("sqs:GetQueueAttributes", "queue/doorbells"),
            ("sqs:GetQueueAttributes", "queue/reconciles"),
            ("sqs:GetQueueAttributes", "queue/disks"),
        ],
        other if other.starts_with("volumes.") => of_volumes(other),
        // Whoever logs in is asked about with their own credentials, and so is whoever stores some; GitHub and model servers are not AWS.
        "identity.caller"
        | "identity.presigned_caller"
        | "people.keys_of"
        | "providers.check"
        | "queue.send"
        | "upstreams.ask" => &[],
        other if other.starts_with("store.") => &[],
        other => panic!("{other}: say in tests/support/grants.rs which actions this method of a port needs"),
    }
}

/// What the methods need that are about disks. A snapshot is tagged when it is made, and again with its disk's name alone.
fn of_volumes(label: &str) -> &'static [(&'static str, &'static str)] {
    match label {
        "volumes.create" => &[
            ("ec2:CreateVolume", "volumes"),
            ("ec2:CreateTags", "volumes"),
            ("ec2:DescribeInstances", "*"),
            ("ec2:DescribeVolumes", "*"),
        ],
        "volumes.attach" => {
            &[("ec2:AttachVolume", "volumes"), ("ec2:DescribeInstances", "*"), ("ec2:DescribeVolumes", "*")]
        }
        "volumes.detach" => &[("ec2:DetachVolume", "volumes"), ("ec2:DescribeVolumes", "*")],
        "volumes.snapshot" => {
            &[("ec2:CreateSnapshot", "snapshots"), ("ec2:CreateTags", "snapshots"), ("ec2:DescribeSnapshots", "*")]
        }
        "volumes.snapshot_state" | "volumes.snapshots" => &[("ec2:DescribeSnapshots", "*")],
        "volumes.tag" => &[("ec2:CreateTags", "names")],
        "volumes.delete_volume" => &[("ec2:DeleteVolume", "volumes")],
        "volumes.delete_snapshot" => &[("ec2:DeleteSnapshot", "snapshots")],
        "volumes.volumes" => &[("ec2:DescribeVolumes", "*")],
        other => panic!("{other}: say in tests/support/grants.rs which actions this method of a port needs"),
    }
}

/// Runs `work` as `function`, and records or checks what it does.
pub(crate) fn watch<T>(function: &str, world: &World, embedded: &Embedded, work: impl FnOnce() -> T) -> T {
    let queued = || QueueName::ALL.map(|queue| world.messages(queue).len());
    let calls = usize::try_from(world.calls()).expect("a count");
    let (before, metered) = (queued(), embedded.meter().count());
    let done = work();
    let mut used = BTreeSet::<Grant>::new();
    for call in world.log_after(calls) {
        used.extend(of_port(&call.label).iter().map(|(action, on)| ((*action).to_owned(), (*on).to_owned())));
    }
    for (queue, (before, after)) in QueueName::ALL.into_iter().zip(before.into_iter().zip(queued())) {
        if after > before {
            used.insert(("sqs:SendMessage".to_owned(), format!("queue/{}", queue.name())));
        }
    }
    for call in embedded.meter().after(metered) {
        used.extend(call.touches.into_iter().map(|(action, on)| (format!("dynamodb:{action}"), format!("table/{on}"))));
    }
    if SCENES.get() {
        USED.with_borrow_mut(|grants| grants.entry(function.to_owned()).or_default().extend(used));
    } else if !bless::wanted() {
        let none = BTreeSet::new();
        let granted = committed().get(function).unwrap_or(&none);
        let missing = used.difference(granted).collect::<Vec<_>>();
        assert!(
            missing.is_empty(),
            "{function} does what its role does not grant: {missing:?}; do the same in tests/aws/scenes.rs"
        );
    }
    done
}
