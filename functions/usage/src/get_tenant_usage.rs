//! `GET /admin/tenants/{tenant_id}/usage`

use std::str::FromStr;

use axum::{Json, extract::State};
use domain::{
    TenantId,
    ids::NotAnId,
    tenant::{PLATFORM, Tenant},
};
use web::{
    Admin, Checked, Error, Id, Identified, Plane, TypedRefusals,
    usage::{self, Report, UsageQuery},
};

/// What is said of a tenant that is not there.
const UNKNOWN: &str = "tenant not found";

/// Any tenant: one with a row, a team of the login table, or `platform`, to which the installation's own nodes belong.
#[derive(Clone, Debug)]
pub(crate) struct AnyTenant(TenantId);

impl FromStr for AnyTenant {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Ok(Self(TenantId::new(text)))
    }
}

impl Identified for AnyTenant {
    const PARAMETER: &'static str = "tenant_id";
    const UNKNOWN: &'static str = UNKNOWN;
}

/// What a tenant used, and what it cost; `platform` is the installation itself.
#[utoipa::path(get, path = "/admin/tenants/{tenant_id}/usage", tag = "usage", security(("admin_token" = [])),
    params(("tenant_id" = String, Path, description = "The tenant."), UsageQuery),
    responses((status = 200, description = "The report.", body = Report), TypedRefusals))]
pub(crate) async fn get_tenant_usage(
    State(plane): State<Plane>,
    _: Admin,
    Id(AnyTenant(tenant)): Id<AnyTenant>,
    Checked(wanted): Checked<UsageQuery>,
) -> Result<Json<Report>, Error> {
    if !is_there(&plane, &tenant).await? {
        return Err(Error::NotFound(UNKNOWN));
    }
    Ok(Json(usage::report(&plane, &tenant, &wanted).await?))
}

async fn is_there(plane: &Plane, tenant: &TenantId) -> Result<bool, Error> {
    if tenant.is_kept() {
        return Ok(plane.store.tenant(tenant).await?.is_some_and(|tenant| Tenant::is_there(&tenant)));
    }
    let secrets = plane.settings.secrets.current().await?;
    Ok(tenant.as_str() == PLATFORM || secrets.login.0.iter().any(|rule| rule.tenant == *tenant))
}
