//! `GET /v1/cluster/status`

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use domain::Timestamp;
use serde::Serialize;
use store::capacity::PoolView;
use utoipa::ToSchema;
use web::{DetailRefusals, Error, Member, Plane};

use crate::view::{GpuType, by_type, pools};

/// The whole cluster.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ClusterStatus {
    total_gpus: u32,
    available_gpus: u32,
    in_use_gpus: u32,
    queued_gpus: u64,
    /// Active or ending.
    active_reservations: u64,
    preparing_reservations: u64,
    queued_reservations: u64,
    /// Those queued that no dispatcher has seen yet.
    pending_reservations: u64,
    #[schema(value_type = std::collections::HashMap<String, GpuType>)]
    by_gpu_type: BTreeMap<&'static str, GpuType>,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// Get overall cluster status and statistics.
#[utoipa::path(get, path = "/v1/cluster/status", tag = "cluster", security(("user_key" = [])),
    responses((status = 200, description = "The ledger as it is now.", body = ClusterStatus), DetailRefusals))]
pub(crate) async fn get_cluster_status(
    State(plane): State<Plane>,
    _member: Member,
) -> Result<Json<ClusterStatus>, Error> {
    let views = pools(&plane).await?;
    let gpus = |of: fn(&PoolView) -> u32| views.iter().map(|(_, view)| of(view)).sum();
    let jobs = |of: fn(&PoolView) -> u64| views.iter().map(|(_, view)| of(view)).sum();
    Ok(Json(ClusterStatus {
        total_gpus: gpus(PoolView::total),
        available_gpus: gpus(PoolView::available),
        in_use_gpus: gpus(PoolView::in_use),
        queued_gpus: jobs(|view| view.counts.queued_gpus),
        active_reservations: jobs(|view| view.counts.active),
        preparing_reservations: jobs(|view| view.counts.preparing),
        queued_reservations: jobs(|view| view.counts.queued),
        pending_reservations: jobs(PoolView::unseen),
        by_gpu_type: by_type(&views),
        timestamp: plane.ports.clock.now(),
    }))
}
