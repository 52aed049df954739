//! `GET /`

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use web::Plane;

/// What this is and where things are.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ApiInfo {
    service: &'static str,
    version: &'static str,
    docs: &'static str,
    health: &'static str,
    auth: AuthInfo,
    endpoints: Endpoints,
}

/// How to get a key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AuthInfo {
    aws_login: &'static str,
    description: &'static str,
}

/// Where the parts of the API are.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Endpoints {
    jobs: &'static str,
    disks: &'static str,
    gpu_availability: &'static str,
    cluster_status: &'static str,
    keys: &'static str,
}

/// Get API information and available endpoints.
#[utoipa::path(get, path = "/", tag = "meta",
    responses((status = 200, description = "What this is and where things are.", body = ApiInfo)))]
pub(crate) async fn get_api_info(State(plane): State<Plane>) -> Json<ApiInfo> {
    Json(ApiInfo {
        service: "GPU Dev API",
        version: plane.settings.version,
        docs: "/docs",
        health: "/health",
        auth: AuthInfo { aws_login: "/v1/auth/aws-login", description: "Use AWS credentials to obtain an API key" },
        endpoints: Endpoints {
            jobs: "/v1/jobs",
            disks: "/v1/disks",
            gpu_availability: "/v1/gpu/availability",
            cluster_status: "/v1/cluster/status",
            keys: "/v1/keys",
        },
    })
}
