//! The fleets of an installation on AWS, as the templates' settings describe them, and the way to people's keys: what only those
//! functions have that launch and sweep.
//!
//! A fleet is there when its settings are: EC2 with `EC2_SUBNETS`, EKS with `EKS_CLUSTER`. Pools are theirs by name: `ec2/a10g`, `eks/h100`.
//!
//! **Invariant:** setting up asks nobody anything.

mod ec2;
mod eks;
mod variables;

use std::sync::Arc;

use aws_core::Sdk;
use aws_ec2::Ec2Fleet;
use aws_eks::EksFleet;
use cloud::{Fleets, GithubKeys};
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

async fn read(config: &Config, sdk: &Sdk, variables: &Variables<'_>) -> Result<Outside, SettingsError> {
    let mut fleets = Fleets::new();
    if let Some(settings) = ec2::settings(config, variables)? {
        fleets = fleets.with("ec2", Arc::new(Ec2Fleet::new(sdk, settings)));
    }
    if let Some((cluster, settings)) = eks::settings(config, variables)? {
        let client = eks::client(&cluster, &settings, sdk).await?;
        fleets = fleets.with("eks", Arc::new(EksFleet::new(&client, settings, Arc::clone(sdk.clock()))));
    }
    let directory = variables.optional("GITHUB_URL").unwrap_or_else(|| "https://github.com".to_owned());
    let people =
        GithubKeys::new(&directory).map_err(|error| SettingsError::Unusable("GITHUB_URL", error.to_string()))?;
    Ok(Outside { fleet: Arc::new(fleets), people: Arc::new(people) })
}

#[cfg(test)]
mod tests;
