//! A tenant that goes: what it has is ended, and then it is gone.

use domain::{
    TenantId, UserName, Workload, WorkloadId,
    tenant::{Tenant, TenantStatus},
    workload::JobStatus,
};

use crate::{Plane, StoreError, WorkError, workloads::Write};

/// How many of an owner's workloads are ended in one go; the next sweep goes on.
const A_GO: usize = 200;

impl Plane {
    /// How many workloads of a tenant's have not ended.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn live_workloads(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let mut live = 0;
        for owner in self.store.owners(tenant).await? {
            live += self.store.live(tenant, &owner).await?;
        }
        Ok(live)
    }

    /// Tells what a tenant has to end, on behalf of `by`. Lists are late, so that this may have to be done again.
    ///
    /// # Errors
    /// When the tables fail; what was told until then is told.
    pub async fn end_workloads(&self, tenant: &TenantId, by: &str) -> Result<(), WorkError> {
        for owner in self.store.owners(tenant).await? {
            for workload in self.live_of(tenant, &owner).await? {
                self.end_workload(tenant, workload, by).await?;
            }
        }
        Ok(())
    }

    async fn live_of(&self, tenant: &TenantId, owner: &UserName) -> Result<Vec<WorkloadId>, StoreError> {
        if self.store.live(tenant, owner).await? == 0 {
            return Ok(Vec::new());
        }
        let live = JobStatus::ALL.into_iter().filter(|status| !status.is_over()).collect::<Vec<_>>();
        let listed = self.store.list(tenant, owner, &live, (A_GO, 0)).await?;
        Ok(listed.workloads.into_iter().map(|workload| workload.id).collect())
    }

    /// Cancels a workload, unless it is ending or over.
    async fn end_workload(&self, tenant: &TenantId, id: WorkloadId, by: &str) -> Result<(), WorkError> {
        let cancelled = |workload: Option<Workload>, now| async move {
            let Some(workload) = workload else { return Ok((None, ())) };
            // What refuses to be cancelled is ending already.
            let Ok(change) = workload.cancel(by, now) else { return Ok((None, ())) };
            let message = change.rouses();
            let change = change.sending(self.ports.ids.message(now), vec![message]);
            Ok::<_, WorkError>((Some(Write::of(change)), ()))
        };
        self.decide((tenant, id), cancelled).await
    }

    /// Goes on with a tenant that is being deleted: ends what it has, or, when nothing of it is live, lets it go. True when it is gone.
    ///
    /// # Errors
    /// When the tables fail; the next sweep goes on.
    pub async fn let_go(&self, id: &TenantId) -> Result<bool, WorkError> {
        let Some(tenant) = self.store.tenant(id).await? else { return Ok(true) };
        if tenant.status != TenantStatus::Deleting {
            return Ok(!tenant.is_there());
        }
        if self.live_workloads(id).await? > 0 {
            self.end_workloads(id, "slipway").await?;
            return Ok(false);
        }
        let now = self.ports.clock.now();
        for key in self.store.tenant_keys(id).await? {
            self.store.revoke_tenant_key(id, key.id, now).await?;
        }
        if !self.store.forget_credentials(id).await? {
            return Ok(false);
        }
        self.write_gone(&tenant).await
    }

    async fn write_gone(&self, tenant: &Tenant) -> Result<bool, WorkError> {
        match self.store.write_tenant(&tenant.gone(self.ports.clock.now()), None).await {
            Ok(()) => Ok(true),
            // Somebody else goes on with it.
            Err(StoreError::Moved) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
