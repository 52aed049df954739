//! A job as the reference shows it.

use domain::{Timestamp, Workload, WorkloadId, job::Hours, lifecycle::State};
use serde::Serialize;
use store::workloads::{Purpose, sealed_with};
use utoipa::ToSchema;
use web::{Error, Plane};

/// A job.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "job_id": "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11", "reservation_id": "0198c7a2-5b1e-7c3a-9d2f-3e1a5b7c9d11",
    "user_id": "jschmidt@meta.com", "status": "active", "gpu_type": "h100", "gpu_count": 4, "instance_type": "p5.48xlarge",
    "duration_hours": 2.0, "created_at": "2026-01-20T18:00:00Z", "expires_at": "2026-01-20T20:00:00Z", "name": "training-run",
    "pod_name": "gpu-dev-3e1a5b7c9d11", "node_ip": "10.0.1.42", "node_port": 30123,
    "ssh_command": "ssh -p 30123 dev@10.0.1.42", "jupyter_enabled": true, "jupyter_url": "http://127.0.0.1:40321/lab",
    "jupyter_token": "8f1d...", "jupyter_error": null, "github_user": "jeanschmidt", "exit_code": null, "failure_reason": null,
    "gpu_seconds": 0
}))]
pub(crate) struct Job {
    #[schema(value_type = String, format = Uuid)]
    job_id: WorkloadId,
    /// The same as `job_id`.
    #[schema(value_type = String, format = Uuid)]
    reservation_id: WorkloadId,
    /// The owner's name.
    user_id: String,
    /// `queued`, `preparing`, `active`, `expired`, `cancelled` or `failed`.
    status: &'static str,
    gpu_type: &'static str,
    gpu_count: u32,
    instance_type: String,
    /// Extensions included.
    duration_hours: f64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Known once it is active.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    name: Option<String>,
    pod_name: Option<String>,
    node_ip: Option<String>,
    node_port: Option<u16>,
    /// Works as it is, with a key that the job knows.
    ssh_command: Option<String>,
    jupyter_enabled: bool,
    /// There when JupyterLab answers. It listens on the job's own loopback: reach it through `ssh -L`.
    jupyter_url: Option<String>,
    jupyter_token: Option<String>,
    /// Why JupyterLab can not be had.
    jupyter_error: Option<String>,
    github_user: Option<String>,
    /// The command's exit code, once it has ended.
    exit_code: Option<i32>,
    /// Why it failed or was ended, once it has.
    failure_reason: Option<String>,
    /// GPUs times seconds that it really used, once it has ended.
    gpu_seconds: u64,
}

impl Job {
    /// The job that a workload is to its owner.
    pub(crate) async fn of(plane: &Plane, workload: Workload) -> Result<Self, Error> {
        let jupyter_token = match &workload.jupyter.sealed_token {
            Some(sealed) if workload.state == State::Active => {
                let context = sealed_with(&workload.tenant, workload.id, Purpose::Jupyter);
                Some(plane.ports.vault.open(&context, sealed).await?.reveal().to_owned())
            }
            _ => None,
        };
        let over = workload.state == State::Ended;
        let reachable = matches!(workload.state, State::Active | State::Draining);
        let address = workload.address.as_ref().filter(|_| reachable);
        let jupyter_url =
            address.filter(|_| workload.jupyter.ready).map(|at| format!("http://127.0.0.1:{}/lab", at.jupyter_port));
        Ok(Self {
            job_id: workload.id,
            reservation_id: workload.id,
            user_id: workload.owner.to_string(),
            status: workload.status().name(),
            gpu_type: workload.spec.gpu.slug(),
            gpu_count: workload.spec.gpu_count,
            instance_type: workload.spec.instance_type.clone(),
            duration_hours: workload.duration.map_or(0.0, Hours::number),
            created_at: workload.created_at,
            expires_at: workload.expires_at,
            name: workload.spec.name.clone().map(String::from),
            pod_name: workload.instance.as_ref().map(|_| format!("gpu-dev-{}", workload.id.short())),
            node_ip: address.map(|at| at.host.clone()),
            node_port: address.map(|at| at.ssh_port),
            ssh_command: address.map(|at| format!("ssh -p {} dev@{}", at.ssh_port, at.host)),
            jupyter_enabled: workload.jupyter.wanted,
            jupyter_url,
            jupyter_token,
            jupyter_error: workload.jupyter.error.clone(),
            github_user: workload.spec.github_user.clone().map(String::from),
            exit_code: workload.exit_code,
            failure_reason: workload.ending.as_ref().filter(|_| over).and_then(|ending| ending.reason.clone()),
            gpu_seconds: workload.usage.gpu_seconds,
        })
    }
}
