//! The contract with EC2: what goes over the wire, and what each recorded answer becomes.

mod accounts;
mod limits;
mod orders;
mod sights;
mod volumes;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_core::{
    Environment, Sdk,
    replay::{Answer, Asked, NOW, Replay, TestClock},
};
use cloud::{AwsCredentials, Order};
use domain::{NodeId, PoolId, Secret, TenantId, WorkloadId, gpu::Gpu};

use crate::{AgentBinary, EbsVolumes, Ec2Fleet, Market, Settings, Subnet};

/// Four A10Gs on a g5.12xlarge.
pub(crate) fn order() -> Order {
    Order {
        tenant: TenantId::new("research"),
        workload: WorkloadId::new(NOW, &[7; 32]),
        attempt: 2,
        pool: PoolId::new("ec2/a10g"),
        node: NodeId::new("aws-budget"),
        gpus: 4,
        gpu: Gpu::A10g,
        instance_type: "g5.12xlarge".into(),
        life: Some(Duration::from_secs(4 * 3_600)),
        serves: false,
        use_spot: false,
        image: "pytorch/pytorch:2.1".into(),
        disk: None,
        enroll_token: Secret::new("swe_once"),
    }
}

/// Two zones, on demand.
pub(crate) fn settings() -> Settings {
    let subnet = |letter: &str| Subnet { zone: format!("eu-central-1{letter}"), id: format!("subnet-{letter}") };
    Settings {
        deployment: "test".into(),
        region: "eu-central-1".into(),
        image_id: "ami-1".into(),
        root_device: "/dev/xvda".into(),
        root_gib: 200,
        subnets: vec![subnet("a"), subnet("b")],
        markets: vec![Market::OnDemand],
        security_groups: vec!["sg-1".into()],
        public_addresses: false,
        instance_profile: None,
        plane: "https://gpus.example.com".into(),
        agent: AgentBinary { url: "https://example.com/agent".into(), sha256: "a".repeat(64) },
        enrol_within: crate::settings::ENROL_WITHIN,
        longest_life: Duration::from_secs(48 * 3_600),
    }
}

/// A fleet and disks whose EC2 answers from a list.
struct Bench {
    replay: Replay,
    clock: Arc<TestClock>,
    fleet: Ec2Fleet,
    volumes: EbsVolumes,
}

impl Bench {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::with(settings(), answers)
    }

    fn with(settings: Settings, answers: impl IntoIterator<Item = Answer>) -> Self {
        let credentials = AwsCredentials {
            access_key_id: Secret::new("ASIAOURSOURSOURSOURS"),
            secret_access_key: Secret::new("ours"),
            session_token: Secret::new("our-token"),
        };
        let environment = Environment { region: "eu-central-1".into(), credentials, endpoint: None };
        let (replay, clock) = (Replay::new(answers), TestClock::new());
        let sdk = Sdk::over(environment, replay.clone(), clock.clone());
        let volumes = EbsVolumes::new(&sdk, &settings.deployment);
        Self { fleet: Ec2Fleet::new(&sdk, settings), volumes, replay, clock }
    }

    /// What was asked since the last time, as the fields of its forms.
    fn asked(&self) -> Vec<BTreeMap<String, String>> {
        self.replay.asked().iter().map(form).collect()
    }

    /// What was asked since the last time, in short: the action, and what it was about.
    fn actions(&self) -> Vec<String> {
        let short = |form: &BTreeMap<String, String>| {
            let about = [
                "InstanceType",
                "NetworkInterface.1.SubnetId",
                "InstanceId.1",
                "VolumeId",
                "InstanceId",
                "VolumeId.1",
                "SnapshotId",
                "SnapshotId.1",
                "ResourceId.1",
            ];
            let about = about.iter().filter_map(|name| form.get(*name));
            std::iter::once(&form["Action"]).chain(about).cloned().collect::<Vec<_>>().join(" ")
        };
        self.asked().iter().map(short).collect()
    }
}

/// The fields of a form.
fn form(asked: &Asked) -> BTreeMap<String, String> {
    let fields = asked.body.split('&').filter_map(|field| field.split_once('='));
    fields.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// An instance of the order's attempt, as EC2 writes it.
fn instance(id: &str, state: &str, more: &str) -> String {
    let order = order();
    format!(
        "<item><instanceId>{id}</instanceId><instanceState><code>0</code><name>{state}</name></instanceState>\
         <launchTime>2026-01-20T18:30:00.000Z</launchTime><privateIpAddress>10.0.0.5</privateIpAddress>{more}<tagSet>\
         <item><key>slipway:workload</key><value>{}</value></item><item><key>slipway:attempt</key><value>{}</value></item>\
         <item><key>slipway:tenant</key><value>{}</value></item><item><key>slipway:pool</key><value>{}</value></item></tagSet></item>",
        order.workload, order.attempt, order.tenant, order.pool
    )
}

fn made(id: &str) -> Answer {
    Answer::ok(format!(
        "<RunInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><reservationId>r-1</reservationId><instancesSet>{}\
         </instancesSet></RunInstancesResponse>",
        instance(id, "pending", "")
    ))
}

/// A page of instances; there is another behind it if `next` is a token.
fn page(instances: &[String], next: &str) -> Answer {
    let instances = instances.iter().map(|one| format!("<item><instancesSet>{one}</instancesSet></item>"));
    Answer::ok(format!(
        "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><reservationSet>{}</reservationSet>\
         <nextToken>{next}</nextToken></DescribeInstancesResponse>",
        instances.collect::<String>()
    ))
}

fn nothing() -> Answer {
    page(&[], "")
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::Body(
        status,
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>recorded</Message></Error></Errors>\
             <RequestID>r</RequestID></Response>"
        ),
    )
}

fn terminated() -> Answer {
    Answer::ok("<TerminateInstancesResponse><instancesSet/></TerminateInstancesResponse>")
}
