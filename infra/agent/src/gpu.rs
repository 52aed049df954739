//! This machine's GPUs, through NVML where its library is present.

use std::{sync::Arc, time::Duration};

use cloud::Clock;
use nvml_wrapper::{Nvml, error::NvmlError};

use crate::idle::Doing;

/// How often is looked whether GPUs are at work. NVML itself tells of about the last second.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A GPU of which more than this is used is at work, in percent of the time: a display or a monitor uses one or two.
const AT_WORK_ABOVE: u32 = 5;

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

/// Tells again and again whether these GPUs are at work; that they cannot be seen, where NVML is missing.
pub(crate) async fn watch(gpus: Vec<u32>, clock: Arc<dyn Clock>, tell: impl Fn(Doing)) {
    let nvml = match Nvml::init() {
        Ok(nvml) => Arc::new(nvml),
        Err(error) => {
            tracing::warn!(%error, "whether the GPUs are at work cannot be seen");
            return tell(Doing::Unknown);
        }
    };
    loop {
        let (nvml, gpus) = (Arc::clone(&nvml), gpus.clone());
        // The driver answers in a millisecond, but in seconds while it resets a GPU.
        let used = tokio::task::spawn_blocking(move || gpus.iter().map(|gpu| used(&nvml, *gpu)).collect::<Vec<_>>());
        tell(used.await.map_or(Doing::Unknown, |used| doing(&used)));
        clock.sleep(LOOK_EVERY).await;
    }
}

/// How much of a GPU's time is used, in percent; `None` when that cannot be seen.
fn used(nvml: &Nvml, gpu: u32) -> Option<u32> {
    let used = nvml.device_by_index(gpu).and_then(|device| device.utilization_rates());
    used.inspect_err(|error| tracing::debug!(gpu, %error, "whether a GPU is at work cannot be seen"))
        .ok()
        .map(|rates| rates.gpu)
}

/// Whether GPUs of which so much is used are at work.
fn doing(used: &[Option<u32>]) -> Doing {
    if used.iter().flatten().any(|used| *used > AT_WORK_ABOVE) {
        Doing::Something
    } else if used.iter().all(Option::is_some) {
        Doing::Nothing
    } else {
        Doing::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_at_work_when_one_is() {
        for (used, expected) in [
            (vec![], Doing::Nothing),
            (vec![Some(0), Some(5)], Doing::Nothing),
            (vec![Some(0), Some(6)], Doing::Something),
            (vec![None, Some(100)], Doing::Something),
            (vec![None, Some(0)], Doing::Unknown),
        ] {
            assert_eq!(doing(&used), expected, "{used:?}");
        }
    }
}
