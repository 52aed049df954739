//! The settings of the fleet over EC2.

use std::time::Duration;

use aws_ec2::{
    AgentBinary, Market, Settings, Subnet,
    settings::{ENROL_WITHIN, ROOT_DEVICE},
};
use runtime::Config;

use crate::variables::{SettingsError, Variables};

/// By this the fleet is turned on.
const SWITCH: &str = "EC2_SUBNETS";

/// The settings; `None` where there is no fleet over EC2.
pub(crate) fn settings(config: &Config, variables: &Variables<'_>) -> Result<Option<Settings>, SettingsError> {
    let Some(subnets) = variables.optional(SWITCH) else { return Ok(None) };
    let needed = |name| variables.needed(name, SWITCH);
    let root_gib = needed("EC2_ROOT_GIB")?;
    let markets = needed("EC2_MARKETS")?;
    Ok(Some(Settings {
        deployment: needed("DEPLOYMENT")?,
        region: config.aws.region.clone(),
        image_id: needed("EC2_IMAGE_ID")?,
        root_device: variables.optional("EC2_ROOT_DEVICE").unwrap_or_else(|| ROOT_DEVICE.to_owned()),
        root_gib: root_gib.parse().map_err(|_| wrong("EC2_ROOT_GIB", &root_gib, "a number of GiB"))?,
        subnets: list(&subnets).map(subnet).collect::<Result<_, _>>()?,
        markets: list(&markets).map(market).collect::<Result<_, _>>()?,
        security_groups: vec![needed("EC2_SECURITY_GROUP")?],
        public_addresses: flag("EC2_PUBLIC_ADDRESSES", &needed("EC2_PUBLIC_ADDRESSES")?)?,
        instance_profile: variables.optional("EC2_INSTANCE_PROFILE"),
        plane: needed("PLANE_URL")?,
        agent: AgentBinary { url: needed("AGENT_URL")?, sha256: needed("AGENT_SHA256")? },
        enrol_within: ENROL_WITHIN,
        longest_life: Duration::from_secs(u64::from(config.policy.longest_hours) * 3600),
    }))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn wrong(name: &'static str, value: &str, expected: &str) -> SettingsError {
    SettingsError::Unusable(name, format!("{value:?} is not {expected}"))
}

/// `zone=subnet`.
fn subnet(text: &str) -> Result<Subnet, SettingsError> {
    match text.split_once('=') {
        Some((zone, id)) if !zone.is_empty() && id.starts_with("subnet-") => {
            Ok(Subnet { zone: zone.to_owned(), id: id.to_owned() })
        }
        _ => Err(wrong(SWITCH, text, "a zone and a subnet, such as eu-central-1a=subnet-0a1b")),
    }
}

fn market(text: &str) -> Result<Market, SettingsError> {
    match text {
        "on-demand" => Ok(Market::OnDemand),
        "spot" => Ok(Market::Spot),
        other => Err(wrong("EC2_MARKETS", other, "on-demand or spot")),
    }
}

fn flag(name: &'static str, text: &str) -> Result<bool, SettingsError> {
    text.parse().map_err(|_not_one| wrong(name, text, "true or false"))
}
