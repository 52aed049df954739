//! Orders: what is asked for, what is asked again, and what is tried instead.

use aws_core::replay::Answer;
use base64::{Engine, engine::general_purpose::STANDARD};
use cloud::{Fleet, FleetError, Order, PortError, Provisioned};
use domain::{InstanceId, workload::Address};

use super::{Bench, instance, made, nothing, order, page, refused, settings, terminated};
use crate::{
    Market, Settings,
    offers::{client_token, offers},
    user_data::user_data,
};

fn provisioned(id: &str, host: &str) -> Provisioned {
    let address = Address { host: host.into(), ssh_port: 22_022, jupyter_port: 8_888, model_port: None };
    Provisioned { instance: InstanceId::new(id), address }
}

const LOOK: &str = "DescribeInstances";
const A12: &str = "RunInstances g5.12xlarge subnet-a";
const B12: &str = "RunInstances g5.12xlarge subnet-b";
const A24: &str = "RunInstances g5.24xlarge subnet-a";

#[tokio::test]
async fn one_machine_is_asked_for_with_everything() {
    let bench = Bench::new([nothing(), made("i-1")]);
    assert_eq!(bench.fleet.provision(&order()).await, Ok(provisioned("i-1", "10.0.0.5")));
    let asked = bench.asked();
    let workload = order().workload.to_string();
    for (at, (name, value)) in [
        ("slipway:deployment", "test"),
        ("slipway:tenant", "research"),
        ("slipway:workload", &workload),
        ("slipway:attempt", "2"),
    ]
    .into_iter()
    .enumerate()
    {
        let filter = format!("Filter.{}", at + 1);
        assert_eq!(asked[0][&format!("{filter}.Name")], format!("tag:{name}"));
        assert_eq!(asked[0][&format!("{filter}.Value.1")], value);
    }
    let form = &asked[1];
    let token = client_token(&order(), "eu-central-1", &offers(&order(), &settings())[0]);
    for (field, value) in [
        ("ClientToken", token.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("ImageId", "ami-1"),
        ("InstanceType", "g5.12xlarge"),
        ("InstanceInitiatedShutdownBehavior", "terminate"),
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpPutResponseHopLimit", "1"),
        ("MetadataOptions.HttpEndpoint", "enabled"),
        ("NetworkInterface.1.SubnetId", "subnet-a"),
        ("NetworkInterface.1.SecurityGroupId.1", "sg-1"),
        ("NetworkInterface.1.AssociatePublicIpAddress", "false"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "200"),
        ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.2.ResourceType", "volume"),
        ("TagSpecification.3.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "slipway:workload"),
        ("TagSpecification.3.Tag.1.Value", &workload),
        ("TagSpecification.2.Tag.5.Value", "test"),
    ] {
        assert_eq!(form.get(field).map(String::as_str), Some(value), "{field} of {form:#?}");
    }
    let told = String::from_utf8(STANDARD.decode(&form["UserData"]).unwrap()).unwrap();
    assert_eq!(told, user_data(&order(), &settings()).unwrap().reveal());
    for absent in
        ["KeyName", "IamInstanceProfile.Name", "InstanceMarketOptions.MarketType", "TagSpecification.4.ResourceType"]
    {
        assert!(!form.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn a_spot_machine_with_a_role_and_a_public_address() {
    let settings = Settings {
        markets: vec![Market::Spot],
        instance_profile: Some("node".into()),
        public_addresses: true,
        ..settings()
    };
    let public = instance("i-1", "running", "<ipAddress>198.51.100.7</ipAddress>");
    let later = page(&[instance("i-1", "pending", "")], "");
    let bench = Bench::with(settings.clone(), [nothing(), made("i-1"), nothing(), later.clone(), page(&[public], "")]);
    assert_eq!(bench.fleet.provision(&order()).await, Ok(provisioned("i-1", "198.51.100.7")));
    let form = &bench.asked()[1];
    for (field, value) in [
        ("IamInstanceProfile.Name", "node"),
        ("InstanceMarketOptions.MarketType", "spot"),
        ("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time"),
        ("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate"),
        ("NetworkInterface.1.AssociatePublicIpAddress", "true"),
        ("TagSpecification.4.ResourceType", "spot-instances-request"),
    ] {
        assert_eq!(form.get(field).map(String::as_str), Some(value), "{field} of {form:#?}");
    }
    // One that has no address yet is asked about again, and found.
    let answers = [vec![nothing(), made("i-1")], vec![later; 5]].concat();
    let bench = Bench::with(settings, answers);
    let expected = PortError::Unavailable("i-1 has no address yet".into());
    assert_eq!(bench.fleet.provision(&order()).await, Err(expected.into()));
}

async fn check(answers: Vec<Answer>, expected: Result<&str, FleetError>, actions: &[&str]) {
    let bench = Bench::new(answers.clone());
    let became = bench.fleet.provision(&order()).await.map(|made| made.instance);
    assert_eq!(became, expected.map(InstanceId::new), "{answers:?}");
    assert_eq!(bench.actions(), actions, "{answers:?}");
    assert_eq!(bench.replay.left(), 0, "{answers:?}");
}

#[tokio::test]
async fn what_is_there_is_the_answer() {
    let page = |instances: &[String]| page(instances, "");
    check(vec![page(&[instance("i-1", "running", "")])], Ok("i-1"), &[LOOK]).await;
    // Of two the older stays; of equal age the one whose id is first.
    let two = page(&[instance("i-2", "pending", ""), instance("i-1", "running", "")]);
    check(vec![two, terminated()], Ok("i-1"), &[LOOK, "TerminateInstances i-2"]).await;
    let ended = || Err(FleetError::Refused("this attempt was ended".into()));
    check(vec![page(&[instance("i-1", "terminated", "")])], ended(), &[LOOK]).await;
    check(vec![page(&[instance("i-1", "shutting-down", "")])], ended(), &[LOOK]).await;
    check(vec![nothing(), refused(400, "IdempotentInstanceTerminated")], ended(), &[LOOK, A12]).await;
}

#[tokio::test]
async fn what_is_refused_here_is_tried_elsewhere() {
    // EC2 says so with status 500, and is not asked the same again.
    let none = || refused(500, "InsufficientInstanceCapacity");
    check(vec![nothing(), none(), made("i-1")], Ok("i-1"), &[LOOK, A12, B12]).await;
    check(vec![nothing(), none(), none(), made("i-1")], Ok("i-1"), &[LOOK, A12, B12, A24]).await;
    // A quota is the region's: the other zone need not be asked.
    check(vec![nothing(), refused(400, "VcpuLimitExceeded"), made("i-1")], Ok("i-1"), &[LOOK, A12, A24]).await;
    let all = [
        A12,
        B12,
        A24,
        "RunInstances g5.24xlarge subnet-b",
        "RunInstances g5.48xlarge subnet-a",
        "RunInstances g5.48xlarge subnet-b",
    ];
    let actions = [&[LOOK], &all[..]].concat();
    let six = |answer: fn() -> Answer| [vec![nothing()], (0..6).map(|_| answer()).collect()].concat();
    let capacity = FleetError::Capacity("all 6 offers were refused".into());
    check(six(|| refused(500, "InsufficientInstanceCapacity")), Err(capacity), &actions).await;
    let never = FleetError::Refused("no machine here has 4 a10g GPUs".into());
    check(six(|| refused(400, "Unsupported")), Err(never), &actions).await;
}

#[tokio::test]
async fn what_is_unclear_is_asked_again_before_anything_else() {
    for unclear in [Answer::Timeout, Answer::Unreachable, refused(503, "Unavailable"), refused(500, "InternalError")] {
        let again = vec![nothing(), unclear.clone(), nothing(), made("i-1")];
        check(again, Ok("i-1"), &[LOOK, A12, LOOK, A12]).await;
        let found = page(&[instance("i-1", "pending", "")], "");
        check(vec![nothing(), unclear.clone(), found.clone()], Ok("i-1"), &[LOOK, A12, LOOK]).await;
        // Refused the second time, it is looked for once more, and only then is something else tried.
        let none = refused(500, "InsufficientInstanceCapacity");
        let slow = vec![nothing(), unclear.clone(), nothing(), none.clone(), found];
        check(slow, Ok("i-1"), &[LOOK, A12, LOOK, A12, LOOK]).await;
        let lost = vec![nothing(), unclear, nothing(), none, nothing(), made("i-1")];
        check(lost, Ok("i-1"), &[LOOK, A12, LOOK, A12, LOOK, B12]).await;
    }
}

#[tokio::test]
async fn a_later_call_begins_with_what_is_unclear() {
    let none = refused(500, "InsufficientInstanceCapacity");
    let bench = Bench::new([nothing(), none, Answer::Timeout, nothing(), Answer::Timeout]);
    let silent = PortError::Unavailable("no answer in time".into());
    assert_eq!(bench.fleet.provision(&order()).await, Err(silent.into()));
    let first = bench.asked();
    bench.replay.then([nothing(), made("i-1")]);
    assert_eq!(bench.fleet.provision(&order()).await, Ok(provisioned("i-1", "10.0.0.5")));
    let second = bench.asked();
    assert_eq!(second[1]["NetworkInterface.1.SubnetId"], "subnet-b");
    assert_eq!(second[1], first[4], "the same request, word for word");
    // What is unclear goes before what was not refused, too.
    bench.replay.then([nothing(), Answer::Timeout, nothing(), Answer::Timeout]);
    let third = Order { attempt: 4, ..order() };
    assert!(bench.fleet.provision(&third).await.is_err());
    bench.replay.then([nothing(), refused(500, "InsufficientInstanceCapacity"), made("i-3")]);
    bench.fleet.provision(&Order { attempt: 5, ..order() }).await.unwrap();
    drop(bench.asked());
    bench.replay.then([nothing(), made("i-4")]);
    bench.fleet.provision(&third).await.unwrap();
    assert_eq!(bench.actions(), [LOOK, B12]);
    // The refusals are remembered: another order tries the other zone first.
    bench.replay.then([nothing(), made("i-2")]);
    bench.fleet.provision(&Order { attempt: 3, ..order() }).await.unwrap();
    assert_eq!(bench.actions(), [LOOK, B12]);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let denied = FleetError::Refused("EC2 refused the order (UnauthorizedOperation)".into());
    check(vec![nothing(), refused(403, "UnauthorizedOperation")], Err(denied), &[LOOK, A12]).await;
    let throttled = || FleetError::Port(PortError::Throttled);
    check(vec![nothing(), refused(503, "RequestLimitExceeded")], Err(throttled()), &[LOOK, A12]).await;
    let mismatch = PortError::Unavailable("IdempotentParameterMismatch: recorded".into());
    check(vec![nothing(), refused(400, "IdempotentParameterMismatch")], Err(mismatch.into()), &[LOOK, A12]).await;
    let blind = vec![refused(503, "RequestLimitExceeded"); 3];
    check(blind, Err(throttled()), &[LOOK; 3]).await;
    let bad = Order { image: "x".repeat(20_000), ..order() };
    let bench = Bench::new([nothing()]);
    assert!(matches!(bench.fleet.provision(&bad).await, Err(FleetError::Refused(_))));
}

#[tokio::test]
async fn an_attempt_that_was_ended_here_is_not_ordered() {
    let bench = Bench::new([nothing()]);
    bench.fleet.terminate(&order().of()).await.unwrap();
    assert_eq!(bench.fleet.provision(&order()).await, Err(FleetError::Refused("this attempt was ended".into())));
    assert_eq!(bench.actions(), [LOOK], "nothing was ordered");
}
