//! One catalogue of GPUs and of the machine types that carry them (checklist K16).
//!
//! Counts and memory are those of EC2's `DescribeInstanceTypes`. Types with fractional GPUs are left out: their count of zero would
//! break every sum (invariant I1).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::price::Price;

macro_rules! gpus {
    ($($variant:ident $slug:literal $display:literal $memory:literal $hour:expr;)*) => {
        /// A type of GPU.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each variant is named as its maker names it")]
        pub enum Gpu { $($variant),* }

        impl Gpu {
            /// Every type of GPU, by name.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name on the wire, in pools and in settings.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug),* }
            }

            /// The name that people know it by.
            #[must_use]
            pub const fn display(self) -> &'static str {
                match self { $(Self::$variant => $display),* }
            }

            /// Memory of one GPU in MiB.
            #[must_use]
            pub const fn memory_mib(self) -> u32 {
                match self { $(Self::$variant => $memory),* }
            }

            /// What an hour of one GPU costs where nobody says otherwise, if that is known: EC2's list price on demand in us-east-1 of the
            /// largest machine with it, divided by its GPUs (November 2025). What an installation really pays is for it to say.
            #[must_use]
            pub const fn list_price(self) -> Option<Price> {
                let micros: Option<u64> = match self { $(Self::$variant => $hour),* };
                match micros { Some(micros) => Some(Price::from_micros(micros)), None => None }
            }
        }
    };
}

gpus! {
    A100 "a100" "NVIDIA A100-SXM4-40GB" 40_960 Some(2_744_705);
    A100x80 "a100-80gb" "NVIDIA A100-SXM4-80GB" 81_920 Some(3_430_881);
    A10g "a10g" "NVIDIA A10G" 22_888 Some(2_036_000);
    B200 "b200" "NVIDIA B200" 183_359 Some(14_241_600);
    B300 "b300" "NVIDIA B300" 275_040 Some(17_802_000);
    H100 "h100" "NVIDIA H100 80GB HBM3" 81_920 Some(6_880_000);
    H200 "h200" "NVIDIA H200" 144_384 Some(7_912_000);
    L4 "l4" "NVIDIA L4" 22_888 Some(1_668_800);
    L40s "l40s" "NVIDIA L40S" 45_776 Some(3_766_398);
    RtxPro4500 "rtxpro4500" "NVIDIA RTX PRO 4500" 32_768 None;
    RtxPro6000 "rtxpro6000" "NVIDIA RTX PRO 6000" 98_304 None;
    T4 "t4" "NVIDIA T4" 16_384 Some(978_000);
}

impl Gpu {
    /// Finds the type that a driver's product name means, as NVML prints it; `None` for a GPU that the catalogue lacks.
    #[must_use]
    pub fn from_product_name(name: &str, memory_mib: u64) -> Option<Self> {
        let words = name.to_ascii_uppercase();
        let has = |part: &str| words.split([' ', '-']).any(|word| word == part);
        let big_a100 = has("A100") && memory_mib > 50_000;
        Self::ALL.iter().copied().find(|gpu| match gpu {
            Self::A100 => has("A100") && !big_a100,
            Self::A100x80 => big_a100,
            Self::RtxPro4500 => has("PRO") && has("4500"),
            Self::RtxPro6000 => has("PRO") && has("6000"),
            Self::A10g | Self::B200 | Self::B300 | Self::H100 | Self::H200 | Self::L4 | Self::L40s | Self::T4 => {
                has(&gpu.slug().to_ascii_uppercase())
            }
        })
    }
}

impl Gpu {
    /// Finds the type that a person means (checklist K16): by its slug or its display name in any case, with or without the maker's name,
    /// as in `A10G`, `h100` or `NVIDIA A100-SXM4-80GB`; or by its driver's product name.
    ///
    /// # Errors
    /// When the catalogue has none of this name.
    pub fn named(text: &str) -> Result<Self, UnknownGpu> {
        let words = text.trim().to_ascii_uppercase();
        let bare =
            ["NVIDIA ", "TESLA "].iter().fold(words.as_str(), |left, maker| left.strip_prefix(maker).unwrap_or(left));
        let is = |gpu: &&Self| [gpu.slug(), gpu.short()].iter().any(|name| name.eq_ignore_ascii_case(bare));
        let exact = Self::ALL.iter().find(is).copied();
        // A product's name says its memory as text, where two types differ in that alone.
        let by_product = || {
            let memory_mib = if bare.contains("80GB") { 81_920 } else { 40_960 };
            if bare == words { None } else { Self::from_product_name(bare, memory_mib) }
        };
        exact.or_else(by_product).ok_or_else(|| UnknownGpu(text.chars().take(64).collect()))
    }

    /// The name that people know it by, without its maker's.
    #[must_use]
    pub fn short(self) -> &'static str {
        self.display().strip_prefix("NVIDIA ").unwrap_or(self.display())
    }

    /// Memory of one GPU in GB, of 10^9 bytes each, rounded: as makers count it and models' needs are given.
    #[must_use]
    pub fn memory_gb(self) -> u32 {
        let bytes = u64::from(self.memory_mib()) * 1_048_576;
        u32::try_from((bytes + 500_000_000) / 1_000_000_000).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}

/// No GPU of this name is in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no GPU is called '{0}'")]
pub struct UnknownGpu(String);

impl FromStr for Gpu {
    type Err = UnknownGpu;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|gpu| gpu.slug() == text).ok_or_else(|| UnknownGpu(text.to_owned()))
    }
}

impl Serialize for Gpu {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.slug())
    }
}

impl<'de> Deserialize<'de> for Gpu {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A machine type that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// EC2's name.
    pub name: &'static str,
    /// The type of its GPUs.
    pub gpu: Gpu,
    /// How many GPUs it has.
    pub gpus: u32,
}

const fn sku(name: &'static str, gpu: Gpu, gpus: u32) -> InstanceType {
    InstanceType { name, gpu, gpus }
}

/// Every machine type.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    sku("g4dn.xlarge", Gpu::T4, 1),
    sku("g4dn.2xlarge", Gpu::T4, 1),
    sku("g4dn.4xlarge", Gpu::T4, 1),
    sku("g4dn.8xlarge", Gpu::T4, 1),
    sku("g4dn.16xlarge", Gpu::T4, 1),
    sku("g4dn.12xlarge", Gpu::T4, 4),
    sku("g4dn.metal", Gpu::T4, 8),
    sku("g5.xlarge", Gpu::A10g, 1),
    sku("g5.2xlarge", Gpu::A10g, 1),
    sku("g5.4xlarge", Gpu::A10g, 1),
    sku("g5.8xlarge", Gpu::A10g, 1),
    sku("g5.16xlarge", Gpu::A10g, 1),
    sku("g5.12xlarge", Gpu::A10g, 4),
    sku("g5.24xlarge", Gpu::A10g, 4),
    sku("g5.48xlarge", Gpu::A10g, 8),
    sku("g6.xlarge", Gpu::L4, 1),
    sku("g6.2xlarge", Gpu::L4, 1),
    sku("g6.4xlarge", Gpu::L4, 1),
    sku("g6.8xlarge", Gpu::L4, 1),
    sku("g6.16xlarge", Gpu::L4, 1),
    sku("gr6.4xlarge", Gpu::L4, 1),
    sku("gr6.8xlarge", Gpu::L4, 1),
    sku("g6.12xlarge", Gpu::L4, 4),
    sku("g6.24xlarge", Gpu::L4, 4),
    sku("g6.48xlarge", Gpu::L4, 8),
    sku("g6e.xlarge", Gpu::L40s, 1),
    sku("g6e.2xlarge", Gpu::L40s, 1),
    sku("g6e.4xlarge", Gpu::L40s, 1),
    sku("g6e.8xlarge", Gpu::L40s, 1),
    sku("g6e.16xlarge", Gpu::L40s, 1),
    sku("g6e.12xlarge", Gpu::L40s, 4),
    sku("g6e.24xlarge", Gpu::L40s, 4),
    sku("g6e.48xlarge", Gpu::L40s, 8),
    sku("g7.2xlarge", Gpu::RtxPro4500, 1),
    sku("g7.4xlarge", Gpu::RtxPro4500, 1),
    sku("g7.8xlarge", Gpu::RtxPro4500, 1),
    sku("g7.12xlarge", Gpu::RtxPro4500, 2),
    sku("g7.24xlarge", Gpu::RtxPro4500, 4),
    sku("g7.48xlarge", Gpu::RtxPro4500, 8),
    sku("g7e.2xlarge", Gpu::RtxPro6000, 1),
    sku("g7e.4xlarge", Gpu::RtxPro6000, 1),
    sku("g7e.8xlarge", Gpu::RtxPro6000, 1),
    sku("g7e.12xlarge", Gpu::RtxPro6000, 2),
    sku("g7e.24xlarge", Gpu::RtxPro6000, 4),
    sku("g7e.48xlarge", Gpu::RtxPro6000, 8),
    sku("p4d.24xlarge", Gpu::A100, 8),
    sku("p4de.24xlarge", Gpu::A100x80, 8),
    sku("p5.4xlarge", Gpu::H100, 1),
    sku("p5.48xlarge", Gpu::H100, 8),
    sku("p5e.48xlarge", Gpu::H200, 8),
    sku("p5en.48xlarge", Gpu::H200, 8),
    sku("p6-b200.48xlarge", Gpu::B200, 8),
    sku("p6-b300.48xlarge", Gpu::B300, 8),
];

/// The machine type of this name.
#[must_use]
pub fn instance_type(name: &str) -> Option<InstanceType> {
    INSTANCE_TYPES.iter().copied().find(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for gpu in Gpu::ALL {
            assert_eq!(gpu.slug().parse(), Ok(*gpu));
        }
        for (at, known) in INSTANCE_TYPES.iter().enumerate() {
            assert_eq!(instance_type(known.name), Some(*known));
            assert!(known.gpus > 0 && !INSTANCE_TYPES[..at].iter().any(|other| other.name == known.name));
        }
        assert_eq!(instance_type("p5.47xlarge"), None);
        assert_eq!("H100".parse::<Gpu>(), Err(UnknownGpu("H100".into())));
    }

    #[test]
    fn people_name_them_in_many_ways() {
        for gpu in Gpu::ALL {
            for name in [gpu.slug(), gpu.display(), gpu.short(), &gpu.slug().to_ascii_uppercase()] {
                assert_eq!(Gpu::named(name), Ok(*gpu), "{name}");
            }
        }
        for (name, expected) in [
            ("A10G", Some(Gpu::A10g)),
            ("H100", Some(Gpu::H100)),
            ("NVIDIA A100-SXM4-80GB", Some(Gpu::A100x80)),
            ("NVIDIA A100 80GB PCIe", Some(Gpu::A100x80)),
            ("A100-80GB", Some(Gpu::A100x80)),
            ("A100", Some(Gpu::A100)),
            ("Tesla T4", Some(Gpu::T4)),
            (" l40s ", Some(Gpu::L40s)),
            ("RTX PRO 6000", Some(Gpu::RtxPro6000)),
            ("H1000", None),
            ("my H100", None),
            ("NVIDIA", None),
            ("", None),
        ] {
            assert_eq!(Gpu::named(name).ok(), expected, "{name}");
        }
        assert_eq!(Gpu::named(&"x".repeat(999)).unwrap_err().to_string().len(), "no GPU is called ''".len() + 64);
    }

    #[test]
    fn memory_is_told_as_makers_do() {
        for (gpu, gb) in [(Gpu::A10g, 24), (Gpu::L4, 24), (Gpu::L40s, 48), (Gpu::H100, 86), (Gpu::T4, 17)] {
            assert_eq!(gpu.memory_gb(), gb, "{gpu}");
        }
    }

    #[test]
    fn products_are_recognised() {
        for (name, memory, expected) in [
            ("NVIDIA H200", 143_771, Some(Gpu::H200)),
            ("NVIDIA H100 80GB HBM3", 81_559, Some(Gpu::H100)),
            ("NVIDIA A100-SXM4-80GB", 81_920, Some(Gpu::A100x80)),
            ("NVIDIA A100-SXM4-40GB", 40_960, Some(Gpu::A100)),
            ("NVIDIA A10G", 23_028, Some(Gpu::A10g)),
            ("Tesla T4", 15_360, Some(Gpu::T4)),
            ("NVIDIA L4", 23_034, Some(Gpu::L4)),
            ("NVIDIA L40S", 46_068, Some(Gpu::L40s)),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97_887, Some(Gpu::RtxPro6000)),
            ("NVIDIA GeForce RTX 4090", 24_564, None),
        ] {
            assert_eq!(Gpu::from_product_name(name, memory), expected, "{name}");
        }
    }
}
