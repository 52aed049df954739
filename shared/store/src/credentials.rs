//! Tenants' own keys to clouds.
//!
//! One partition a tenant, `TENANT#credentials`: a row for each credential under its id, a row `default#PROVIDER` that names the one
//! which launches take that name none, and `counts`. So one strongly consistent query lists them all, and there is one default however many
//! ask at once. The keys lie sealed in a partition of their own, `TENANT#credential#ID`: whoever lists does not read them.

use std::{collections::BTreeMap, sync::Arc};

use cloud::{Fleet, SealContext};
use domain::{
    Credential, CredentialId, TenantId, Timestamp, Workload,
    credential::{CloudKeys, CredentialChange, MOST_CREDENTIALS, Provider},
};

use crate::{
    Plane, Store, StoreError, Table, WorkError,
    identities::Claim,
    items::{Item, number, row, text, text_of, value},
    passage::Passage,
    plane::DECISIONS,
    requests::Range,
    transaction::{Guard, Transaction},
};

const COUNTS: &str = "counts";
const DEFAULT: &str = "default#";
const KEYS: &str = "keys";
const SEALED: &str = "sealed";
/// The attribute of a default's row that says which credential it is.
const WHICH: &str = "credential";

fn partition(tenant: &TenantId) -> String {
    format!("{tenant}#credentials")
}

fn keys_partition(tenant: &TenantId, id: CredentialId) -> String {
    format!("{tenant}#credential#{id}")
}

fn default_sk(provider: Provider) -> String {
    format!("{DEFAULT}{provider}")
}

/// What a credential's keys are sealed with: they open for this tenant's credential alone (invariant I20).
#[must_use]
pub fn sealed_with(tenant: &TenantId, id: CredentialId) -> SealContext {
    SealContext { tenant: tenant.clone(), row: id.to_string(), purpose: "credential" }
}

impl Store {
    /// A tenant's credential, read strongly.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn credential(&self, tenant: &TenantId, id: CredentialId) -> Result<Option<Credential>, StoreError> {
        let pk = partition(tenant);
        let found = self.get_row(Table::Identity, (&pk, &id.to_string())).await?.map(there).transpose()?;
        let Some(mut credential) = found.flatten() else { return Ok(None) };
        credential.is_default = self.default_id(&pk, credential.provider).await? == Some(id);
        Ok(Some(credential))
    }

    /// The credential that a tenant's launches at this provider take.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn default_credential(
        &self,
        tenant: &TenantId,
        provider: Provider,
    ) -> Result<Option<CredentialId>, StoreError> {
        self.default_id(&partition(tenant), provider).await
    }

    async fn default_id(&self, pk: &str, provider: Provider) -> Result<Option<CredentialId>, StoreError> {
        let named = self.get_row(Table::Identity, (pk, &default_sk(provider))).await?;
        Ok(named.as_ref().and_then(which))
    }

    /// A tenant's credentials, oldest first, read strongly.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn credentials(&self, tenant: &TenantId) -> Result<Vec<Credential>, StoreError> {
        let pk = partition(tenant);
        let items = self.all(Table::Identity, &Range { hash: ("pk", &pk), ..Range::default() }).await?;
        let (mut defaults, mut found) = (BTreeMap::new(), Vec::new());
        for item in items {
            match text_of(&item, "sk").unwrap_or_default() {
                COUNTS => {}
                sk if sk.starts_with(DEFAULT) => {
                    defaults.insert(sk.to_owned(), which(&item));
                }
                _ => found.extend(there(item)?),
            }
        }
        for credential in &mut found {
            let default = defaults.get(&default_sk(credential.provider)).copied().flatten();
            credential.is_default = default == Some(credential.id);
        }
        Ok(found)
    }

    /// A credential's sealed keys; [`sealed_with`] opens them.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn sealed_keys(&self, tenant: &TenantId, id: CredentialId) -> Result<Option<String>, StoreError> {
        let item = self.get_row(Table::Identity, (&keys_partition(tenant, id), KEYS)).await?;
        Ok(item.as_ref().and_then(|item| text_of(item, SEALED)).map(str::to_owned))
    }

    /// Writes what was decided about a credential, if it is still as it was decided upon; `sealed` is its keys, where those are new.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when it is not; [`StoreError::TooManyCredentials`], [`StoreError::Claimed`].
    pub async fn write_credential(
        &self,
        change: &CredentialChange,
        sealed: Option<&str>,
        claim: Option<&Claim>,
    ) -> Result<(), StoreError> {
        let credential = &change.credential;
        let (pk, id) = (partition(&credential.tenant), credential.id.to_string());
        let mut transaction = self.transaction();
        if let Some(claim) = claim {
            claim.add_to(&mut transaction)?;
        }
        let item = row((&pk, &id), credential)?;
        match &change.before {
            Some(before) => {
                let values = [(":before", number(before.version))];
                transaction.put(Guard::Version, Table::Identity, item, Some(("version = :before", &values)))?;
            }
            None => {
                transaction.put(Guard::Version, Table::Identity, item, Some(("attribute_not_exists(pk)", &[])))?;
                let values = [(":one", number(1)), (":most", number(MOST_CREDENTIALS))];
                let below = Some("attribute_not_exists(credentials) OR credentials < :most");
                let add = ("ADD credentials :one", below);
                transaction.update(Guard::CredentialLimit, Table::Identity, (&pk, COUNTS), add, &values)?;
            }
        }
        if change.has_new_keys() {
            let sealed = sealed.ok_or_else(|| StoreError::Broken("new keys are not sealed".to_owned()))?;
            let mut item = keyed(&keys_partition(&credential.tenant, credential.id), KEYS);
            item.insert(SEALED.to_owned(), text(sealed));
            transaction.put(Guard::Version, Table::Identity, item, None)?;
        }
        put_default(&mut transaction, &pk, change)?;
        transaction.commit().await?.written().map_err(|error| Claim::judged(claim, error))
    }

    /// Removes a credential with its keys, and with it that it was the default, if it is still as it was read and nothing runs with it.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when that is not so; [`StoreError::Claimed`].
    pub async fn delete_credential(&self, credential: &Credential, claim: Option<&Claim>) -> Result<(), StoreError> {
        let Credential { tenant, id, .. } = credential;
        let pk = partition(tenant);
        let mut transaction = self.transaction();
        if let Some(claim) = claim {
            claim.add_to(&mut transaction)?;
        }
        let same = [
            ("#version", text("version")),
            ("#uses", text("uses")),
            (":before", number(credential.version)),
            (":none", number(0)),
        ];
        let unused = "#version = :before AND #uses = :none";
        transaction.remove(Guard::Version, Table::Identity, (&pk, &id.to_string()), unused, &same)?;
        transaction.delete(Table::Identity, (&keys_partition(tenant, *id), KEYS))?;
        let less = [(":less", number(-1))];
        let fewer = ("ADD credentials :less", None);
        transaction.update(Guard::Version, Table::Identity, (&pk, COUNTS), fewer, &less)?;
        if credential.is_default {
            remove_default(&mut transaction, &pk, credential)?;
        }
        transaction.commit().await?.written().map_err(|error| Claim::judged(claim, error))
    }
}

impl Store {
    /// Removes all of a tenant's credentials, for a tenant that goes. False where something still runs with one, or somebody is at it.
    ///
    /// # Errors
    /// When the tables fail; those that are gone until then are gone.
    pub async fn forget_credentials(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        for credential in self.credentials(tenant).await? {
            match self.delete_credential(&credential, None).await {
                Ok(()) => {}
                Err(StoreError::Moved) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn keyed(pk: &str, sk: &str) -> Item {
    Item::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// The credential of a row; `None` for what is left of one that went while something ran with it ([`drop_use`]).
fn there(item: Item) -> Result<Option<Credential>, StoreError> {
    if item.contains_key("id") { value(item).map(Some) } else { Ok(None) }
}

fn which(item: &Item) -> Option<CredentialId> {
    text_of(item, WHICH)?.parse().ok()
}

/// Keeps which one is the default. Whoever becomes it takes the place of the one before, whose own row stays as it is.
fn put_default(transaction: &mut Transaction<'_>, pk: &str, change: &CredentialChange) -> Result<(), StoreError> {
    let credential = &change.credential;
    let was = change.before.as_ref().is_some_and(|before| before.is_default);
    match (was, credential.is_default) {
        (true, false) => remove_default(transaction, pk, credential),
        (_, true) => {
            let mut item = keyed(pk, &default_sk(credential.provider));
            item.insert(WHICH.to_owned(), text(credential.id.to_string()));
            transaction.put(Guard::Version, Table::Identity, item, None)
        }
        (false, false) => Ok(()),
    }
}

fn remove_default(transaction: &mut Transaction<'_>, pk: &str, credential: &Credential) -> Result<(), StoreError> {
    let same = [("#which", text(WHICH)), (":id", text(credential.id.to_string()))];
    let key = default_sk(credential.provider);
    transaction.remove(Guard::Version, Table::Identity, (pk, &key), "#which = :id", &same)
}

/// Adds to `transaction` what a workload's step does to the credential that it runs with.
pub(crate) fn count_use(transaction: &mut Transaction<'_>, passage: Passage<'_>) -> Result<(), StoreError> {
    let workload = passage.workload;
    let Some(id) = workload.spec.serve.as_ref().and_then(|serve| serve.credential) else { return Ok(()) };
    if passage.begins() {
        add_use(transaction, &workload.tenant, id)
    } else if passage.ends() {
        drop_use(transaction, &workload.tenant, id)
    } else {
        Ok(())
    }
}

/// One live workload more runs with a credential, which must be there: written in the transaction that begins the workload.
fn add_use(transaction: &mut Transaction<'_>, tenant: &TenantId, id: CredentialId) -> Result<(), StoreError> {
    // The version counts as well: whoever puts the whole row meanwhile would put the old count.
    let (add, there) = ("ADD uses :one, version :one", Some("attribute_exists(pk)"));
    let key = (&*partition(tenant), &*id.to_string());
    transaction.update(Guard::Version, Table::Identity, key, (add, there), &[(":one", number(1))])
}

/// One live workload fewer runs with a credential: written in the transaction that ends the workload. It has no condition, since nothing may
/// keep a workload from ending: where a tenant was deleted with all it had, it leaves a row that readers take for none.
fn drop_use(transaction: &mut Transaction<'_>, tenant: &TenantId, id: CredentialId) -> Result<(), StoreError> {
    let values = [(":less", number(-1)), (":one", number(1))];
    let key = (&*partition(tenant), &*id.to_string());
    transaction.update(Guard::Version, Table::Identity, key, ("ADD uses :less, version :one", None), &values)
}

impl Plane {
    /// The fleet that a workload runs on: in the account of its tenant's own credential where it has one, and else in the installation's.
    ///
    /// # Errors
    /// When the credential's keys cannot be read; they are there for as long as something runs with them.
    pub async fn fleet_of(&self, workload: &Workload) -> Result<Arc<dyn Fleet>, WorkError> {
        let Some(id) = workload.spec.serve.as_ref().and_then(|serve| serve.credential) else {
            return Ok(Arc::clone(&self.ports.fleet));
        };
        let missing = || StoreError::Broken(format!("the keys of {id} are missing"));
        let sealed = self.store.sealed_keys(&workload.tenant, id).await?.ok_or_else(missing)?;
        let opened = self.ports.vault.open(&sealed_with(&workload.tenant, id), &sealed).await?;
        let keys = CloudKeys::from_text(&opened).ok_or_else(missing)?;
        Ok(self.ports.fleet.in_account(&keys))
    }

    /// As [`Plane::decide`], of a credential; with the change go its keys, where those are new, sealed ([`sealed_with`]), and the claim of the
    /// request that asked for it. `decide` is given `None` where there is no such credential.
    ///
    /// # Errors
    /// As [`Plane::decide`].
    pub async fn decide_credential<T, E>(
        &self,
        (tenant, id): (&TenantId, CredentialId),
        sealed: Option<&str>,
        decide: impl Fn(Option<Credential>, Timestamp) -> Result<(CredentialWrite, Option<Claim>, T), E>,
    ) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        for attempt in 0..DECISIONS {
            if attempt > 0 {
                self.store.back_off(attempt).await;
            }
            let credential = self.store.credential(tenant, id).await?;
            let (write, claim, answer) = decide(credential, self.ports.clock.now())?;
            let written = match &write {
                CredentialWrite::Change(change) => self.store.write_credential(change, sealed, claim.as_ref()).await,
                CredentialWrite::Delete(credential) => self.store.delete_credential(credential, claim.as_ref()).await,
            };
            match written {
                Ok(()) => return Ok(answer),
                Err(StoreError::Moved) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended.into())
    }
}

/// What becomes of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialWrite {
    /// It is as this says.
    Change(Box<CredentialChange>),
    /// It is gone.
    Delete(Box<Credential>),
}

#[cfg(test)]
mod tests;
