//! Where a tenant's models are served: in the catalogue a row for each model, `TENANT#routes`, with an attribute for each workload that is
//! active. It is written in the transaction that makes a workload active or ends that.

use std::collections::BTreeSet;

use cloud::Upstream;
use domain::{TenantId, Workload, lifecycle::State, names::ModelName, tenant::PLATFORM};

use crate::{
    Store, StoreError, Table,
    items::{Item, key_of, text},
    requests::Range,
    transaction::{Guard, Transaction},
};

/// What the attributes of workloads begin with, which no other attribute does.
const SERVER: &str = "at-";

/// The key of the row of a tenant's model.
pub(crate) fn route_key(tenant: &TenantId, model: &ModelName) -> (String, String) {
    (format!("{tenant}#routes"), model.as_str().to_owned())
}

/// Adds to `transaction` what a workload's step does to the ways to its model.
pub(crate) fn account(
    transaction: &mut Transaction<'_>,
    from: Option<State>,
    workload: &Workload,
) -> Result<(), StoreError> {
    let Some(serve) = &workload.spec.serve else { return Ok(()) };
    let (was, is) = (from == Some(State::Active), workload.state == State::Active);
    let (pk, sk) = route_key(&workload.tenant, &serve.model);
    let name = ("#server", text(format!("{SERVER}{}", workload.id)));
    let mut update = |expression, values: &[_]| {
        transaction.update(Guard::Version, Table::Catalogue, (&pk, &sk), (expression, None), values)
    };
    match workload.authority() {
        Some(authority) if is && !was => update("SET #server = :authority", &[name, (":authority", text(authority))]),
        _ if was && !is => update("REMOVE #server", &[name]),
        _ => Ok(()),
    }
}

/// The servers that a row names.
pub(crate) fn servers(row: Option<&Item>) -> Vec<Upstream> {
    let attributes = row.into_iter().flatten().filter(|(name, _)| name.starts_with(SERVER));
    let mut servers = attributes
        .filter_map(|(_, authority)| authority.as_s().ok().map(|authority| Upstream(authority.clone())))
        .collect::<Vec<_>>();
    // A map has no order of its own, and a simulated run is to be the same each time.
    servers.sort_unstable();
    servers
}

impl Store {
    /// The models that somebody serves for a tenant, or for everybody.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn served_models(&self, tenant: &TenantId) -> Result<BTreeSet<ModelName>, StoreError> {
        let mut served = BTreeSet::new();
        for of in BTreeSet::from([tenant.clone(), TenantId::new(PLATFORM)]) {
            let pk = format!("{of}#routes");
            for row in self.all(Table::Catalogue, &Range { hash: ("pk", &pk), ..Range::default() }).await? {
                if !servers(Some(&row)).is_empty() {
                    served.extend(ModelName::parse(&key_of(&row).1).ok());
                }
            }
        }
        Ok(served)
    }
}
