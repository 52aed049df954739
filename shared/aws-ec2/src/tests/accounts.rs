//! Machines in a tenant's own account: with the tenant's keys, in the tenant's network, and never in the installation's.

use aws_core::replay::Answer;
use cloud::{Fleet, FleetError, Sighting};
use domain::{
    Secret,
    credential::{AwsKeys, CloudKeys},
};

use super::{Bench, form, instance, made, nothing, order, page, refused, terminated};

fn keys(id: &str) -> CloudKeys {
    CloudKeys::Aws(AwsKeys {
        access_key_id: Secret::new(id),
        secret_access_key: Secret::new("theirs"),
        region: "us-west-2".to_owned(),
        session_token: None,
    })
}

fn subnets(subnets: &[(&str, &str, &str)]) -> Answer {
    let item = |(vpc, zone, id): &(&str, &str, &str)| {
        format!("<item><subnetId>{id}</subnetId><vpcId>{vpc}</vpcId><availabilityZone>{zone}</availabilityZone></item>")
    };
    let items = subnets.iter().map(item).collect::<String>();
    Answer::ok(format!("<DescribeSubnetsResponse><subnetSet>{items}</subnetSet></DescribeSubnetsResponse>"))
}

fn groups(ids: &[&str]) -> Answer {
    let items = ids.iter().map(|id| format!("<item><groupId>{id}</groupId></item>")).collect::<String>();
    Answer::ok(format!(
        "<DescribeSecurityGroupsResponse><securityGroupInfo>{items}</securityGroupInfo></DescribeSecurityGroupsResponse>"
    ))
}

fn public(id: &str) -> Answer {
    page(&[instance(id, "running", "<ipAddress>198.51.100.7</ipAddress>")], "")
}

/// What was asked, each by its action, and that all of it was signed with `key`.
fn signed(bench: &Bench, key: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    let asked = bench.replay.asked();
    for one in &asked {
        let authorization = one.header("authorization");
        assert!(authorization.contains(&format!("Credential={key}/")), "{authorization}");
        assert_eq!(one.header("x-amz-security-token"), "", "ours is not sent along");
    }
    asked.iter().map(form).collect()
}

#[tokio::test]
async fn an_order_is_signed_with_the_tenants_keys_and_put_where_the_account_says() {
    const KEY: &str = "AKIATHEIRSTHEIRSTHEI";
    let tagged = [("vpc-2", "eu-central-1b", "subnet-2b"), ("vpc-1", "eu-central-1a", "subnet-1a")];
    let answers = [
        nothing(),
        subnets(&tagged),
        groups(&["sg-9", "sg-3"]),
        made("i-1"),
        public("i-1"),
        public("i-1"),
        terminated(),
    ];
    let bench = Bench::new(answers);
    let fleet = bench.fleet.in_account(&keys(KEY));
    let made = fleet.provision(&order()).await.unwrap();
    assert_eq!(made.address.host, "198.51.100.7");
    let asked = signed(&bench, KEY);
    let run = &asked[3];
    for (field, value) in [
        ("Action", "RunInstances"),
        ("NetworkInterface.1.SubnetId", "subnet-1a"),
        ("NetworkInterface.1.SecurityGroupId.1", "sg-3"),
        ("NetworkInterface.1.SecurityGroupId.2", "sg-9"),
        ("NetworkInterface.1.AssociatePublicIpAddress", "true"),
        ("TagSpecification.1.Tag.1.Key", "slipway:workload"),
    ] {
        assert_eq!(run.get(field).map(String::as_str), Some(value), "{field} of {run:#?}");
    }
    assert_eq!((&*asked[1]["Filter.1.Name"], &*asked[1]["Filter.1.Value.1"]), ("tag-key", "slipway:use"));
    assert_eq!((&*asked[2]["Filter.2.Name"], &*asked[2]["Filter.2.Value.1"]), ("vpc-id", "vpc-1"));
    bench.fleet.in_account(&keys(KEY)).terminate(&order().of()).await.unwrap();
    assert_eq!(
        signed(&bench, KEY).iter().map(|form| &*form["Action"]).collect::<Vec<_>>(),
        ["DescribeInstances", "TerminateInstances"]
    );
    // The same keys are the same fleet, which remembers what it ended; others' are another.
    let again = bench.fleet.in_account(&keys(KEY)).provision(&order()).await;
    assert!(matches!(again, Err(FleetError::Refused(_))), "{again:?}");
}

#[tokio::test]
async fn without_tags_it_is_the_default_network() {
    let answers = [
        nothing(),
        subnets(&[]),
        subnets(&[("vpc-1", "eu-central-1a", "subnet-d")]),
        groups(&[]),
        made("i-1"),
        public("i-1"),
    ];
    let bench = Bench::new(answers);
    bench.fleet.in_account(&keys("AKIATHEIRSTHEIRSTHEI")).provision(&order()).await.unwrap();
    let asked = bench.asked();
    assert_eq!((&*asked[2]["Filter.1.Name"], &*asked[2]["Filter.1.Value.1"]), ("default-for-az", "true"));
    assert_eq!(asked[4]["NetworkInterface.1.SubnetId"], "subnet-d");
    assert!(!asked[4].contains_key("NetworkInterface.1.SecurityGroupId.1"), "the network's default group");
}

#[tokio::test]
async fn what_an_account_refuses_is_the_tenants_to_mend() {
    for (answers, words) in [
        (vec![nothing(), subnets(&[]), subnets(&[])], "slipway:use"),
        (vec![nothing(), refused(401, "AuthFailure")], "validate or replace"),
        (vec![nothing(), refused(403, "UnauthorizedOperation")], "validate or replace"),
    ] {
        let bench = Bench::new(answers);
        let made = bench.fleet.in_account(&keys("AKIATHEIRSTHEIRSTHEI")).provision(&order()).await;
        assert!(matches!(&made, Err(FleetError::Refused(why)) if why.contains(words)), "{made:?}");
    }
}

#[tokio::test]
async fn keys_to_other_clouds_open_nothing_here() {
    let keys = r#"{"provider": "azure", "subscription_id": "550e8400-e29b-41d4-a716-446655440000",
        "tenant_id": "550e8400-e29b-41d4-a716-446655440000", "client_id": "550e8400-e29b-41d4-a716-446655440000", "client_secret": "s"}"#;
    let bench = Bench::new([]);
    let fleet = bench.fleet.in_account(&CloudKeys::from_text(&Secret::new(keys)).unwrap());
    assert!(matches!(fleet.provision(&order()).await, Err(FleetError::Refused(_))));
    assert_eq!(fleet.describe(&order().of()).await, Ok(Sighting::Gone { stopped_at: None }));
    assert_eq!((fleet.terminate(&order().of()).await, fleet.list().await), (Ok(()), Ok(Vec::new())));
    assert_eq!(bench.asked(), []);
}
