//! Tenants, and the keys that they are given.
//!
//! A tenant is one row of its own partition, `ID#tenant`, since every request of a tenant reads it; an index lists them. A tenant's keys are
//! rows of its partition `ID#keys`, beside the rows by hash that open the door.

use domain::{
    KeyId, SecretHash, TenantId, Timestamp, UserName,
    limits::Limits,
    names::Label,
    policy,
    tenant::{Tenant, TenantStatus},
};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError, Table,
    identities::{Claim, Holder, KeyRow, TenantKey, key_pk},
    items::{Item, key_of, millis, number, row, text, value},
    requests::{DueMark, Range},
    tables::{DUE_NOW, LISTING},
    transaction::{Guard, Transaction},
};

const ONLY: &str = "-";
const ALL: &str = "tenants";

/// What is told of a tenant's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantKeyRow {
    /// Its id, which opens nothing.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is called.
    pub name: Label,
    /// Its first characters, by which a person recognises it.
    pub prefix: String,
    /// Its hash.
    pub hash: SecretHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; `None` when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// What it may ask of models.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

impl TenantKeyRow {
    /// Whether it opens anything at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

pub(crate) fn tenant_pk(id: &TenantId) -> String {
    format!("{id}#tenant")
}

fn keys_pk(id: &TenantId) -> String {
    format!("{id}#keys")
}

/// The partition of a tenant's people.
pub(crate) fn users_pk(id: &TenantId) -> String {
    format!("{id}#users")
}

fn tenant_item(tenant: &Tenant) -> Result<Item, StoreError> {
    let mut item = row((&tenant_pk(&tenant.id), ONLY), tenant)?;
    if tenant.is_there() {
        item.insert("list_pk".to_owned(), text(ALL));
        item.insert("list_sk".to_owned(), text(format!("{:015}#{}", tenant.created_at.millis(), tenant.id)));
    }
    if tenant.status == TenantStatus::Deleting {
        item.insert("due_pk".to_owned(), text(DUE_NOW));
        item.insert("due_at".to_owned(), millis(tenant.updated_at.plus(policy::LAST_REQUESTS)));
    }
    Ok(item)
}

fn add_claim(transaction: &mut Transaction<'_>, claim: Option<&Claim>) -> Result<(), StoreError> {
    claim.map_or(Ok(()), |claim| claim.add_to(transaction))
}

impl Store {
    /// A tenant, read strongly; one that is gone keeps its row.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        self.get_row(Table::Identity, (&tenant_pk(id), ONLY)).await?.map(value).transpose()
    }

    /// Writes a tenant, new or changed, if it is still as it was decided upon.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when it is not; [`StoreError::Claimed`] when the request was answered before.
    pub async fn write_tenant(&self, tenant: &Tenant, claim: Option<&Claim>) -> Result<(), StoreError> {
        let mut transaction = self.transaction();
        add_claim(&mut transaction, claim)?;
        let before = [(":before", number(tenant.version - 1))];
        let condition = if tenant.version == 1 {
            ("attribute_not_exists(pk)", &[][..])
        } else {
            ("version = :before", &before[..])
        };
        transaction.put(Guard::Version, Table::Identity, tenant_item(tenant)?, Some(condition))?;
        transaction.commit().await?.written().map_err(|error| Claim::judged(claim, error))
    }

    /// A page of the tenants, oldest first.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn tenants(&self, (limit, offset): (usize, usize)) -> Result<Vec<Tenant>, StoreError> {
        let mut range = Range { index: Some(LISTING), hash: ("list_pk", ALL), ..Range::default() };
        let (mut found, wanted) = (Vec::new(), limit.saturating_add(offset));
        loop {
            let page = self.page(Table::Identity, &range).await?;
            for item in page.items {
                found.push(value::<Tenant>(item)?);
            }
            match page.next {
                Some(next) if found.len() < wanted => range.start = Some(next),
                _ => return Ok(found.into_iter().skip(offset).take(limit).collect()),
            }
        }
    }

    /// The tenants on their way out whose last requests are over: a page of them, after `after`.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn due_tenants(
        &self,
        now: Timestamp,
        after: Option<DueMark>,
    ) -> Result<(Vec<TenantId>, Option<DueMark>), StoreError> {
        let (keys, next) = self.due_keys(Table::Identity, now, after).await?;
        let tenant = |(pk, _): (String, String)| pk.strip_suffix("#tenant").map(TenantId::new);
        Ok((keys.into_iter().filter_map(tenant).collect(), next))
    }

    /// Everybody who has workloads of a tenant's: its people, and the tenant itself.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn owners(&self, tenant: &TenantId) -> Result<Vec<UserName>, StoreError> {
        let range = Range { hash: ("pk", &users_pk(tenant)), ..Range::default() };
        let people = self.all(Table::Identity, &range).await?;
        let itself = UserName::new(domain::tenant::ITSELF);
        Ok(people.iter().map(|item| UserName::new(key_of(item).1)).chain([itself]).collect())
    }

    /// Records a new key of a tenant's.
    ///
    /// # Errors
    /// [`StoreError::Claimed`] when the request was answered before.
    pub async fn add_tenant_key(&self, known: &TenantKeyRow, claim: Option<&Claim>) -> Result<(), StoreError> {
        let mut transaction = self.transaction();
        add_claim(&mut transaction, claim)?;
        let holder = Holder::Tenant(TenantKey { tenant: known.tenant.clone(), id: known.id });
        let expires_at = known.expires_at.unwrap_or_else(|| known.created_at.plus(policy::ENDLESS));
        let door = KeyRow { limits: known.limits.clone(), ..KeyRow::new(holder, expires_at) };
        door.add_to(&mut transaction, &known.hash)?;
        let item = row((&keys_pk(&known.tenant), &known.id.to_string()), known)?;
        transaction.put(Guard::Version, Table::Identity, item, Some(("attribute_not_exists(pk)", &[])))?;
        transaction.commit().await?.written().map_err(|error| Claim::judged(claim, error))
    }

    /// A tenant's keys, oldest first, those included that were taken back.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn tenant_keys(&self, tenant: &TenantId) -> Result<Vec<TenantKeyRow>, StoreError> {
        let range = Range { hash: ("pk", &keys_pk(tenant)), ..Range::default() };
        self.all(Table::Identity, &range).await?.into_iter().map(value).collect()
    }

    /// Takes a tenant's key back: from then on it opens nothing. `None` when the tenant has no such key; one that opened nothing before is
    /// given as it is.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn revoke_tenant_key(
        &self,
        tenant: &TenantId,
        id: KeyId,
        now: Timestamp,
    ) -> Result<Option<TenantKeyRow>, StoreError> {
        let (pk, sk) = (keys_pk(tenant), id.to_string());
        let Some(item) = self.get_row(Table::Identity, (&pk, &sk)).await? else { return Ok(None) };
        let known: TenantKeyRow = value(item)?;
        if known.revoked_at.is_some() || known.expires_at.is_some_and(|end| end <= now) {
            return Ok(Some(known));
        }
        let values = [(":now", text(now.to_string()))];
        let mut transaction = self.transaction();
        let door = key_pk(&known.hash);
        let revoke = ("SET revoked_at = :now", Some("attribute_exists(pk)"));
        transaction.update(Guard::Version, Table::Identity, (&door, ONLY), revoke, &values)?;
        transaction.update(Guard::Version, Table::Identity, (&pk, &sk), revoke, &values)?;
        transaction.commit().await?.written()?;
        Ok(Some(TenantKeyRow { revoked_at: Some(now), ..known }))
    }
}
