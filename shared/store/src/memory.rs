//! What a process that answers requests to models remembers between them: hints, leases, the health of servers, records that are to be
//! written. All of it may be lost at any moment; nothing of it says whether a key is good.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cloud::Upstream;
use domain::{
    SecretHash, TenantId, Timestamp,
    limits::Demand,
    model::Model,
    names::ModelName,
    routing::{Health, draw},
    tenant::{PLATFORM, Tenant},
};

use crate::{
    Plane, Store, StoreError, Table,
    identities::{Holder, KeyRow, key_pk},
    items::value,
    limits::{Chore, NoRoom, Reservation, Scope, Scoped},
    metering::Unwritten,
    models::MODELS,
    routes::{offer_key, publisher, route_key, servers},
    tenants::tenant_pk,
};

const ONLY: &str = "-";

/// What is known of a tenant and a model is believed for so long. A key is read again for each request.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// More than this is not remembered of one kind: then it is begun anew.
const MOST_REMEMBERED: usize = 10_000;
/// How often records are written in a process that looks after its memory.
const BETWEEN_TURNS: Duration = Duration::from_millis(200);

/// A tenant, and the model that it asks for.
type Asked = (TenantId, Option<ModelName>);

/// The memory of one process.
#[derive(Default)]
pub struct Memory {
    holder: OnceLock<String>,
    /// Whose key it was the last time: so that what belongs to it can be asked for together with it.
    tenants: Mutex<HashMap<SecretHash, TenantId>>,
    facts: Mutex<HashMap<Asked, Arc<Facts>>>,
    scopes: Mutex<HashMap<String, Arc<Scope>>>,
    servers: Mutex<HashMap<Upstream, Health>>,
    pub(crate) unwritten: Unwritten,
    /// Whether somebody looks after it again and again.
    is_kept: AtomicBool,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

/// What is known of a tenant and of a model that it asks for.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The tenant; `None` where it has no row.
    pub tenant: Option<Tenant>,
    /// The model, where it is registered.
    pub model: Option<Model>,
    /// Who serves it for the tenant alone.
    pub own: Vec<Upstream>,
    /// Who serves it for everybody.
    pub shared: Vec<Upstream>,
    /// Who serves it for those to whom another tenant has published it.
    pub published: Vec<Upstream>,
    /// That other tenant.
    pub publisher: Option<TenantId>,
    at: Timestamp,
}

impl Facts {
    /// Everybody who serves it for the tenant.
    pub fn servers(&self) -> impl Iterator<Item = &Upstream> {
        self.own.iter().chain(&self.shared).chain(&self.published)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server counts as busy with a request until this is dropped.
#[derive(Debug)]
pub struct Busy {
    memory: Arc<Memory>,
    upstream: Upstream,
}

impl Busy {
    /// Who is asked.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// It answered.
    pub fn answered(&self) {
        self.memory.server(&self.upstream, Health::answered);
    }

    /// It failed.
    pub fn failed(&self, now: Timestamp) {
        self.memory.server(&self.upstream, |health| health.failed(now));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.memory.server(&self.upstream, |health| health.outstanding = health.outstanding.saturating_sub(1));
    }
}

impl Memory {
    fn server(&self, upstream: &Upstream, change: impl FnOnce(&mut Health)) {
        if let Some(health) = lock(&self.servers).get_mut(upstream) {
            change(health);
        }
    }

    fn scope(&self, store: &Store, id: &str) -> Arc<Scope> {
        let mut scopes = lock(&self.scopes);
        if let Some(scope) = scopes.get(id) {
            return Arc::clone(scope);
        }
        let holder = self.holder.get_or_init(|| store.write_id()[..10].to_owned());
        let scope = Arc::new(Scope::new(holder));
        scopes.insert(id.to_owned(), Arc::clone(&scope));
        scope
    }

    fn remember<K: std::hash::Hash + Eq, V>(map: &Mutex<HashMap<K, V>>, key: K, value: V) {
        let mut map = lock(map);
        if map.len() >= MOST_REMEMBERED {
            map.clear();
        }
        map.insert(key, value);
    }
}

/// The tenant that a key is of.
fn tenant_of(row: &KeyRow) -> Option<&TenantId> {
    match &row.holder {
        Holder::User(member) => Some(&member.tenant),
        Holder::Tenant(key) => Some(&key.tenant),
        Holder::Model(key) => Some(&key.tenant),
        Holder::Enroll(_) | Holder::Session(_) => None,
    }
}

impl Plane {
    /// A key's row, read strongly, and what is known of its tenant and of a model, if one is named. Where the key was seen before it is one
    /// call.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn known(
        &self,
        key: &SecretHash,
        model: Option<&ModelName>,
    ) -> Result<(Option<KeyRow>, Option<Arc<Facts>>), StoreError> {
        let hint = lock(&self.memory.tenants).get(key).cloned();
        let Some(tenant) = hint else {
            let row = self.store.key(key).await?;
            let Some(tenant) = row.as_ref().and_then(tenant_of).cloned() else { return Ok((row, None)) };
            Memory::remember(&self.memory.tenants, key.clone(), tenant.clone());
            let facts = match self.believed(&tenant, model) {
                Some(facts) => facts,
                None => self.learn(None, &tenant, model).await?.1,
            };
            return Ok((row, Some(facts)));
        };
        let (row, facts) = match self.believed(&tenant, model) {
            Some(facts) => (self.store.key(key).await?, facts),
            None => self.learn(Some(key), &tenant, model).await?,
        };
        // A key never changes hands; but what is known of another tenant is nobody's business.
        let is_so = row.as_ref().and_then(tenant_of) == Some(&tenant);
        Ok((row, is_so.then_some(facts)))
    }

    fn believed(&self, tenant: &TenantId, model: Option<&ModelName>) -> Option<Arc<Facts>> {
        let now = self.ports.clock.now();
        let facts = lock(&self.memory.facts).get(&(tenant.clone(), model.cloned())).cloned();
        facts.filter(|facts| now.since(facts.at) < BELIEVED_FOR)
    }

    async fn learn(
        &self,
        key: Option<&SecretHash>,
        tenant: &TenantId,
        model: Option<&ModelName>,
    ) -> Result<(Option<KeyRow>, Arc<Facts>), StoreError> {
        let now = self.ports.clock.now();
        let key_pk = key.map(key_pk).unwrap_or_default();
        let tenant_pk = tenant_pk(tenant);
        let mut identity = vec![(tenant_pk.as_str(), ONLY)];
        if key.is_some() {
            identity.push((&key_pk, ONLY));
        }
        let platform = TenantId::new(PLATFORM);
        let route = |of: &TenantId| model.map(|model| route_key(of, model));
        let (own, shared) = (route(tenant), route(&platform).filter(|_| *tenant != platform));
        let offer = model.map(|model| offer_key(tenant, model));
        let catalogue = [&own, &shared, &offer].into_iter().flatten().map(|(pk, sk)| (pk.as_str(), sk.as_str()));
        let catalogue = model.map(|model| (MODELS, model.as_str())).into_iter().chain(catalogue).collect();
        // Whose key it is and what the tenant may are read strongly. Where a model is served may be news of a moment ago.
        let wanted = [(Table::Identity, true, identity), (Table::Catalogue, false, catalogue)];
        let rows = self.store.get_rows(&wanted).await?;
        let row = |table: Table, (pk, sk): (&str, &str)| rows.get(&(table, pk.to_owned(), sk.to_owned()));
        let identity = |pk: &str| row(Table::Identity, (pk, ONLY)).cloned();
        let servers_of =
            |key: &Option<(String, String)>| servers(key.as_ref().and_then(|(pk, sk)| row(Table::Catalogue, (pk, sk))));
        let offered = offer.as_ref().and_then(|(pk, sk)| row(Table::Catalogue, (pk, sk)));
        let publisher = offered.and_then(publisher);
        let published = match publisher.as_ref().and_then(route) {
            Some((pk, sk)) => servers(self.store.get_row(Table::Catalogue, (&pk, &sk)).await?.as_ref()),
            None => Vec::new(),
        };
        let registered = model.and_then(|model| row(Table::Catalogue, (MODELS, model.as_str()))).cloned();
        let facts = Arc::new(Facts {
            tenant: identity(&tenant_pk).map(value).transpose()?,
            model: registered.map(value).transpose()?,
            own: servers_of(&own),
            shared: servers_of(&shared),
            published,
            publisher,
            at: now,
        });
        Memory::remember(&self.memory.facts, (tenant.clone(), model.cloned()), Arc::clone(&facts));
        Ok((identity(&key_pk).map(value).transpose()?, facts))
    }

    /// Chooses a server of a model: the tenant's own first, then a shared one, then one of whoever has published it; none of `but`.
    #[must_use]
    pub fn server(&self, facts: &Facts, but: &[Upstream]) -> Option<Busy> {
        let now = self.ports.clock.now();
        let [.., a, b, c, d, e, f, g, h] = self.ports.ids.random();
        let random = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let mut known = lock(&self.memory.servers);
        if known.len() >= MOST_REMEMBERED {
            known.retain(|_, health| health.outstanding > 0);
        }
        let mut groups = [&facts.own, &facts.shared, &facts.published].map(|group| {
            let group = group.iter().filter(|server| !but.contains(server)).cloned().collect::<Vec<_>>();
            let health = group.iter().map(|server| *known.entry(server.clone()).or_default()).collect::<Vec<_>>();
            (group, health)
        });
        // A group in which all have failed comes after one in which somebody has not.
        groups.sort_by_key(|(_, health)| !health.iter().any(|health| health.is_good(now)));
        let (group, health) = groups.iter().find(|(group, _)| !group.is_empty())?;
        let upstream = group.get(draw(health, random, now)?)?.clone();
        if let Some(health) = known.get_mut(&upstream) {
            health.outstanding += 1;
        }
        Some(Busy { memory: Arc::clone(&self.memory), upstream })
    }

    /// Room for a request within all of these limits; nothing where one of them is met.
    ///
    /// # Errors
    /// The limit that was met.
    pub async fn reserve(&self, scopes: &[Scoped], demand: &Demand) -> Result<Vec<Reservation>, NoRoom> {
        let reserving = scopes.iter().filter(|scoped| !scoped.limits.is_empty()).map(|scoped| async move {
            let scope = self.memory.scope(&self.store, &scoped.id);
            self.store.reserve(&scope, scoped, demand).await
        });
        futures::future::try_join_all(reserving).await
    }

    /// Whether somebody looks after the memory of this process again and again, and writes what is to be written.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.memory.is_kept.load(Ordering::Relaxed)
    }

    /// A request is over. Where nobody looks after the memory, what is to be written is written now.
    pub async fn finish(&self, reservations: &[Reservation]) {
        if self.is_kept() {
            return;
        }
        for (id, scope) in reservations.iter().map(Reservation::scope) {
            if scope.is_idle()
                && let Err(error) = self.store.give_back(scope, id).await
            {
                tracing::warn!(%error, "limits.left_to_their_lease");
            }
        }
        self.write_records().await;
    }

    /// Looks after the memory of a process that goes on, until it is dropped: writes what is to be written, renews leases that are in use and
    /// gives back those that are not.
    pub async fn keep_memory(&self) {
        self.memory.is_kept.store(true, Ordering::Relaxed);
        loop {
            self.ports.clock.sleep(BETWEEN_TURNS).await;
            self.tend_memory().await;
        }
    }

    /// One turn of [`Plane::keep_memory`].
    pub async fn tend_memory(&self) {
        self.write_records().await;
        let now = self.ports.clock.now();
        let scopes = lock(&self.memory.scopes).clone();
        for (id, scope) in scopes {
            let done = match scope.chore(now) {
                Some(Chore::Renew) => self.store.renew(&scope, &id).await,
                Some(Chore::GiveBack) => self.store.give_back(&scope, &id).await,
                Some(Chore::Forget) => {
                    let mut scopes = lock(&self.memory.scopes);
                    // Whoever has just taken it from there keeps it.
                    if Arc::strong_count(&scope) == 2 {
                        scopes.remove(&id);
                    }
                    Ok(())
                }
                None => Ok(()),
            };
            if let Err(error) = done {
                tracing::warn!(%error, "limits.again_later");
            }
        }
    }

    /// Says good-bye before a process ends: what is to be written is written, and what is leased given back.
    pub async fn leave_memory(&self) {
        self.write_records().await;
        let scopes = lock(&self.memory.scopes).drain().collect::<Vec<_>>();
        for (id, scope) in scopes {
            if let Err(error) = self.store.give_back(&scope, &id).await {
                tracing::warn!(%error, "limits.left_to_their_lease");
            }
        }
    }
}
