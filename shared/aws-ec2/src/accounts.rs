//! Machines in tenants' own accounts: the same fleet, with a tenant's keys, in a network of the tenant's.
//!
//! An account is asked which network machines may use: its subnets with the tag [`USE`], or else its default subnets in the installation's
//! region; and in their network the security groups with that tag, or else the default one. Machines have public addresses there, since a
//! default subnet reaches nobody without. Nothing is changed in the account but what an order makes.
//!
//! The sweep of what nobody knows does not look there. What a late order makes cannot enrol, and powers itself off (`node/limits.sh`).

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_core::{Sdk, port_error};
use aws_sdk_ec2::{Client, types::Filter};
use cloud::{AwsCredentials, FleetError, PortError};
use domain::{Secret, SecretHash, credential::AwsKeys};

use crate::{Ec2Fleet, Subnet, request::filter, settings::Settings};

/// Whatever of a tenant's account has this tag is for machines to use.
pub const USE: &str = "slipway:use";

/// How many accounts a process remembers: what it knows of them may be lost, as when it ends.
const REMEMBERED: usize = 256;

/// The fleets in other accounts, by their keys.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<BTreeMap<SecretHash, Arc<Ec2Fleet>>>);

impl Accounts {
    /// The fleet with these keys, the same one each time: it remembers what it was told to end.
    pub(crate) fn with(&self, keys: &AwsKeys, (sdk, settings): (&Sdk, &Settings)) -> Arc<Ec2Fleet> {
        let token = keys.session_token.clone().unwrap_or_else(|| Secret::new(""));
        let all = [&keys.access_key_id, &keys.secret_access_key, &token].map(Secret::hash);
        let known_as = SecretHash::of(all.map(|hash| hash.as_str().to_owned()).concat().as_bytes());
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fleet) = accounts.get(&known_as) {
            return Arc::clone(fleet);
        }
        if accounts.len() >= REMEMBERED {
            accounts.clear();
        }
        let (access_key_id, secret_access_key) = (keys.access_key_id.clone(), keys.secret_access_key.clone());
        let credentials = AwsCredentials { access_key_id, secret_access_key, session_token: token };
        let settings = Settings { public_addresses: true, instance_profile: None, ..settings.clone() };
        let fleet = Arc::new(Ec2Fleet::elsewhere(&sdk.signing_as(credentials), settings));
        accounts.insert(known_as, Arc::clone(&fleet));
        fleet
    }
}

/// Where machines are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Where the settings say.
    Given,
    /// Where the account says.
    Found,
}

impl Network {
    /// The settings with what the account says.
    pub(crate) async fn settle<'a>(
        self,
        client: &Client,
        settings: &'a Settings,
    ) -> Result<Cow<'a, Settings>, FleetError> {
        if self == Self::Given {
            return Ok(Cow::Borrowed(settings));
        }
        let (vpc, subnets) = subnets(client).await?;
        let security_groups = groups(client, &vpc).await?;
        Ok(Cow::Owned(Settings { subnets, security_groups, ..settings.clone() }))
    }
}

/// The subnets that machines may be put into, all of one network, whose id is given with them.
async fn subnets(client: &Client) -> Result<(String, Vec<Subnet>), FleetError> {
    for allowed in [filter("tag-key", &[USE]), filter("default-for-az", &["true"])] {
        let mut found = asked(client, allowed).await?;
        found.sort();
        if let Some((vpc, _)) = found.first().cloned() {
            let subnets = found.into_iter().filter(|(of, _)| *of == vpc).map(|(_, subnet)| subnet).collect();
            return Ok((vpc, subnets));
        }
    }
    Err(FleetError::Refused(format!("the account has no default subnet here: tag those that may be used with {USE}")))
}

async fn asked(client: &Client, allowed: Filter) -> Result<Vec<(String, Subnet)>, FleetError> {
    let available = filter("state", &["available"]);
    let answer = client.describe_subnets().filters(allowed).filters(available).send().await;
    let answer = answer.map_err(|error| refused_or(port_error(&error), aws_core::errors::code(&error)))?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let subnet = |one: &aws_sdk_ec2::types::Subnet| {
        let subnet = Subnet { zone: text(one.availability_zone()), id: text(one.subnet_id()) };
        (text(one.vpc_id()), subnet)
    };
    Ok(answer.subnets().iter().map(subnet).collect())
}

/// The security groups of a network that machines are put into; none stands for the default one.
async fn groups(client: &Client, vpc: &str) -> Result<Vec<String>, FleetError> {
    let ask = client.describe_security_groups().filters(filter("tag-key", &[USE])).filters(filter("vpc-id", &[vpc]));
    let answer = ask.send().await.map_err(|error| refused_or(port_error(&error), aws_core::errors::code(&error)))?;
    let mut groups = answer.security_groups().iter().filter_map(|one| one.group_id()).collect::<Vec<_>>();
    groups.sort_unstable();
    Ok(groups.into_iter().map(str::to_owned).collect())
}

/// Keys that open nothing, or not this, are the tenant's to mend: whoever launched is told so.
fn refused_or(error: PortError, code: Option<&str>) -> FleetError {
    match code {
        Some(code @ ("AuthFailure" | "UnauthorizedOperation" | "InvalidClientTokenId" | "OptInRequired")) => {
            FleetError::Refused(format!(
                "the credential does not open its account to us ({code}): validate or replace it"
            ))
        }
        _ => error.into(),
    }
}
