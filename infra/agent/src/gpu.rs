//! This machine's GPUs, through NVML where its library is present.

use nvml_wrapper::{Nvml, error::NvmlError};

/// One GPU of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSeen {
    /// Its index, as in `CUDA_VISIBLE_DEVICES`.
    pub index: u32,
    /// The product's name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its memory in MiB.
    pub memory_mib: u64,
}

/// This machine's GPUs; none where NVML's library is missing or cannot say.
#[must_use]
pub fn gpus() -> Vec<GpuSeen> {
    match seen() {
        Ok(gpus) => gpus,
        Err(error) => {
            tracing::info!(%error, "no GPUs were found through NVML");
            Vec::new()
        }
    }
}

fn seen() -> Result<Vec<GpuSeen>, NvmlError> {
    let nvml = Nvml::init()?;
    (0..nvml.device_count()?)
        .map(|index| {
            let device = nvml.device_by_index(index)?;
            Ok(GpuSeen { index, name: device.name()?, memory_mib: device.memory_info()?.total / (1024 * 1024) })
        })
        .collect()
}
