//! What EC2 is asked for: one machine, with its tags from the first moment.

use aws_core::port_error;
use aws_sdk_ec2::{
    Client, Config,
    config::{Builder, retry::RetryConfig},
    error::SdkError,
    operation::run_instances::{RunInstancesError, RunInstancesOutput, builders::RunInstancesFluentBuilder},
    types::{
        BlockDeviceMapping, EbsBlockDevice, Filter, HttpTokensState, IamInstanceProfileSpecification, Instance,
        InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataEndpointState,
        InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType, MarketType, ResourceType,
        ShutdownBehavior, SpotInstanceType, SpotMarketOptions, Tag, TagSpecification, VolumeType,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use cloud::{Attempt, Order, PortError};
use domain::Secret;
use sha2::{Digest, Sha256};

use crate::{
    offers::{Offer, client_token},
    settings::{Market, Settings},
};

/// The tag with the workload's id.
pub const WORKLOAD: &str = "slipway:workload";
/// The tag with the attempt's number.
pub const ATTEMPT: &str = "slipway:attempt";
/// The tag with the tenant.
pub const TENANT: &str = "slipway:tenant";
/// The tag with the pool.
pub const POOL: &str = "slipway:pool";
/// The tag with the installation's name.
pub const DEPLOYMENT: &str = "slipway:deployment";

/// The tags of everything that is made for an attempt.
fn tags(order: &Order, settings: &Settings) -> Vec<Tag> {
    let tag = |key: &str, value: String| Tag::builder().key(key).value(value).build();
    vec![
        tag(WORKLOAD, order.workload.to_string()),
        tag(ATTEMPT, order.attempt.to_string()),
        tag(TENANT, order.tenant.to_string()),
        tag(POOL, order.pool.to_string()),
        tag(DEPLOYMENT, settings.deployment.clone()),
    ]
}

/// Finds everything of this installation.
pub(crate) fn ours(settings: &Settings) -> Vec<Filter> {
    vec![filter(&format!("tag:{DEPLOYMENT}"), &[&settings.deployment]), filter("tag-key", &[WORKLOAD])]
}

/// Finds everything of an attempt.
pub(crate) fn of_attempt(deployment: &str, attempt: &Attempt) -> Vec<Filter> {
    vec![
        filter(&format!("tag:{DEPLOYMENT}"), &[deployment]),
        filter(&format!("tag:{TENANT}"), &[attempt.tenant.as_str()]),
        filter(&format!("tag:{WORKLOAD}"), &[&attempt.workload.to_string()]),
        filter(&format!("tag:{ATTEMPT}"), &[&attempt.number.to_string()]),
    ]
}

/// Finds what is in one of these states.
pub(crate) fn in_states(states: &[&str]) -> Filter {
    filter("instance-state-name", states)
}

pub(crate) fn filter(name: &str, values: &[&str]) -> Filter {
    values.iter().fold(Filter::builder().name(name), |filter, value| filter.values(*value)).build()
}

/// Every instance that `filters` find, through all pages.
pub(crate) async fn instances(client: &Client, filters: Vec<Filter>) -> Result<Vec<Instance>, PortError> {
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let request = client.describe_instances().set_filters(Some(filters.clone())).max_results(1_000);
        let page = request.set_next_token(next).send().await.map_err(|error| port_error(&error))?;
        found.extend(page.reservations.into_iter().flatten().flat_map(|one| one.instances.unwrap_or_default()));
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// The settings of a call that is made once: what it did is looked at before it is made again.
pub(crate) fn once() -> Builder {
    Config::builder().retry_config(RetryConfig::disabled())
}

/// A client token, 64 ASCII characters, as many as EC2 takes (EC2 developer guide, "Ensuring idempotency in Amazon EC2 API requests"). Each part
/// is preceded by its length, so that no two lists of parts read alike.
pub(crate) fn token(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// Asks for one machine, once: whether it is asked again is decided where the answer is understood. EC2 says that it has no capacity with status
/// 500, which the SDK would take for a passing failure.
pub(crate) async fn run(
    client: &Client,
    (order, offer): (&Order, &Offer),
    settings: &Settings,
    user_data: &Secret,
) -> Result<RunInstancesOutput, SdkError<RunInstancesError>> {
    let request = client
        .run_instances()
        .client_token(client_token(order, &settings.region, offer))
        .min_count(1)
        .max_count(1)
        .image_id(&settings.image_id)
        .instance_type(InstanceType::from(offer.machine))
        // Powering itself off is how a machine ends itself.
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .metadata_options(metadata())
        .network_interfaces(interface(offer, settings))
        .block_device_mappings(root(settings))
        .user_data(STANDARD.encode(user_data.reveal()));
    let request = tagged(request, order, offer, settings);
    let profile = settings.instance_profile.as_ref();
    let profile = profile.map(|name| IamInstanceProfileSpecification::builder().name(name).build());
    let request = request.set_iam_instance_profile(profile);
    let request = if offer.market == Market::Spot { request.instance_market_options(spot()) } else { request };
    // The user data has the agent's token in it.
    aws_core::errors::quietly(request.customize().config_override(once()).send()).await
}

fn tagged(
    request: RunInstancesFluentBuilder,
    order: &Order,
    offer: &Offer,
    settings: &Settings,
) -> RunInstancesFluentBuilder {
    let mut kinds = vec![ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
    if offer.market == Market::Spot {
        kinds.push(ResourceType::SpotInstancesRequest);
    }
    kinds.into_iter().fold(request, |request, kind| {
        let tags = Some(tags(order, settings));
        request.tag_specifications(TagSpecification::builder().resource_type(kind).set_tags(tags).build())
    })
}

/// Version 2 of the metadata service only, and not from inside a container's own network.
fn metadata() -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest::builder()
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .build()
}

fn interface(offer: &Offer, settings: &Settings) -> InstanceNetworkInterfaceSpecification {
    InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .subnet_id(&offer.subnet)
        .set_groups(Some(settings.security_groups.clone()).filter(|groups| !groups.is_empty()))
        .associate_public_ip_address(settings.public_addresses)
        .delete_on_termination(true)
        .build()
}

fn root(settings: &Settings) -> BlockDeviceMapping {
    let volume = EbsBlockDevice::builder()
        .volume_type(VolumeType::Gp3)
        .volume_size(settings.root_gib)
        .encrypted(true)
        .delete_on_termination(true)
        .build();
    BlockDeviceMapping::builder().device_name(&settings.root_device).ebs(volume).build()
}

/// A spot machine that is terminated when EC2 wants it back, and that nothing orders again.
fn spot() -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
        .build();
    InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(options).build()
}
