//! What was read stays so until something is written. Where one process owns its database it sees every write, and need not read again what
//! nobody has changed: exactly as good as reading it again, and no cache that may be wrong for a while (invariant I17). A database that
//! others write to as well, as on AWS, is read each time.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::SecretHash;

use crate::{StoreError, identities::KeyRow, memory::lock};

/// So many keys are remembered; then it is begun anew.
const MOST: usize = 10_000;

/// Counts the writes to a database that this process owns. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<AtomicU64>);

/// A write that is under way, until it is dropped.
#[cfg(feature = "embedded")]
#[must_use]
pub(crate) struct Writing<'a>(&'a Changes);

impl Changes {
    /// A write begins. It counts when it is over, and before anybody is told: until then what was read before it is as good as what is read
    /// after it.
    #[cfg(feature = "embedded")]
    pub(crate) const fn writing(&self) -> Writing<'_> {
        Writing(self)
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(feature = "embedded")]
impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The keys that were read, each with the count of writes before it was.
pub(crate) struct Unchanged {
    changes: Changes,
    keys: Mutex<HashMap<SecretHash, (u64, KeyRow)>>,
}

impl Unchanged {
    pub(crate) fn new(changes: Changes) -> Self {
        Self { changes, keys: Mutex::default() }
    }

    /// The row of a key: as it was read the last time if nothing was written since, and else as `read` finds it.
    pub(crate) async fn key(
        &self,
        hash: &SecretHash,
        read: impl Future<Output = Result<Option<KeyRow>, StoreError>>,
    ) -> Result<Option<KeyRow>, StoreError> {
        let count = self.changes.count();
        if let Some((_, row)) = lock(&self.keys).get(hash).filter(|(then, _)| *then == count) {
            return Ok(Some(row.clone()));
        }
        let found = read.await?;
        let mut keys = lock(&self.keys);
        if keys.len() >= MOST {
            keys.clear();
        }
        // Hashes that are nobody's are not remembered: there is no end of them.
        match &found {
            Some(row) => drop(keys.insert(hash.clone(), (count, row.clone()))),
            None => drop(keys.remove(hash)),
        }
        Ok(found)
    }
}

impl fmt::Debug for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unchanged").finish_non_exhaustive()
    }
}

#[cfg(feature = "embedded")]
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cloud::{Ids, OsIds, sim::World};
    use domain::{
        TenantId, Timestamp,
        api_key::{KeyKind, mint},
        limits::Limits,
        names::Label,
    };

    use super::*;
    use crate::{
        Store,
        embedded::Embedded,
        identities::{Holder, TenantKey},
        tenants::TenantKeyRow,
    };

    fn a_key(store: &Store, number: u8) -> TenantKeyRow {
        let key = mint(KeyKind::Tenant, &[number; 32]);
        let known = TenantKeyRow {
            id: store.ids.key(Timestamp::default()),
            tenant: TenantId::new("t"),
            name: Label::parse("a key").unwrap(),
            prefix: String::new(),
            hash: key.hash(),
            created_at: Timestamp::default(),
            expires_at: Some(Timestamp::default().plus(Duration::from_secs(1_000_000_000))),
            revoked_at: None,
            limits: Limits::default(),
        };
        futures::executor::block_on(store.add_tenant_key(&known, None)).unwrap();
        known
    }

    #[tokio::test]
    async fn a_key_is_read_once_until_something_is_written() {
        let (embedded, ports) = (Embedded::in_memory().unwrap(), World::new(1).ports());
        let store = Store::new(embedded.client(), "", ports.clock, ports.ids).with_changes(embedded.changes());
        store.create_tables().await.unwrap();
        let (one, other) = (a_key(&store, 1), a_key(&store, 2));
        let calls = async |hash: &SecretHash| {
            embedded.meter().start();
            let row = store.key(hash).await.unwrap();
            (embedded.meter().take().len(), row.is_some_and(|row| row.revoked_at.is_none()))
        };
        assert_eq!([calls(&one.hash).await, calls(&one.hash).await], [(1, true), (0, true)]);
        store.revoke_tenant_key(&other.tenant, other.id, Timestamp::default()).await.unwrap();
        assert_eq!([calls(&one.hash).await, calls(&one.hash).await], [(1, true), (0, true)]);
        store.revoke_tenant_key(&one.tenant, one.id, Timestamp::default()).await.unwrap();
        assert_eq!([calls(&one.hash).await, calls(&one.hash).await], [(1, false), (0, false)]);
        embedded.expire().unwrap();
        assert_eq!(calls(&one.hash).await.0, 1, "whose time was over may have gone");
        let nobodys = mint(KeyKind::Tenant, &[3; 32]).hash();
        assert_eq!([calls(&nobodys).await, calls(&nobodys).await], [(1, false), (1, false)]);
    }

    /// Whoever reads while it is being taken back may find either; whoever asks when that is over never finds it good.
    #[tokio::test]
    async fn a_key_that_was_taken_back_opens_nothing_from_that_moment_on() {
        let (changes, hash) = (Changes::default(), mint(KeyKind::Tenant, &[1; 32]).hash());
        let unchanged = Unchanged::new(changes.clone());
        let holder = Holder::Tenant(TenantKey { tenant: TenantId::new("t"), id: OsIds.key(Timestamp::default()) });
        let good = KeyRow::new(holder, Timestamp::default());
        let taken_back = KeyRow { revoked_at: Some(Timestamp::default()), ..good.clone() };
        let finds = async |row: &KeyRow| unchanged.key(&hash, async { Ok(Some(row.clone())) }).await.unwrap().unwrap();
        assert_eq!(finds(&good).await, good);
        let writing = changes.writing();
        assert_eq!(finds(&taken_back).await, good, "nobody has been told");
        drop(writing);
        let writing = changes.writing();
        assert_eq!(finds(&good).await, good, "somebody reads what was there before");
        drop(writing);
        assert_eq!(finds(&taken_back).await, taken_back, "which is not believed when it is over");
        assert_eq!(finds(&good).await, taken_back);
    }
}
