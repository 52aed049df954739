//! `DELETE /admin/tenants/{tenant_id}`

use axum::{Json, extract::State};
use domain::tenant::{TenantRefusal, TenantStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{Admin, Checked, Command, Error, Id, Nothing, Plane, TypedRefusals};

use crate::name::{TenantRef, read};

/// How thoroughly.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct How {
    force: bool,
}

/// A tenant is on its way out.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "550e8400-e29b-41d4-a716-446655440000", "status": "deleting", "message": "Tenant deletion initiated"
}))]
pub(crate) struct Leaving {
    id: String,
    /// `deleting`; in a minute or two, when nothing of it runs any more, it is gone.
    status: &'static str,
    message: &'static str,
}

/// Delete a tenant: its keys open nothing from this moment on. While something of it runs or waits it is refused, unless `force` ends that first.
#[utoipa::path(delete, path = "/admin/tenants/{tenant_id}", tag = "tenants", security(("admin_token" = [])),
    params(("tenant_id" = String, Path, format = Uuid, description = "The tenant."), ("force" = Option<bool>, Query, description = "End what runs.")),
    responses((status = 200, description = "It is on its way out.", body = Leaving), TypedRefusals))]
pub(crate) async fn delete_tenant(
    State(plane): State<Plane>,
    _: Admin,
    Id(tenant): Id<TenantRef>,
    Checked(How { force }): Checked<How>,
    _: Command<Nothing, Admin>,
) -> Result<Json<Leaving>, Error> {
    let known = read(&plane, &tenant).await?;
    if known.status != TenantStatus::Deleting {
        // First nothing new is let in, then what is there is counted: nothing can begin between the two.
        let leaving = known.leave(plane.ports.clock.now())?;
        plane.store.write_tenant(&leaving, None).await?;
        let live = plane.live_workloads(&known.id).await?;
        if live > 0 && !force {
            plane.store.write_tenant(&leaving.stay(known.status, plane.ports.clock.now()), None).await?;
            return Err(TenantRefusal::Busy(live).into());
        }
    }
    if force {
        // What cannot be ended at once is left to the sweep.
        plane.end_workloads(&known.id, "admin").await?;
    }
    Ok(Json(Leaving { id: known.id.to_string(), status: "deleting", message: "Tenant deletion initiated" }))
}
