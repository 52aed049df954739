//! What is shown of a cluster.

use domain::{TenantId, Timestamp, Workload, lifecycle::Stage};
use serde::Serialize;
use utoipa::ToSchema;

/// A cluster: the machine of one node or instance.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "name": "cl-3e1a5b7c9d11", "status": "UP", "node_id": "node-0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11", "tenant_id": "platform",
    "provider": "aws", "region": "us-west-2", "resources": "1x A10G", "use_spot": false, "autostop_minutes": 30,
    "launched_at": "2024-01-15T10:30:00Z", "phase": "active", "endpoint": "http://10.0.0.1:8000"
}))]
pub(crate) struct Cluster {
    name: String,
    /// `INIT` while it is launched, `UP`, `STOPPING` or `STOPPED`.
    status: &'static str,
    node_id: String,
    #[schema(value_type = String)]
    tenant_id: TenantId,
    provider: &'static str,
    region: String,
    /// How many GPUs of which type.
    resources: String,
    use_spot: bool,
    autostop_minutes: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    launched_at: Timestamp,
    phase: &'static str,
    endpoint: Option<String>,
}

impl Cluster {
    /// The cluster that a workload is; `None` of what serves no model.
    pub(crate) fn of(workload: &Workload) -> Option<Self> {
        let serve = workload.spec.serve.as_ref()?;
        let status = match workload.state.stage() {
            Stage::Waiting | Stage::Launching => "INIT",
            Stage::Running => "UP",
            Stage::Ending => "STOPPING",
            Stage::Over => "STOPPED",
        };
        Some(Self {
            name: workload.id.cluster_name(),
            status,
            node_id: workload.id.as_node(),
            tenant_id: workload.tenant.clone(),
            provider: serve.provider.name(),
            region: serve.region.as_str().to_owned(),
            resources: format!("{}x {}", workload.spec.gpu_count, workload.spec.gpu.slug().to_ascii_uppercase()),
            use_spot: serve.use_spot,
            autostop_minutes: serve.idle_minutes,
            launched_at: workload.created_at,
            phase: workload.state.name(),
            endpoint: workload.endpoint(),
        })
    }
}
