//! Which machines are tried for an order, in which order.

use cloud::Order;
use domain::gpu::{INSTANCE_TYPES, InstanceType, instance_type};

use crate::{
    request::token,
    settings::{Market, Settings},
};

/// One thing that can be asked for: a machine type in a zone, paid for in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// EC2's name of the machine type.
    pub machine: &'static str,
    /// How it is paid for.
    pub market: Market,
    /// The availability zone.
    pub zone: String,
    /// The subnet there.
    pub subnet: String,
}

/// The machine types that can run `order`: the one that was asked for, then the others with its GPU, the smallest that suffice first. Those
/// of one size stand as in the catalogue.
fn machines(order: &Order) -> Vec<InstanceType> {
    let suffices = |known: &InstanceType| known.gpu == order.gpu && known.gpus >= order.gpus;
    let asked = instance_type(&order.instance_type).filter(suffices);
    let is_other = |known: &InstanceType| Some(known.name) != asked.map(|asked| asked.name);
    let mut others = INSTANCE_TYPES.iter().copied().filter(suffices).filter(is_other).collect::<Vec<_>>();
    others.sort_by_key(|known| known.gpus);
    asked.into_iter().chain(others).collect()
}

/// Every offer for `order`: each machine type in each market in each zone, in this order of importance. Who asked for spot capacity gets
/// nothing dearer.
#[must_use]
pub fn offers(order: &Order, settings: &Settings) -> Vec<Offer> {
    let mut offers = Vec::new();
    let markets = if order.use_spot { &[Market::Spot][..] } else { &settings.markets };
    for machine in machines(order) {
        for market in markets {
            offers.extend(settings.subnets.iter().map(|subnet| Offer {
                machine: machine.name,
                market: *market,
                zone: subnet.zone.clone(),
                subnet: subnet.id.clone(),
            }));
        }
    }
    offers
}

/// The client token of an offer to an attempt: asking twice makes one machine. Another offer is another request, which EC2 would refuse
/// under the same token.
#[must_use]
pub fn client_token(order: &Order, region: &str, offer: &Offer) -> String {
    let market = match offer.market {
        Market::OnDemand => "on-demand",
        Market::Spot => "spot",
    };
    token(&[&order.workload.to_string(), &order.attempt.to_string(), region, &offer.zone, offer.machine, market])
}

/// Why EC2 did not make what was asked for, where something else may still be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// There is none of this machine in this zone now.
    Capacity,
    /// The account may have no more of it, in any zone.
    Quota,
    /// It is not offered in this zone.
    Unsupported,
}

impl Shortage {
    /// What an error code of `RunInstances` means (EC2 API reference, "Error codes"); `None` for one that no other offer would help with.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        Some(match code {
            "InsufficientInstanceCapacity"
            | "InsufficientHostCapacity"
            | "InsufficientReservedInstanceCapacity"
            | "InsufficientCapacity"
            | "InsufficientFreeAddressesInSubnet"
            | "InsufficientAddressCapacity"
            | "SpotMaxPriceTooLow" => Self::Capacity,
            "InstanceLimitExceeded" | "VcpuLimitExceeded" | "MaxSpotInstanceCountExceeded" => Self::Quota,
            "Unsupported" | "UnsupportedOperation" | "UnsupportedInstanceAttribute" | "InvalidInstanceType" => {
                Self::Unsupported
            }
            _ => return None,
        })
    }

    /// Whether what was said of `refused` holds of `other`, too: quotas are the region's (EC2 user guide, "Amazon EC2 service quotas").
    #[must_use]
    pub fn covers(self, refused: &Offer, other: &Offer) -> bool {
        match self {
            Self::Capacity | Self::Unsupported => refused == other,
            Self::Quota => refused.machine == other.machine && refused.market == other.market,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::gpu::Gpu;

    use super::*;
    use crate::tests::{order, settings};

    fn check(instance_type: &str, gpu: Gpu, gpus: u32, expected: &[&str]) {
        let order = Order { instance_type: instance_type.into(), gpu, gpus, ..order() };
        let names = machines(&order).iter().map(|machine| machine.name).collect::<Vec<_>>();
        assert_eq!(names, expected, "{instance_type} {gpu} {gpus}");
    }

    #[test]
    fn the_asked_machine_is_tried_first_and_then_the_smallest() {
        check("p5.48xlarge", Gpu::H100, 4, &["p5.48xlarge"]);
        check("p5.48xlarge", Gpu::H100, 1, &["p5.48xlarge", "p5.4xlarge"]);
        check("g5.24xlarge", Gpu::A10g, 4, &["g5.24xlarge", "g5.12xlarge", "g5.48xlarge"]);
        check("g7.12xlarge", Gpu::RtxPro4500, 2, &["g7.12xlarge", "g7.24xlarge", "g7.48xlarge"]);
        // What was asked for has too few GPUs, or others, or is unknown.
        check("g7.2xlarge", Gpu::RtxPro4500, 2, &["g7.12xlarge", "g7.24xlarge", "g7.48xlarge"]);
        check("p5.48xlarge", Gpu::A100, 8, &["p4d.24xlarge"]);
        check("x1.large", Gpu::B200, 8, &["p6-b200.48xlarge"]);
        check("p5.48xlarge", Gpu::H100, 9, &[]);
    }

    #[test]
    fn markets_come_before_zones() {
        let settings = Settings { markets: vec![Market::Spot, Market::OnDemand], ..settings() };
        let found = offers(&Order { gpus: 8, ..order() }, &settings);
        let shown = found.iter().map(|offer| (offer.machine, offer.market, offer.subnet.as_str())).collect::<Vec<_>>();
        let expected = [
            ("g5.48xlarge", Market::Spot, "subnet-a"),
            ("g5.48xlarge", Market::Spot, "subnet-b"),
            ("g5.48xlarge", Market::OnDemand, "subnet-a"),
            ("g5.48xlarge", Market::OnDemand, "subnet-b"),
        ];
        assert_eq!(shown, expected);
        // Who asks for spot capacity is given no other, whatever the installation prefers.
        let on_demand = Settings { markets: vec![Market::OnDemand], ..settings };
        let spot = offers(&Order { use_spot: true, ..order() }, &on_demand);
        assert!(!spot.is_empty() && spot.iter().all(|offer| offer.market == Market::Spot), "{spot:?}");
    }

    #[test]
    fn each_offer_to_each_attempt_has_a_token() {
        let (one, settings) = (order(), Settings { markets: vec![Market::OnDemand, Market::Spot], ..settings() });
        let again = Order { attempt: one.attempt + 1, ..one.clone() };
        let mut tokens = Vec::new();
        for order in [&one, &again] {
            tokens.extend(offers(order, &settings).iter().map(|offer| client_token(order, "eu-central-1", offer)));
        }
        assert!(tokens.iter().all(|token| token.len() == 64 && token.is_ascii()));
        assert_eq!(
            tokens[0],
            client_token(&one, "eu-central-1", &offers(&one, &settings)[0]),
            "asked again, it is the same"
        );
        let count = tokens.len();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), count);
    }

    #[test]
    fn shortages_are_told_apart() {
        for (code, expected) in [
            ("InsufficientInstanceCapacity", Some(Shortage::Capacity)),
            ("SpotMaxPriceTooLow", Some(Shortage::Capacity)),
            ("VcpuLimitExceeded", Some(Shortage::Quota)),
            ("MaxSpotInstanceCountExceeded", Some(Shortage::Quota)),
            ("Unsupported", Some(Shortage::Unsupported)),
            ("UnauthorizedOperation", None),
            ("RequestLimitExceeded", None),
        ] {
            assert_eq!(Shortage::of(code), expected, "{code}");
        }
    }
}
