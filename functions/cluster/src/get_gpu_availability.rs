//! `GET /v1/gpu/availability`

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use domain::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use web::{DetailRefusals, Error, Member, Plane};

use crate::view::{GpuType, by_type, pools};

/// GPUs by type.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Availability {
    #[schema(value_type = std::collections::HashMap<String, GpuType>)]
    availability: BTreeMap<&'static str, GpuType>,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// Get current GPU availability across all GPU types.
#[utoipa::path(get, path = "/v1/gpu/availability", tag = "cluster", security(("user_key" = [])),
    responses((status = 200, description = "The ledger as it is now.", body = Availability), DetailRefusals))]
pub(crate) async fn get_gpu_availability(
    State(plane): State<Plane>,
    _member: Member,
) -> Result<Json<Availability>, Error> {
    let availability = by_type(&pools(&plane).await?);
    Ok(Json(Availability { availability, timestamp: plane.ports.clock.now() }))
}
