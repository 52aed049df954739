//! The machines with GPUs: simulated ones by name and number, or this machine's own.

use std::collections::BTreeMap;

use agent::GpuSeen;
use domain::{NodeId, PoolId, gpu::Gpu};

/// More GPUs than any machine has are a slip of the pen.
const MOST_GPUS: u32 = 16;
/// More nodes than this make no sense on one machine.
const MOST_NODES: usize = 256;

/// Which nodes there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// This machine's own GPUs.
    Auto,
    /// Simulated ones: a node for each pair of a GPU and how many it has.
    Simulated(Vec<(Gpu, u32)>),
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name, such as `local-h100-1`.
    pub id: NodeId,
    /// Its pool, such as `local/h100`.
    pub pool: PoolId,
    /// Its GPUs.
    pub gpu: Gpu,
    /// The numbers of its GPUs, as `CUDA_VISIBLE_DEVICES` counts.
    pub indexes: Vec<u32>,
    /// Whether the GPUs are stand-ins.
    pub simulated: bool,
}

/// `auto` was asked for, and there is no GPU that the catalogue knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "SLIPWAY_NODES is auto, but {found}: check that `nvidia-smi` works here, or leave SLIPWAY_NODES unset to have simulated GPUs"
)]
pub struct NoGpus {
    found: String,
}

impl Nodes {
    /// What there is when nothing is said.
    pub const DEFAULT: &str = "h100x8,h100x8,a100x8,a100x8,a10gx4";

    /// Reads `auto`, or a list such as `h100x8,a10gx4`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let nodes = super::list(text).map(one).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() || nodes.len() > MOST_NODES {
            return Err(format!("it must name 1 to {MOST_NODES} nodes, as in {}", Self::DEFAULT));
        }
        Ok(Self::Simulated(nodes))
    }

    /// The nodes with their names. `seen` looks for this machine's GPUs; it is asked only where they are wanted.
    ///
    /// # Errors
    /// [`NoGpus`] when this machine's own are wanted and there are none.
    pub fn named(&self, seen: impl FnOnce() -> Vec<GpuSeen>) -> Result<Vec<NodeSpec>, NoGpus> {
        let mut numbers = BTreeMap::<Gpu, u32>::new();
        let mut named = |gpu: Gpu, indexes: Vec<u32>, simulated: bool| {
            let number = numbers.entry(gpu).or_default();
            *number += 1;
            NodeSpec { id: NodeId::new(format!("local-{gpu}-{number}")), pool: pool_of(gpu), gpu, indexes, simulated }
        };
        match self {
            Self::Simulated(nodes) => {
                Ok(nodes.iter().map(|(gpu, count)| named(*gpu, (0..*count).collect(), true)).collect())
            }
            Self::Auto => {
                let own = own_gpus(&seen())?;
                Ok(own.into_iter().map(|(gpu, indexes)| named(gpu, indexes, false)).collect())
            }
        }
    }
}

impl NodeSpec {
    /// How many GPUs it has.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.indexes.len()).unwrap_or(u32::MAX)
    }
}

/// The pool of a GPU on this machine.
#[must_use]
pub(crate) fn pool_of(gpu: Gpu) -> PoolId {
    PoolId::new(format!("local/{gpu}"))
}

/// Reads `h100x8`. The name may itself hold an x.
fn one(text: &str) -> Result<(Gpu, u32), String> {
    let right = || {
        let known = Gpu::ALL.iter().map(|gpu| gpu.slug()).collect::<Vec<_>>().join(", ");
        format!(
            "{text:?} is not GPUxCOUNT such as h100x8, with a GPU of {known} and a count of 1 to {MOST_GPUS}; or say auto"
        )
    };
    let (gpu, count) = text.rsplit_once('x').ok_or_else(right)?;
    let gpu = gpu.parse().map_err(|_unknown| right())?;
    let count = count.parse().ok().filter(|count| (1..=MOST_GPUS).contains(count)).ok_or_else(right)?;
    Ok((gpu, count))
}

/// This machine's GPUs by type.
fn own_gpus(seen: &[GpuSeen]) -> Result<BTreeMap<Gpu, Vec<u32>>, NoGpus> {
    let mut own = BTreeMap::<Gpu, Vec<u32>>::new();
    let mut strange = Vec::new();
    for GpuSeen { index, name, memory_mib } in seen {
        match Gpu::from_product_name(name, *memory_mib) {
            Some(gpu) => own.entry(gpu).or_default().push(*index),
            None => strange.push(name.as_str()),
        }
    }
    if !own.is_empty() {
        if !strange.is_empty() {
            tracing::warn!(gpus = strange.join(", "), "these GPUs are not in the catalogue and are not offered");
        }
        return Ok(own);
    }
    let found = match strange.as_slice() {
        [] => "NVML finds no GPU on this machine".to_owned(),
        _ => format!("the catalogue knows none of this machine's GPUs ({})", strange.join(", ")),
    };
    Err(NoGpus { found })
}
