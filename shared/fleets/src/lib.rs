//! The fleets and disks of an installation on AWS, as the templates' settings describe them, and the way to people's keys: what only those
//! functions have that launch, sweep and keep disks.
//!
//! A fleet is there when its settings are: EC2 with `EC2_SUBNETS`, EKS with `EKS_CLUSTER`. Pools are theirs by name: `ec2/a10g`, `eks/h100`.
//! Jobs on EKS may have disks with `EKS_ZONE`. The storage is EBS for both, and is there whatever else is: what is kept must be reached when the
//! fleets are gone.
//!
//! **Invariant:** setting up asks nobody anything.

mod ec2;
mod eks;
mod variables;

use std::sync::Arc;

use aws_core::Sdk;
use aws_ec2::{EbsVolumes, Ec2Fleet};
use aws_eks::{EksAttacher, EksFleet};
use cloud::{Fleets, GithubKeys, PoolVolumes};
use runtime::{Config, Outside, Setup};

pub use variables::SettingsError;
use variables::Variables;

/// Sets up what the process's environment describes.
#[must_use]
pub fn outside(config: Config, sdk: Sdk) -> Setup {
    Box::pin(async move {
        let variables = Variables::new(|name| std::env::var(name).ok());
        Ok(read(&config, &sdk, &variables).await?)
    })
}

/// Sets up what keeps disks, which brings them to nobody: for the functions that look after them when nobody uses them.
#[must_use]
pub fn storage(_config: Config, sdk: Sdk) -> Setup {
    Box::pin(async move {
        let variables = Variables::new(|name| std::env::var(name).ok());
        let volumes = Arc::new(ebs(&sdk, &variables)?);
        Ok(Outside { volumes, ..Outside::nothing() })
    })
}

fn ebs(sdk: &Sdk, variables: &Variables<'_>) -> Result<EbsVolumes, SettingsError> {
    Ok(EbsVolumes::new(sdk, &variables.needed("DEPLOYMENT", "TABLE_PREFIX")?))
}

async fn read(config: &Config, sdk: &Sdk, variables: &Variables<'_>) -> Result<Outside, SettingsError> {
    let ebs = ebs(sdk, variables)?;
    let (mut fleets, mut volumes) = (Fleets::new(), PoolVolumes::new(Arc::new(ebs.clone())));
    if let Some(settings) = ec2::settings(config, variables)? {
        fleets = fleets.with("ec2", Arc::new(Ec2Fleet::new(sdk, settings)));
        volumes = volumes.with("ec2", Arc::new(ebs.clone()));
    }
    if let Some((cluster, settings)) = eks::settings(config, variables)? {
        let client = eks::client(&cluster, &settings, sdk).await?;
        if let Some(zone) = eks::zone(variables) {
            let disks = EksAttacher::new(&client, settings.clone(), &zone, Arc::new(ebs.in_zone(&zone)));
            volumes = volumes.with("eks", Arc::new(disks));
        }
        fleets = fleets.with("eks", Arc::new(EksFleet::new(&client, settings, Arc::clone(sdk.clock()))));
    }
    let directory = variables.optional("GITHUB_URL").unwrap_or_else(|| "https://github.com".to_owned());
    let people =
        GithubKeys::new(&directory).map_err(|error| SettingsError::Unusable("GITHUB_URL", error.to_string()))?;
    let (fleet, volumes, people) = (Arc::new(fleets), Arc::new(volumes), Arc::new(people));
    Ok(Outside { fleet, volumes, people, ..Outside::nothing() })
}

#[cfg(test)]
mod tests;
