//! `POST /v1/disks`

use axum::{Json, extract::State};
use domain::{disk::Action, names::DiskName};
use serde::Deserialize;
use utoipa::ToSchema;
use web::{Command, DetailRefusals, Error, Input, Member, Plane, disk};

use crate::act::{Requested, make};

/// What disk.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"disk_name": "my-training-data", "size_gb": 500}))]
pub(crate) struct NewDisk {
    /// Letters, digits, hyphens and underscores; unique among the caller's.
    #[schema(value_type = String, min_length = 1, max_length = 63)]
    disk_name: DiskName,
    /// From 10 to 10,000 GB.
    #[schema(minimum = 10, maximum = 10000)]
    size_gb: u32,
}

impl Input for NewDisk {
    const SECRET: &'static [&'static str] = &[];
}

/// Create a new persistent disk (queued operation).
#[utoipa::path(post, path = "/v1/disks", tag = "disks", security(("user_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    request_body = NewDisk,
    responses((status = 200, description = "It is being made; nothing that happens to us loses it.", body = Requested), DetailRefusals))]
pub(crate) async fn create_disk(
    State(plane): State<Plane>,
    member: Member,
    command: Command<NewDisk>,
) -> Result<Json<Requested>, Error> {
    let now = plane.ports.clock.now();
    let NewDisk { disk_name, size_gb } = &command.input;
    let asked = disk::asked(&plane, &member, disk_name, disk::checked_size("size_gb", *size_gb)?, now);
    let operation = plane.ports.ids.operation(now);
    let words = "Disk creation request queued successfully";
    let answer = Requested::new((disk_name, operation), Action::Create, words, now);
    make(&plane, &command, asked.create(operation, now), answer).await
}
