//! `POST /v1/jobs/{job_id}/jupyter/enable`

use axum::{Json, extract::State};
use domain::{TenantId, WorkloadId};
use store::workloads::{Purpose, sealed_with};
use web::{Command, DetailRefusals, Error, Id, Member, Nothing, OfWorkload, Plane};

use crate::{
    action::{ActionAccepted, Effect, Wording, perform},
    id::JobId,
};

/// Enable Jupyter Lab for a running job.
#[utoipa::path(post, path = "/v1/jobs/{job_id}/jupyter/enable", tag = "jobs", security(("user_key" = [])),
    params(("job_id" = String, Path, format = Uuid, description = "The job."), ("Idempotency-Key" = Option<String>, Header, description = "Repeat safely.")),
    responses((status = 200, description = "It is started; the job's `jupyter_url` is there when it answers.", body = ActionAccepted), DetailRefusals))]
pub(crate) async fn enable_jupyter(
    State(plane): State<Plane>,
    member: Member,
    Id(job): Id<JobId>,
    command: Command<Nothing>,
) -> Result<Json<ActionAccepted>, Error> {
    let sealed = new_token(&plane, &member.tenant, job.workload()).await?;
    let wording = Wording {
        action: "enable_jupyter",
        message: "Jupyter enable request submitted".to_owned(),
        effect: Effect::Agent,
    };
    perform(&plane, &member, job, &command, wording, |held, now| held.set_jupyter(Some(sealed.clone()), now)).await
}

/// A fresh token for a job's JupyterLab, sealed.
pub(crate) async fn new_token(plane: &Plane, tenant: &TenantId, job: WorkloadId) -> Result<String, Error> {
    let digits = plane.ports.ids.random()[..24].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let context = sealed_with(tenant, job, Purpose::Jupyter);
    Ok(plane.ports.vault.seal(&context, &domain::Secret::new(digits)).await?)
}
