//! Disks: what is asked of EBS, and what its answers become.

use std::collections::BTreeMap;

use aws_core::replay::{Answer, NOW};
use cloud::{
    Attacher as _, Attachment, DiskRef, PortError, SnapshotOrder, SnapshotState, TaggedSnapshot, TaggedVolume,
    VolumeError, VolumeOrder, Volumes,
};
use domain::{DiskId, OperationId, SnapshotId, UserName, VolumeId, agent::Device, names::DiskName};

use super::{Bench, instance, nothing, order, page, refused};

fn of() -> DiskRef {
    let owner = UserName::new("ada,lovelace@example.com");
    DiskRef { tenant: order().tenant, owner, disk: DiskId::new(NOW, &[3; 32]) }
}

fn name() -> DiskName {
    DiskName::parse("datasets").unwrap()
}

fn wanted() -> VolumeOrder {
    let from = Some(SnapshotId::new("snap-1"));
    VolumeOrder { of: of(), uses: 7, name: name(), size_gb: 200, from, attempt: order().of() }
}

fn backup() -> SnapshotOrder {
    SnapshotOrder { of: of(), operation: OperationId::new(NOW, &[4; 32]), name: name(), volume: VolumeId::new("vol-1") }
}

fn response(action: &str, content: &str) -> Answer {
    Answer::ok(format!(
        "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">{content}</{action}Response>"
    ))
}

/// The attempt's machine, in a zone if it is told one yet.
fn machine(id: &str, state: &str) -> Answer {
    page(&[instance(id, state, "<placement><availabilityZone>eu-central-1b</availabilityZone></placement>")], "")
}

fn tags(tags: &[(&str, &str)]) -> String {
    let tags = tags.iter().map(|(key, value)| format!("<item><key>{key}</key><value>{value}</value></item>"));
    format!("<tagSet>{}</tagSet>", tags.collect::<String>())
}

fn ours(last: (&str, &str)) -> String {
    let disk = of().disk.to_string();
    let owner = ("slipway:owner", "ada:2clovelace@example.com");
    tags(&[("slipway:deployment", "test"), ("slipway:tenant", "research"), owner, ("slipway:disk", &disk), last])
}

/// A volume with what else there is to say of it.
fn volume(id: &str, state: &str, more: &str) -> String {
    format!("<item><volumeId>{id}</volumeId><status>{state}</status>{more}</item>")
}

fn fixed(machine: &str, state: &str) -> String {
    format!("<attachmentSet><item><instanceId>{machine}</instanceId><status>{state}</status></item></attachmentSet>")
}

fn volumes(volumes: &[String], next: &str) -> Answer {
    let content = format!("<volumeSet>{}</volumeSet><nextToken>{next}</nextToken>", volumes.concat());
    response("DescribeVolumes", &content)
}

fn snapshot(id: &str, state: &str, more: &str) -> String {
    format!("<item><snapshotId>{id}</snapshotId><volumeId>vol-1</volumeId><status>{state}</status>{more}</item>")
}

fn snapshots(snapshots: &[String], next: &str) -> Answer {
    let content = format!("<snapshotSet>{}</snapshotSet><nextToken>{next}</nextToken>", snapshots.concat());
    response("DescribeSnapshots", &content)
}

fn made() -> Answer {
    response("CreateVolume", "<volumeId>vol-1</volumeId><status>creating</status>")
}

fn check_fields(form: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (field, value) in expected {
        assert_eq!(form.get(*field).map(String::as_str), Some(*value), "{field} of {form:#?}");
    }
}

/// The tags of a request, by key.
fn tagged(form: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let at = |at: u32| {
        let field = |name: &str| form.get(&format!("TagSpecification.1.Tag.{at}.{name}")).map(String::as_str);
        Some((field("Key")?, field("Value")?))
    };
    (1..).map_while(at).collect()
}

#[tokio::test]
async fn a_volume_is_made_where_its_machine_is() {
    let bench = Bench::new([machine("i-1", "pending"), made()]);
    assert_eq!(bench.volumes.create(&wanted()).await, Ok(Some(VolumeId::new("vol-1"))));
    let asked = bench.asked();
    check_fields(&asked[0], &[("Action", "DescribeInstances"), ("Filter.4.Value.1", "2")]);
    check_fields(
        &asked[1],
        &[
            ("Action", "CreateVolume"),
            ("AvailabilityZone", "eu-central-1b"),
            ("VolumeType", "gp3"),
            ("Encrypted", "true"),
            ("Size", "200"),
            ("SnapshotId", "snap-1"),
            ("TagSpecification.1.ResourceType", "volume"),
        ],
    );
    let disk = of().disk.to_string();
    let expected = [
        ("slipway:deployment", "test"),
        ("slipway:tenant", "research"),
        ("slipway:owner", "ada:2clovelace@example.com"),
        ("slipway:disk", &*disk),
        ("slipway:use", "7"),
        ("Name", "datasets"),
    ];
    assert_eq!(tagged(&asked[1]), expected.into());
    assert_eq!(asked[1]["ClientToken"].len(), 64);
}

/// The client token of an order.
async fn token(order: VolumeOrder) -> String {
    let bench = Bench::new([machine("i-1", "running"), made()]);
    bench.volumes.create(&order).await.unwrap();
    bench.asked()[1]["ClientToken"].clone()
}

#[tokio::test]
async fn each_use_of_a_disk_has_one_token() {
    let (usual, other) = (token(wanted()).await, DiskRef { disk: DiskId::new(NOW, &[5; 32]), ..of() });
    assert_eq!(token(wanted()).await, usual);
    assert_eq!(token(VolumeOrder { name: DiskName::parse("renamed").unwrap(), ..wanted() }).await, usual);
    for different in [
        VolumeOrder { uses: 8, ..wanted() },
        VolumeOrder { size_gb: 201, ..wanted() },
        VolumeOrder { from: None, ..wanted() },
        VolumeOrder { of: other, ..wanted() },
    ] {
        assert_ne!(token(different.clone()).await, usual, "{different:?}");
    }
}

async fn check_create(answers: Vec<Answer>, expected: Result<Option<&str>, VolumeError>, actions: &[&str]) {
    let bench = Bench::new(answers);
    let expected = expected.map(|id| id.map(VolumeId::new));
    assert_eq!(bench.volumes.create(&wanted()).await, expected, "{actions:?}");
    assert_eq!(bench.actions(), actions);
}

fn refusal(why: &str) -> VolumeError {
    VolumeError::Refused(why.to_owned())
}

fn later(why: &str) -> VolumeError {
    PortError::Unavailable(why.to_owned()).into()
}

#[tokio::test]
async fn nothing_is_made_before_its_machine_is_known() {
    let look = "DescribeInstances";
    check_create(vec![nothing()], Ok(None), &[look]).await;
    check_create(vec![page(&[instance("i-1", "pending", "")], "")], Ok(None), &[look]).await;
    check_create(vec![machine("i-1", "terminated")], Err(refusal("its machine is gone")), &[look]).await;
}

#[tokio::test]
async fn each_refusal_of_a_volume_has_a_reason() {
    for (status, code, expected) in [
        (400, "InvalidSnapshot.NotFound", refusal("its snapshot is not there any more")),
        (400, "VolumeLimitExceeded", refusal("the account may have no more volumes")),
        (400, "InvalidParameterValue", refusal("EC2 refused it (InvalidParameterValue)")),
        (400, "IncorrectState", later("what it is about is not in the right state yet")),
        (400, "InsufficientVolumeCapacity", later("EC2 has no room for a volume in this zone now")),
    ] {
        let answers = vec![machine("i-1", "running"), refused(status, code)];
        check_create(answers, Err(expected), &["DescribeInstances", "CreateVolume snap-1"]).await;
    }
    let bench = Bench::new([machine("i-1", "running")].into_iter().chain((0..3).map(|_| throttled())));
    assert_eq!(bench.volumes.create(&wanted()).await, Err(PortError::Throttled.into()));
    let bench = Bench::new([machine("i-1", "running"), Answer::Timeout, made()]);
    assert_eq!(bench.volumes.create(&wanted()).await, Ok(Some(VolumeId::new("vol-1"))));
    let asked = bench.asked();
    assert_eq!(asked[1]["ClientToken"], asked[2]["ClientToken"], "asked again as before");
}

fn throttled() -> Answer {
    refused(503, "RequestLimitExceeded")
}

#[tokio::test]
async fn a_volume_that_was_worded_otherwise_is_found() {
    let zone = |zone: &str| format!("<availabilityZone>{zone}</availabilityZone>");
    let actions = ["DescribeInstances", "CreateVolume snap-1", "DescribeVolumes"];
    let with = |found: &[String]| {
        vec![machine("i-1", "running"), refused(400, "IdempotentParameterMismatch"), volumes(found, "")]
    };
    let here = volume("vol-2", "available", &zone("eu-central-1b"));
    check_create(with(&[here]), Ok(Some("vol-2")), &actions).await;
    let elsewhere = volume("vol-2", "available", &zone("eu-central-1a"));
    let expected = || Err(refusal("its volume was made for another place"));
    check_create(with(&[elsewhere]), expected(), &actions).await;
    check_create(with(&[volume("vol-2", "deleting", &zone("eu-central-1b"))]), expected(), &actions).await;
}

#[tokio::test]
async fn in_a_cluster_the_zone_is_set_and_the_driver_may_have_it() {
    let bench = Bench::new([made(), volumes(&[volume("vol-1", "in-use", &in_cluster())], "")]);
    let of_cluster = bench.volumes.in_zone("eu-central-1c");
    assert_eq!(of_cluster.create(&wanted()).await, Ok(Some(VolumeId::new("vol-1"))));
    let asked = bench.asked();
    check_fields(&asked[0], &[("Action", "CreateVolume"), ("AvailabilityZone", "eu-central-1c")]);
    assert_eq!(tagged(&asked[0])["ebs.csi.aws.com/cluster"], "true");
    // The driver takes it away, whoever asks.
    assert_eq!(bench.volumes.detach(&VolumeId::new("vol-1")).await, Ok(false));
    assert_eq!(bench.actions(), ["DescribeVolumes vol-1"]);
}

fn in_cluster() -> String {
    fixed("i-9", "attached") + &tags(&[("ebs.csi.aws.com/cluster", "true")])
}

async fn check_attach(answers: Vec<Answer>, expected: Result<Attachment, VolumeError>, actions: &[&str]) {
    let bench = Bench::new(answers);
    let attempt = order().of();
    assert_eq!(bench.volumes.attach(&VolumeId::new("vol-0a1b"), &attempt).await, expected, "{actions:?}");
    assert_eq!(bench.actions(), actions);
}

const MACHINE: &str = "DescribeInstances";
const LOOK: &str = "DescribeVolumes vol-0a1b";
const FIX: &str = "AttachVolume vol-0a1b i-1";

fn there() -> Result<Attachment, VolumeError> {
    Ok(Attachment::There(Device::Serial("vol0a1b".to_owned())))
}

fn one(state: &str, more: &str) -> Answer {
    volumes(&[volume("vol-0a1b", state, more)], "")
}

#[tokio::test]
async fn a_volume_is_fixed_when_both_are_ready() {
    let coming = || Ok(Attachment::Coming);
    let machine = |state: &str| machine("i-1", state);
    check_attach(vec![nothing()], coming(), &[MACHINE]).await;
    check_attach(vec![machine("shutting-down")], Err(refusal("its machine is gone")), &[MACHINE]).await;
    let late = || refused(400, "InvalidVolume.NotFound");
    check_attach(vec![machine("running"), late()], coming(), &[MACHINE, LOOK]).await;
    for (state, volume, expected) in [
        ("running", one("creating", ""), coming()),
        ("pending", one("available", ""), coming()),
        ("running", one("in-use", &fixed("i-1", "attaching")), coming()),
        ("running", one("in-use", &fixed("i-1", "attached")), there()),
        ("running", one("in-use", &fixed("i-2", "detaching")), coming()),
        ("running", one("in-use", &fixed("i-2", "attached")), Err(refusal("another machine has its volume"))),
        ("running", one("error", ""), Err(refusal("its volume could not be made"))),
    ] {
        check_attach(vec![machine(state), volume], expected, &[MACHINE, LOOK]).await;
    }
    let fixing = |state: &str| response("AttachVolume", &format!("<status>{state}</status>"));
    for (answer, expected) in [
        (fixing("attaching"), coming()),
        (fixing("attached"), there()),
        (refused(400, "IncorrectState"), coming()),
        (refused(400, "VolumeInUse"), coming()),
        (refused(400, "InvalidVolume.ZoneMismatch"), Err(refusal("its volume is in another zone than its machine"))),
        (refused(400, "AttachmentLimitExceeded"), Err(refusal("its machine may have no more volumes"))),
        (refused(503, "Unavailable"), Err(later("Unavailable: recorded"))),
        (Answer::Timeout, Err(later("no answer in time"))),
    ] {
        let answers = vec![machine("running"), one("available", ""), answer];
        check_attach(answers, expected, &[MACHINE, LOOK, FIX]).await;
    }
}

#[tokio::test]
async fn what_is_asked_of_a_machine_outlives_it() {
    let fixing = response("AttachVolume", "<status>attaching</status>");
    let bench = Bench::new([machine("i-1", "running"), one("available", ""), fixing]);
    bench.volumes.attach(&VolumeId::new("vol-0a1b"), &order().of()).await.unwrap();
    let asked = bench.asked().pop().unwrap();
    check_fields(&asked, &[("VolumeId", "vol-0a1b"), ("InstanceId", "i-1"), ("Device", "/dev/sdf")]);
    assert!(!asked.keys().any(|field| field.contains("DeleteOnTermination")));
}

async fn check_detach(answers: Vec<Answer>, expected: Result<bool, PortError>, actions: &[&str]) {
    let bench = Bench::new(answers);
    assert_eq!(bench.volumes.detach(&VolumeId::new("vol-0a1b")).await, expected, "{actions:?}");
    assert_eq!(bench.actions(), actions);
}

#[tokio::test]
async fn a_volume_is_free_when_ec2_says_so() {
    let take = "DetachVolume vol-0a1b";
    for (answer, expected) in [
        (one("available", ""), true),
        (one("deleting", ""), true),
        (one("error", ""), true),
        (refused(400, "InvalidVolume.NotFound"), true),
        (one("creating", ""), false),
        (one("in-use", &fixed("i-1", "detaching")), false),
        (one("in-use", &fixed("i-1", "attaching")), false),
        (one("in-use", &fixed("i-1", "busy")), false),
        (one("a-new-state", ""), false),
    ] {
        check_detach(vec![answer], Ok(expected), &[LOOK]).await;
    }
    let fixed = || one("in-use", &fixed("i-1", "attached"));
    let taken = response("DetachVolume", "<status>detaching</status>");
    check_detach(vec![fixed(), taken], Ok(false), &[LOOK, take]).await;
    check_detach(vec![fixed(), refused(400, "IncorrectState")], Ok(false), &[LOOK, take]).await;
    let denied = PortError::Unavailable("UnauthorizedOperation: recorded".into());
    check_detach(vec![fixed(), refused(403, "UnauthorizedOperation")], Err(denied), &[LOOK, take]).await;
}

async fn check_snapshot(answers: Vec<Answer>, expected: Result<&str, VolumeError>, actions: &[&str]) {
    let bench = Bench::new(answers);
    assert_eq!(bench.volumes.snapshot(&backup()).await, expected.map(SnapshotId::new), "{actions:?}");
    assert_eq!(bench.actions(), actions);
}

const SNAPSHOTS: &str = "DescribeSnapshots";
const BEGIN: &str = "CreateSnapshot vol-1";

#[tokio::test]
async fn a_snapshot_is_looked_for_before_it_is_made() {
    let began = || response("CreateSnapshot", "<snapshotId>snap-2</snapshotId><status>pending</status>");
    let bench = Bench::new([snapshots(&[], ""), began()]);
    assert_eq!(bench.volumes.snapshot(&backup()).await, Ok(SnapshotId::new("snap-2")));
    let asked = bench.asked();
    let operation = backup().operation.to_string();
    check_fields(
        &asked[0],
        &[
            ("Owner.1", "self"),
            ("Filter.1.Name", "tag:slipway:deployment"),
            ("Filter.1.Value.1", "test"),
            ("Filter.2.Name", "tag:slipway:operation"),
            ("Filter.2.Value.1", &operation),
            ("Filter.3.Name", "volume-id"),
            ("Filter.3.Value.1", "vol-1"),
        ],
    );
    check_fields(&asked[1], &[("VolumeId", "vol-1"), ("TagSpecification.1.ResourceType", "snapshot")]);
    let tags = tagged(&asked[1]);
    assert_eq!((tags["slipway:operation"], tags["Name"]), (&*operation, "datasets"));
    assert_eq!((tags["slipway:deployment"], tags["slipway:tenant"], tags.len()), ("test", "research", 6));

    let at = |time: &str| format!("<startTime>2026-01-20T{time}.000Z</startTime>");
    let (early, late) =
        (snapshot("snap-8", "pending", &at("18:00:00")), snapshot("snap-7", "pending", &at("18:00:09")));
    let failed = || snapshot("snap-6", "error", &at("17:00:00"));
    let whole = snapshot("snap-9", "completed", &at("18:01:00"));
    check_snapshot(vec![snapshots(&[late.clone(), failed(), early.clone()], "")], Ok("snap-8"), &[SNAPSHOTS]).await;
    check_snapshot(vec![snapshots(&[late, early, whole], "")], Ok("snap-9"), &[SNAPSHOTS]).await;
    check_snapshot(vec![snapshots(&[failed()], ""), began()], Ok("snap-2"), &[SNAPSHOTS, BEGIN]).await;
}

#[tokio::test]
async fn a_snapshot_is_asked_for_once_and_its_refusal_has_a_reason() {
    let later = |why: &str| later(why);
    for (answer, expected) in [
        (refused(400, "InvalidVolume.NotFound"), refusal("there is no such volume")),
        (refused(400, "SnapshotLimitExceeded"), refusal("the account may have no more snapshots")),
        (refused(400, "ConcurrentSnapshotLimitExceeded"), later("too many snapshots are under way")),
        (refused(400, "SnapshotCreationPerVolumeRateExceeded"), PortError::Throttled.into()),
        (throttled(), PortError::Throttled.into()),
        (refused(500, "InternalError"), later("InternalError: recorded")),
        (Answer::Timeout, later("no answer in time")),
    ] {
        check_snapshot(vec![snapshots(&[], ""), answer], Err(expected), &[SNAPSHOTS, BEGIN]).await;
    }
}

#[tokio::test]
async fn how_far_a_snapshot_is() {
    let failed = |why: &str| SnapshotState::Failed(why.to_owned());
    let found = |state: &str, more: &str| snapshots(&[snapshot("snap-1", state, more)], "");
    for (answer, expected) in [
        (found("pending", ""), SnapshotState::Pending),
        (found("recovering", ""), SnapshotState::Pending),
        (found("completed", ""), SnapshotState::Completed),
        (found("error", "<statusMessage>no key</statusMessage>"), failed("no key")),
        (found("error", ""), failed("EC2 does not say why")),
        (found("recoverable", ""), failed("it was deleted")),
        (snapshots(&[], ""), failed("it is not there any more")),
        (refused(400, "InvalidSnapshot.NotFound"), failed("it is not there any more")),
    ] {
        let bench = Bench::new([answer]);
        assert_eq!(bench.volumes.snapshot_state(&SnapshotId::new("snap-1")).await, Ok(expected));
        assert_eq!(bench.actions(), ["DescribeSnapshots snap-1"]);
    }
}

#[tokio::test]
async fn names_are_written_on_snapshots() {
    let id = SnapshotId::new("snap-1");
    let bench = Bench::new([response("CreateTags", "<return>true</return>"), refused(400, "InvalidSnapshot.NotFound")]);
    assert_eq!(bench.volumes.tag(&id, &name()).await, Ok(()));
    check_fields(
        &bench.asked()[0],
        &[("Action", "CreateTags"), ("ResourceId.1", "snap-1"), ("Tag.1.Key", "Name"), ("Tag.1.Value", "datasets")],
    );
    assert_eq!(bench.volumes.tag(&id, &name()).await, Err(refusal("its snapshot is not there any more")));
}

#[tokio::test]
async fn what_is_gone_is_removed_already() {
    let (volume, snapshot) = (VolumeId::new("vol-1"), SnapshotId::new("snap-1"));
    let unavailable = |code: &str| Err(PortError::Unavailable(format!("{code}: recorded")));
    for (code, expected) in [
        ("InvalidVolume.NotFound", Ok(())),
        ("VolumeInUse", unavailable("VolumeInUse")),
        ("IncorrectState", unavailable("IncorrectState")),
    ] {
        let bench = Bench::new([refused(400, code)]);
        assert_eq!(bench.volumes.delete_volume(&volume).await, expected);
        assert_eq!(bench.actions(), ["DeleteVolume vol-1"]);
    }
    for (code, expected) in
        [("InvalidSnapshot.NotFound", Ok(())), ("InvalidSnapshot.InUse", unavailable("InvalidSnapshot.InUse"))]
    {
        let bench = Bench::new([refused(400, code)]);
        assert_eq!(bench.volumes.delete_snapshot(&snapshot).await, expected);
        assert_eq!(bench.actions(), ["DeleteSnapshot snap-1"]);
    }
    let done = ["DeleteVolume", "DeleteSnapshot"].map(|action| response(action, "<return>true</return>"));
    let bench = Bench::new(done);
    assert_eq!(bench.volumes.delete_volume(&volume).await, Ok(()));
    assert_eq!(bench.volumes.delete_snapshot(&snapshot).await, Ok(()));
}

#[tokio::test]
async fn everything_with_our_tags_is_listed_through_all_pages() {
    let uses = |uses: &str| ours(("slipway:use", uses));
    let strange = volume("vol-3", "available", &uses("many"));
    let leaving = volume("vol-4", "deleting", &uses("6"));
    let bench = Bench::new([
        volumes(&[volume("vol-1", "in-use", &uses("7")), strange, leaving], "more"),
        volumes(&[volume("vol-2", "available", &uses("8"))], ""),
    ]);
    let known = |id: &str, uses| TaggedVolume { volume: VolumeId::new(id), of: of(), uses };
    assert_eq!(bench.volumes.volumes().await, Ok(vec![known("vol-1", 7), known("vol-2", 8)]));
    let asked = bench.asked();
    check_fields(
        &asked[0],
        &[("Filter.1.Value.1", "test"), ("Filter.2.Name", "tag-key"), ("Filter.2.Value.1", "slipway:disk")],
    );
    assert_eq!((asked[0].get("NextToken"), asked[1]["NextToken"].as_str()), (None, "more"));

    let operation = backup().operation;
    let tags = ours(("slipway:operation", &operation.to_string()));
    let copy = snapshot("snap-3", "completed", &tags).replace("vol-1", "vol-ffffffff");
    let bench = Bench::new([
        snapshots(&[snapshot("snap-1", "completed", &tags), snapshot("snap-2", "completed", "")], "more"),
        snapshots(&[copy], ""),
    ]);
    let known = |id: &str, volume: &str| TaggedSnapshot {
        snapshot: SnapshotId::new(id),
        of: of(),
        operation,
        volume: VolumeId::new(volume),
    };
    let expected = vec![known("snap-1", "vol-1"), known("snap-3", "vol-ffffffff")];
    assert_eq!(bench.volumes.snapshots().await, Ok(expected), "a copy is listed as what it is");
    let asked = bench.asked();
    check_fields(&asked[0], &[("Owner.1", "self"), ("Filter.2.Value.1", "slipway:operation")]);
    assert_eq!(asked[1]["NextToken"], "more");
    let silent = PortError::Unavailable("no answer in time".into());
    let answers = [volumes(&[], "more")].into_iter().chain([const { Answer::Timeout }; 3]);
    assert_eq!(Bench::new(answers).volumes.volumes().await, Err(silent), "half a list is none");
}
