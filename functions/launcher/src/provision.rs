//! The step that asks the fleet. Its undo is [`crate::wind_down`].

use std::time::Duration;

use cloud::{FleetError, Order, Provisioned};
use domain::{
    Secret, TenantId, Workload, WorkloadId,
    api_key::{KeyKind, mint},
    job::Hours,
    lifecycle::{Stage, State},
};
use serde_json::{Value, json};
use store::{
    Plane,
    workloads::{NewAttempt, Purpose, Write, sealed_with},
};

use crate::StepError;

/// A one-time token that was not used by then belongs to a launch that was given up long ago.
const TOKEN_TTL: Duration = Duration::from_secs(2 * 3600);

/// Asks the fleet to run the workload's present attempt. The answer says whether it does, or has no room yet.
pub(crate) async fn provision(plane: &Plane, tenant: &TenantId, id: WorkloadId) -> Result<Value, StepError> {
    let workload = attempt_under_way(plane, tenant, id).await?;
    if workload.state != State::Provisioning || workload.instance.is_some() {
        return Ok(json!({"ready": true}));
    }
    let order = order(plane, &workload).await?;
    match plane.fleet_of(&workload).await?.provision(&order).await {
        Ok(provisioned) => record(plane, &order, provisioned).await,
        Err(FleetError::Capacity(why)) => {
            tracing::info!(workload = %id, why, "fleet.no_capacity");
            // A pod may be waiting for its volume: no node takes it before.
            let disk = workload.spec.disk.is_some() && workload.disk.is_none();
            Ok(json!({"ready": false, "disk": disk}))
        }
        Err(FleetError::Refused(why)) => Err(StepError::new("Fleet.Refused", why)),
        Err(FleetError::Port(error)) => Err(error.into()),
    }
}

/// The workload with an attempt: its number and its token are stored before the fleet is asked, so that nothing the fleet makes is
/// ever unknown.
async fn attempt_under_way(plane: &Plane, tenant: &TenantId, id: WorkloadId) -> Result<Workload, StepError> {
    plane
        .decide((tenant, id), |workload, now| async move {
            let workload = workload.ok_or_else(StepError::gone)?;
            match workload.state.stage() {
                Stage::Waiting => return Err(StepError::new("Launch.NotPlaced", "the workload waits for GPUs")),
                Stage::Ending | Stage::Over => return Err(StepError::ending()),
                Stage::Launching if workload.state == State::Placed => {}
                Stage::Launching | Stage::Running => return Ok((None, workload)),
            }
            let refused = |refusal: domain::Refusal| StepError::new("Launch.NotPlaced", refusal.to_string());
            let change = workload.begin_attempt(now).map_err(refused)?;
            let token = mint(KeyKind::Enroll, &plane.ports.ids.random());
            let sealed_token = plane.ports.vault.seal(&sealed_with(tenant, id, Purpose::Enroll), &token).await?;
            let attempt = NewAttempt { token: token.hash(), sealed_token, until: now.plus(TOKEN_TTL) };
            let begun = change.workload.clone();
            Ok((Some(Write { attempt: Some(attempt), ..Write::of(change) }), begun))
        })
        .await
}

async fn order(plane: &Plane, workload: &Workload) -> Result<Order, StepError> {
    let (tenant, id) = (&workload.tenant, workload.id);
    let missing = || StepError::new("Store.Failed", "the attempt's row is missing");
    let attempt = plane.store.attempt(tenant, id).await?.ok_or_else(missing)?;
    let enroll_token: Secret =
        plane.ports.vault.open(&sealed_with(tenant, id, Purpose::Enroll), &attempt.sealed_token).await?;
    Ok(Order {
        tenant: tenant.clone(),
        workload: id,
        attempt: attempt.number,
        pool: workload.pool().clone(),
        node: workload.node.clone().ok_or_else(missing)?,
        gpus: workload.spec.gpu_count,
        gpu: workload.spec.gpu,
        instance_type: workload.spec.instance_type.clone(),
        life: workload.duration.map(Hours::duration),
        serves: workload.spec.serve.is_some(),
        use_spot: workload.spec.serve.as_ref().is_some_and(|serve| serve.use_spot),
        image: workload.spec.image.as_str().to_owned(),
        disk: workload.spec.disk.as_ref().map(|disk| disk.id),
        enroll_token,
    })
}

/// Records what the fleet made, and leaves alone a workload that is past this, or ending: whatever ends it finds the instance by its
/// attempt.
async fn record(plane: &Plane, order: &Order, provisioned: Provisioned) -> Result<Value, StepError> {
    let Provisioned { instance, address } = &provisioned;
    plane
        .decide((&order.tenant, order.workload), |workload, now| async move {
            let workload = workload.ok_or_else(StepError::gone)?;
            if workload.instance.is_some() {
                return Ok((None, json!({"ready": true})));
            }
            let recorded = workload.provisioned(instance.clone(), address.clone(), now);
            let change = recorded.map_err(|_refused| StepError::ending())?;
            Ok((Some(Write::of(change)), json!({"ready": true})))
        })
        .await
}
