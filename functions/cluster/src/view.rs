//! The GPU ledger as the reference shows it.

use std::collections::BTreeMap;

use serde::Serialize;
use store::{StoreError, capacity::PoolView};
use utoipa::ToSchema;
use web::Plane;

/// GPUs of one type.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(example = json!({"gpu_type": "h100", "total": 16, "available": 8, "in_use": 8, "queued": 4, "max_per_node": 8}))]
pub(crate) struct GpuType {
    gpu_type: &'static str,
    total: u32,
    /// Could be had now.
    available: u32,
    /// Held by jobs that are being launched, run or end.
    in_use: u32,
    /// Waited for.
    queued: u64,
    /// The most that one job can have.
    max_per_node: u32,
}

/// Every pool that is offered, as the ledger has it now: one strong query each.
pub(crate) async fn pools(plane: &Plane) -> Result<Vec<(&'static str, PoolView)>, StoreError> {
    let mut views = Vec::new();
    for pool in &plane.settings.pools {
        views.push((pool.gpu.slug(), plane.store.pool(&pool.id).await?));
    }
    Ok(views)
}

/// The pools by type of GPU: those of several places are added up.
pub(crate) fn by_type(views: &[(&'static str, PoolView)]) -> BTreeMap<&'static str, GpuType> {
    let mut types = BTreeMap::new();
    for (slug, view) in views {
        let entry: &mut GpuType = types.entry(*slug).or_default();
        entry.gpu_type = slug;
        entry.total += view.total();
        entry.available += view.available();
        entry.in_use += view.in_use();
        entry.queued += view.counts.queued_gpus;
        entry.max_per_node = entry.max_per_node.max(view.max_per_node());
    }
    types
}
