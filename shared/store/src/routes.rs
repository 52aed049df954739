//! Where a tenant's models are served: in the catalogue a row for each model, `TENANT#routes`, with an attribute for each workload that is
//! active. It is written in the transaction that makes a workload active or ends that.

use std::collections::BTreeSet;

use cloud::Upstream;
use domain::{TenantId, lifecycle::State, names::ModelName, tenant::PLATFORM};

use crate::{
    Store, StoreError, Table,
    items::{Item, key_of, text, text_of},
    passage::Passage,
    requests::Range,
    transaction::{Guard, Transaction},
};

/// What the attributes of workloads begin with, which no other attribute does.
const SERVER: &str = "at-";

/// The key of the row of a tenant's model.
pub(crate) fn route_key(tenant: &TenantId, model: &ModelName) -> (String, String) {
    (format!("{tenant}#routes"), model.as_str().to_owned())
}

/// The key of the row that says who has published a model to a tenant.
pub(crate) fn offer_key(tenant: &TenantId, model: &ModelName) -> (String, String) {
    (format!("{tenant}#offers"), model.as_str().to_owned())
}

/// Who has published a model, as the row says.
pub(crate) fn publisher(row: &Item) -> Option<TenantId> {
    text_of(row, "publisher").map(TenantId::new)
}

/// Adds to `transaction` what a workload's step does to the ways to its model.
pub(crate) fn lead(transaction: &mut Transaction<'_>, passage: Passage<'_>) -> Result<(), StoreError> {
    let workload = passage.workload;
    let Some(serve) = &workload.spec.serve else { return Ok(()) };
    let (pk, sk) = route_key(&workload.tenant, &serve.model);
    let name = ("#server", text(format!("{SERVER}{}", workload.id)));
    let mut update = |expression, values: &[_]| {
        transaction.update(Guard::Version, Table::Catalogue, (&pk, &sk), (expression, None), values)
    };
    match workload.authority() {
        Some(authority) if passage.enters(State::Active) => {
            update("SET #server = :authority", &[name, (":authority", text(authority))])
        }
        _ if passage.leaves(State::Active) => update("REMOVE #server", &[name]),
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
    /// Publishes a tenant's model to another tenant: false where somebody else has published one of the same name to it.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn offer(&self, publisher: &TenantId, model: &ModelName, to: &TenantId) -> Result<bool, StoreError> {
        let (pk, sk) = offer_key(to, model);
        let set = "SET publisher = :publisher";
        let free = Some("attribute_not_exists(pk) OR publisher = :publisher");
        let values = [(":publisher", text(publisher.as_str()))];
        Ok(self.update_row(Table::Catalogue, (&pk, &sk), set, free, &values).await?.is_some())
    }

    /// The models that somebody serves for a tenant: itself, a shared node, or whoever has published one to it.
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
        let offers = format!("{tenant}#offers");
        for offer in self.all(Table::Catalogue, &Range { hash: ("pk", &offers), ..Range::default() }).await? {
            let Ok(model) = ModelName::parse(&key_of(&offer).1) else { continue };
            let Some((pk, sk)) = publisher(&offer).map(|publisher| route_key(&publisher, &model)) else { continue };
            if !servers(self.get_row(Table::Catalogue, (&pk, &sk)).await?.as_ref()).is_empty() {
                served.insert(model);
            }
        }
        Ok(served)
    }
}
