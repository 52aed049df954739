//! Which of an installation's pools a request for a provider, a region and GPUs means.

use crate::{
    PoolId,
    credential::Provider,
    gpu::{Gpu, INSTANCE_TYPES, InstanceType},
    names::RegionName,
    price::Price,
};

/// Where the machines of a pool are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine, which stands for any provider and any region.
    Here,
    /// In a provider's region.
    At(Provider, RegionName),
}

/// A pool, as far as a request can choose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The pool.
    pub pool: PoolId,
    /// Its type of GPU.
    pub gpu: Gpu,
    /// The most GPUs that one workload can have there.
    pub max_per_node: u32,
    /// What an hour of one GPU costs.
    pub gpu_hour: Price,
    /// Where it is.
    pub place: Place,
}

/// What is asked for, as it came over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// The region's.
    pub region: &'a str,
    /// The GPU's, in any spelling that [`Gpu::named`] takes.
    pub gpu: &'a str,
    /// How many GPUs, all on one node.
    pub gpu_count: u32,
}

/// The pool that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// It.
    pub offer: &'a Offer,
    /// The provider that was asked for.
    pub provider: Provider,
    /// The region that was asked for.
    pub region: RegionName,
    /// The machine type that is asked for first.
    pub machine: &'static str,
}

/// Nothing here is as it was asked for. Each says what there is instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct NotOffered {
    /// What of the request is wrong: `provider`, `region`, `gpu` or `gpu_count`.
    pub field: &'static str,
    words: String,
}

/// Finds the pool that a request means: the first that has the GPU in its provider's region, and room for so many on one node.
///
/// # Errors
/// When the provider, the region or the GPU is unknown here, or no node has so many GPUs; the error names what is known.
pub fn find<'a>(offers: &'a [Offer], wanted: &Wanted<'_>) -> Result<Found<'a>, NotOffered> {
    let (provider, there) = of_provider(offers, wanted.provider)?;
    let (region, there) = of_region(provider, &there, wanted.region)?;
    let gpu = of_gpu(&there, wanted)?;
    let most = there.iter().filter(|offer| offer.gpu == gpu).map(|offer| offer.max_per_node).max().unwrap_or(0);
    let fits = |offer: &&&Offer| offer.gpu == gpu && (1..=offer.max_per_node).contains(&wanted.gpu_count);
    let offer = there.iter().find(fits).ok_or_else(|| {
        let words = format!("No node here has more than {most} GPU(s) of type {gpu}: ask for 1 to {most}");
        NotOffered { field: "gpu_count", words }
    })?;
    let machine = smallest(gpu, wanted.gpu_count).map_or("", |kind| kind.name);
    Ok(Found { offer, provider, region, machine })
}

fn of_provider<'a>(offers: &'a [Offer], asked: &str) -> Result<(Provider, Vec<&'a Offer>), NotOffered> {
    let at = |provider| offers.iter().filter(move |offer| offer.place.is_of(provider));
    if let Some(provider) = Provider::named(asked) {
        let there = at(provider).collect::<Vec<_>>();
        if !there.is_empty() {
            return Ok((provider, there));
        }
    }
    let known = Provider::ALL.into_iter().filter(|provider| at(*provider).next().is_some());
    let known = list(known.map(|provider| provider.name().to_owned()));
    Err(NotOffered { field: "provider", words: format!("Provider is not set up here; known are: {known}") })
}

fn of_region<'a>(
    provider: Provider,
    there: &[&'a Offer],
    asked: &str,
) -> Result<(RegionName, Vec<&'a Offer>), NotOffered> {
    let region = RegionName::parse(asked).map_err(|bad| NotOffered { field: "region", words: bad.to_string() })?;
    let in_region = |offer: &&&Offer| match &offer.place {
        Place::Here => true,
        Place::At(_, at) => *at == region,
    };
    let found = there.iter().filter(in_region).copied().collect::<Vec<_>>();
    if !found.is_empty() {
        return Ok((region, found));
    }
    let known = list(there.iter().filter_map(|offer| match &offer.place {
        Place::Here => None,
        Place::At(_, at) => Some(at.as_str().to_owned()),
    }));
    let words = format!("Nothing of {} is set up in this region; known are: {known}", provider.name());
    Err(NotOffered { field: "region", words })
}

fn of_gpu(there: &[&Offer], wanted: &Wanted<'_>) -> Result<Gpu, NotOffered> {
    let gpu = Gpu::named(wanted.gpu).ok().filter(|gpu| there.iter().any(|offer| offer.gpu == *gpu));
    gpu.ok_or_else(|| {
        let known = list(there.iter().map(|offer| offer.gpu.slug().to_owned()));
        NotOffered { field: "gpu", words: format!("GPU is not offered here; known are: {known}") }
    })
}

/// Each once, in order.
fn list(names: impl Iterator<Item = String>) -> String {
    let names = names.collect::<std::collections::BTreeSet<_>>();
    if names.is_empty() { "none".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

impl Place {
    fn is_of(&self, asked: Provider) -> bool {
        match self {
            Self::Here => true,
            Self::At(provider, _) => *provider == asked,
        }
    }
}

/// The smallest machine type with at least so many GPUs of a type, or where none has so many, the largest; of those of one size the first
/// in the catalogue.
#[must_use]
pub fn smallest(gpu: Gpu, gpu_count: u32) -> Option<InstanceType> {
    let of_type = || INSTANCE_TYPES.iter().copied().filter(|kind| kind.gpu == gpu);
    let enough = of_type().filter(|kind| kind.gpus >= gpu_count).min_by_key(|kind| kind.gpus);
    enough.or_else(|| of_type().max_by_key(|kind| kind.gpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(pool: &str, gpu: Gpu, max_per_node: u32, place: Place) -> Offer {
        Offer { pool: PoolId::new(pool), gpu, max_per_node, gpu_hour: Price::default(), place }
    }

    fn check(offers: &[Offer], (provider, region, gpu, gpu_count): (&str, &str, &str, u32), expected: &str) {
        let found = find(offers, &Wanted { provider, region, gpu, gpu_count });
        let told = match &found {
            Ok(found) => format!("{} {}", found.offer.pool, found.machine),
            Err(error) => format!("{}: {error}", error.field),
        };
        assert_eq!(told, expected, "{provider} {region} {gpu} {gpu_count}");
    }

    #[test]
    fn one_machine_stands_for_any_place() {
        let here = [offer("local/h100", Gpu::H100, 8, Place::Here), offer("local/a10g", Gpu::A10g, 4, Place::Here)];
        for provider in Provider::ALL {
            check(&here, (provider.name(), "anywhere-1", "A10G", 1), "local/a10g g5.xlarge");
        }
        check(&here, ("aws", "us-west-2", "NVIDIA H100 80GB HBM3", 8), "local/h100 p5.48xlarge");
        check(&here, ("aws", "us-west-2", "A10G", 2), "local/a10g g5.12xlarge");
        check(&here, ("ibm", "x", "A10G", 1), "provider: Provider is not set up here; known are: aws, azure, gcp");
        check(&here, ("aws", "us-west-2", "B200", 1), "gpu: GPU is not offered here; known are: a10g, h100");
        check(&here, ("aws", "us-west-2", "4090", 1), "gpu: GPU is not offered here; known are: a10g, h100");
        let most = "gpu_count: No node here has more than 4 GPU(s) of type a10g: ask for 1 to 4";
        check(&here, ("aws", "us-west-2", "a10g", 5), most);
        check(&here, ("aws", "us-west-2", "a10g", 0), most);
        let form = "region: a region has 1 to 40 lower-case letters, digits and hyphens, and begins with a letter";
        check(&here, ("aws", "us/west", "a10g", 1), form);
    }

    #[test]
    fn deployed_only_what_is_set_up() {
        let region = |name| RegionName::parse(name).unwrap();
        let there = [
            offer("ec2/a10g", Gpu::A10g, 4, Place::At(Provider::Aws, region("eu-central-1"))),
            offer("eks/a10g", Gpu::A10g, 8, Place::At(Provider::Aws, region("eu-central-1"))),
            offer("ec2/l4", Gpu::L4, 1, Place::At(Provider::Aws, region("us-west-2"))),
        ];
        check(&there, ("aws", "eu-central-1", "A10G", 1), "ec2/a10g g5.xlarge");
        check(&there, ("aws", "eu-central-1", "A10G", 8), "eks/a10g g5.48xlarge");
        check(&there, ("gcp", "europe-west4", "A10G", 1), "provider: Provider is not set up here; known are: aws");
        let known = "region: Nothing of aws is set up in this region; known are: eu-central-1, us-west-2";
        check(&there, ("aws", "eu-west-1", "A10G", 1), known);
        check(&there, ("aws", "us-west-2", "A10G", 1), "gpu: GPU is not offered here; known are: l4");
        check(&[], ("aws", "us-west-2", "A10G", 1), "provider: Provider is not set up here; known are: none");
    }

    #[test]
    fn machines_are_the_smallest_that_suffice() {
        for (gpu, count, name) in [
            (Gpu::A10g, 1, "g5.xlarge"),
            (Gpu::A10g, 3, "g5.12xlarge"),
            (Gpu::A100, 1, "p4d.24xlarge"),
            (Gpu::H100, 1, "p5.4xlarge"),
            (Gpu::H100, 16, "p5.48xlarge"),
        ] {
            assert_eq!(smallest(gpu, count).map(|kind| kind.name), Some(name), "{gpu} {count}");
        }
    }
}
