//! What settings make which fleets.

use aws_core::Environment;
use cloud::{Attempt, AwsCredentials, PortError, SystemClock, VolumeError};
use domain::{PoolId, Secret, TenantId, Timestamp, VolumeId, WorkloadId};

use super::*;

const SET: [(&str, &str); 19] = [
    ("DEPLOYMENT", "test"),
    ("PLANE_URL", "https://gpus.example.com"),
    ("EC2_IMAGE_ID", "ami-1"),
    ("EC2_ROOT_GIB", "200"),
    ("EC2_SUBNETS", "eu-central-1a=subnet-1, eu-central-1b=subnet-2"),
    ("EC2_SECURITY_GROUP", "sg-1"),
    ("EC2_PUBLIC_ADDRESSES", "false"),
    ("EC2_MARKETS", "spot,on-demand"),
    ("AGENT_URL", "https://example.com/agent"),
    ("AGENT_SHA256", "00"),
    ("EKS_CLUSTER", "gpus"),
    ("EKS_ENDPOINT", "http://127.0.0.1:1"),
    ("EKS_AUTHORITY", ""),
    ("EKS_NAMESPACE", "slipway"),
    ("EKS_AGENT_IMAGE", "registry.example.com/agent:1"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
    ("GITHUB_URL", ""),
];

/// A certificate that signs itself and whose key nobody has: PEM, in base64.
const AUTHORITY: &str = include_str!("tests/authority.txt");

fn config() -> Config {
    let named = |name: &str| match name {
        "TABLE_PREFIX" | "DOORBELLS_URL" | "RECONCILES_URL" | "DISKS_URL" | "STATE_MACHINE_ARN" | "KMS_KEY_ID"
        | "SERVICE_SECRET_ID" | "ORIGIN_SECRET_ID" => Some("x".to_owned()),
        other => SET.iter().find(|(set, _)| *set == other).map(|(_, value)| (*value).to_owned()),
    };
    Config::read(named).unwrap()
}

fn sdk() -> Sdk {
    let secret = |text: &str| Secret::new(text);
    let credentials = AwsCredentials {
        access_key_id: secret("ASIAEXAMPLE"),
        secret_access_key: secret("secret"),
        session_token: secret(""),
    };
    let region = "eu-central-1".to_owned();
    Sdk::new(Environment { region, credentials, endpoint: Some("http://127.0.0.1:1".into()) }, Arc::new(SystemClock))
}

/// Which fleets there are, or what is wrong, when some settings are other than usual.
async fn check(changes: &[(&str, &str)], expected: Result<&[&str], &str>) {
    let value = |name: &str| {
        let changed = changes.iter().find(|(changed, _)| *changed == name);
        let usual = SET.iter().find(|(set, _)| *set == name && name != "EKS_AUTHORITY");
        let authority = (name == "EKS_AUTHORITY").then(|| AUTHORITY.trim().to_owned());
        changed.or(usual).map(|(_, value)| (*value).to_owned()).or(authority)
    };
    let variables = Variables::new(value);
    match (read(&config(), &sdk(), &variables).await, expected) {
        (Ok(outside), Ok(there)) => {
            for pool in ["ec2", "eks", "moon"] {
                let workload = WorkloadId::new(Timestamp::from_millis(0), &[1; 32]);
                let attempt = Attempt {
                    tenant: TenantId::new("t"),
                    workload,
                    number: 1,
                    pool: PoolId::new(format!("{pool}/h100")),
                };
                let Err(PortError::Unavailable(why)) = outside.fleet.describe(&attempt).await else {
                    panic!("{pool}: nobody listens there")
                };
                assert_eq!(!why.contains("is not set up"), there.contains(&pool), "{changes:?}: {why}");
                let attached = outside.volumes.attach(&VolumeId::new("vol-1"), &attempt).await;
                let disks = !matches!(&attached, Err(VolumeError::Refused(why)) if why.contains("nothing here"));
                let zone = pool != "eks" || changes.iter().any(|(name, _)| *name == "EKS_ZONE");
                assert_eq!(disks, there.contains(&pool) && zone, "{changes:?}: {attached:?}");
            }
        }
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{changes:?}: {error}"),
        (Ok(_), Err(part)) => panic!("{changes:?}: {part} was expected"),
        (Err(error), Ok(_)) => panic!("{changes:?}: {error}"),
    }
}

#[tokio::test]
async fn fleets_are_there_when_their_settings_are() {
    check(&[("EC2_SUBNETS", ""), ("EKS_CLUSTER", "")], Ok(&[])).await;
    check(&[("EC2_SUBNETS", "")], Ok(&["eks"])).await;
    check(&[("EKS_CLUSTER", "")], Ok(&["ec2"])).await;
    check(&[("EC2_SUBNETS", ""), ("EKS_ZONE", "eu-central-1a")], Ok(&["eks"])).await;
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    for (change, part) in [
        (("DEPLOYMENT", ""), "DEPLOYMENT is not set"),
        (("EC2_IMAGE_ID", ""), "EC2_IMAGE_ID is not set"),
        (("EC2_ROOT_GIB", "big"), "EC2_ROOT_GIB"),
        (("EC2_SUBNETS", "subnet-1"), "EC2_SUBNETS"),
        (("EC2_SUBNETS", "a=vpc-1"), "EC2_SUBNETS"),
        (("EC2_MARKETS", "black"), "EC2_MARKETS"),
        (("EC2_PUBLIC_ADDRESSES", "maybe"), "EC2_PUBLIC_ADDRESSES"),
        (("PLANE_URL", ""), "PLANE_URL"),
        (("EKS_AGENT_IMAGE", ""), "EKS_AGENT_IMAGE is not set"),
        (("EKS_ENDPOINT", "http://cluster.example.com"), "only https"),
        (("EKS_AUTHORITY", "nonsense"), "EKS_AUTHORITY"),
    ] {
        check(&[change], Err(part)).await;
    }
}
