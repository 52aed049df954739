//! Limits: a row for each scope in the table `limits`, and the leases that this process has of them.
//!
//! The row is one JSON text beside its version, exchanged as a whole for the next version; see [`domain::limits`] for what it says. Who is
//! refused changes nothing and writes nothing (invariant I22).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use domain::{
    KeyId, TenantId, Timestamp,
    limits::{Demand, Held, Lease, Ledger, Limits, Meter, Part, Standing},
    metering::Hour,
    names::ModelName,
};

use crate::{
    Store, StoreError, Table,
    items::{Item, count_of, millis, number, text, text_of},
    memory::lock,
    plane::DECISIONS,
    requests::DueMark,
    tables::{DUE_NOW, TTL},
};

const ONLY: &str = "-";

/// What a row says that was read so recently is believed, where it says that nothing is left: who is refused again and again costs nothing.
const BELIEVED_FOR: Duration = Duration::from_millis(100);

/// What was leased is given back when nobody has used it for so long, and its row forgotten after the second time.
const LINGERS: Duration = Duration::from_secs(2);
/// See [`LINGERS`].
const FORGOTTEN: Duration = Duration::from_secs(5 * 60);
/// A row is kept for so long after it was last written: longer than the longest window, a month.
const KEPT_FOR: Duration = Duration::from_secs(40 * 24 * 3600);

/// Whose limits they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A key's.
    Key,
    /// A tenant's.
    Tenant,
    /// A model's, whoever asks it.
    Model,
}

impl Whose {
    /// In words, for whoever met one.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Key => "this key",
            Self::Tenant => "this tenant",
            Self::Model => "this model",
        }
    }
}

/// A limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// Whose it is.
    pub whose: Whose,
    /// How it stands.
    pub standing: Standing,
    /// What the request would have taken.
    pub wanted: u64,
}

/// Why there is no room for a request.
#[derive(Debug)]
pub enum NoRoom {
    /// A limit was met.
    Met(Met),
    /// The tables failed.
    Store(StoreError),
}

impl From<StoreError> for NoRoom {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Limits that a request is subject to.
#[derive(Clone, Debug)]
pub struct Scoped {
    /// Whose they are.
    pub whose: Whose,
    /// The row's key: it begins with the tenant where it is a tenant's.
    pub id: String,
    /// The limits.
    pub limits: Limits,
}

/// What this process has leased of a row.
#[derive(Debug)]
pub(crate) struct Scope {
    state: Mutex<Leased>,
    /// One exchange at a time: whoever comes meanwhile finds what it brought.
    gate: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Leased {
    lease: Lease,
    limits: Limits,
    /// What waits for an exchange.
    waiting: Demand,
    /// What is free is being given back, so that nothing may be reserved from it.
    frozen: bool,
}

impl Scope {
    pub(crate) fn new(holder: &str) -> Self {
        let lease = Lease::new(holder.to_owned());
        let leased = Leased { lease, limits: Limits::default(), waiting: Demand::default(), frozen: false };
        Self { state: Mutex::new(leased), gate: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, Leased> {
        lock(&self.state)
    }

    fn reserve(&self, limits: &Limits, demand: &Demand, now: Timestamp) -> Option<Held> {
        let mut leased = self.state();
        if leased.limits != *limits {
            leased.limits = limits.clone();
        }
        if leased.frozen { None } else { leased.lease.reserve(limits, demand, now) }
    }

    /// What waits for an exchange.
    fn waiting(&self) -> Demand {
        self.state().waiting
    }

    /// Whether anything of it is to be done at `now` in a process that looks after its leases: renewed, given back, or forgotten.
    pub(crate) fn chore(&self, now: Timestamp) -> Option<Chore> {
        let leased = self.state();
        let idle = now.since(leased.lease.used_at());
        if leased.lease.is_to_be_renewed(now) {
            Some(Chore::Renew)
        } else if leased.lease.is_busy() {
            None
        } else if leased.lease.has_news() {
            (idle >= LINGERS).then_some(Chore::GiveBack)
        } else {
            (idle >= FORGOTTEN).then_some(Chore::Forget)
        }
    }

    /// Whether nobody uses it at this moment.
    pub(crate) fn is_idle(&self) -> bool {
        let leased = self.state();
        !leased.lease.is_busy() && leased.waiting == Demand::default()
    }
}

/// Counts among those who wait, until it is dropped.
struct Waiting<'a>(&'a Scope, Demand);

impl<'a> Waiting<'a> {
    fn new(scope: &'a Scope, demand: &Demand) -> Self {
        let mut leased = scope.state();
        leased.waiting = leased.waiting.and(*demand);
        Self(scope, *demand)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut leased = self.0.state();
        leased.waiting = leased.waiting.less(self.1);
    }
}

/// Keeps everything free from being reserved, until it is dropped.
struct Frozen<'a>(&'a Scope);

impl<'a> Frozen<'a> {
    fn new(scope: &'a Scope) -> Self {
        scope.state().frozen = true;
        Self(scope)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.state().frozen = false;
    }
}

/// Room for one request. Dropped without a word, nothing of it was used.
#[derive(Debug)]
pub struct Reservation {
    scope: Arc<Scope>,
    id: String,
    held: Option<Held>,
    at: Timestamp,
}

impl Reservation {
    /// The request is over, and has used that.
    pub fn settle(&mut self, used: &Demand, now: Timestamp) {
        if let Some(held) = self.held.take() {
            self.scope.state().lease.settle(held, used, now);
        }
    }

    /// How each limit stands.
    #[must_use]
    pub fn standings(&self, now: Timestamp) -> Vec<Standing> {
        let leased = self.scope.state();
        leased.lease.standings(&leased.limits, now).collect()
    }

    pub(crate) fn scope(&self) -> (&str, &Arc<Scope>) {
        (&self.id, &self.scope)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle(&Demand::default(), self.at);
    }
}

/// What is to be exchanged a row for.
type Wishes<'a> = &'a (dyn Fn(&Lease, Timestamp) -> BTreeMap<Meter, Part> + Sync);

impl Store {
    /// Room for a request that takes `demand` at most.
    pub(crate) async fn reserve(
        &self,
        scope: &Arc<Scope>,
        scoped: &Scoped,
        demand: &Demand,
    ) -> Result<Reservation, NoRoom> {
        let Scoped { whose, id, limits } = scoped;
        let now = self.clock.now();
        let reserved = |held, at| Reservation { scope: Arc::clone(scope), id: id.clone(), held: Some(held), at };
        if let Some(held) = scope.reserve(limits, demand, now) {
            return Ok(reserved(held, now));
        }
        let waiting = Waiting::new(scope, demand);
        let gate = scope.gate.lock().await;
        for _ in 0..DECISIONS {
            // Time has passed, and somebody else may have brought enough.
            let now = self.clock.now();
            if let Some(held) = scope.reserve(limits, demand, now) {
                return Ok(reserved(held, now));
            }
            let wishes = |lease: &Lease, now| lease.wishes(limits, demand, &scope.waiting(), now);
            if !self.exchange(scope, (id, limits), &wishes, Some(demand)).await? {
                let met = scope.state().lease.met(limits, demand, now);
                let Some(standing) = met else { continue };
                return Err(NoRoom::Met(Met { whose: *whose, standing, wanted: demand.on(standing.meter) }));
            }
        }
        drop((gate, waiting));
        Err(StoreError::Contended.into())
    }

    /// Exchanges the row for what is said and wished; false when it has not what a request `needs`, and then nothing is written.
    async fn exchange(
        &self,
        scope: &Scope,
        (id, limits): (&str, &Limits),
        wishes: Wishes<'_>,
        needs: Option<&Demand>,
    ) -> Result<bool, StoreError> {
        if scope.state().lease.known_at() == Timestamp::default() {
            // A row that was never seen is read first: a write that fails costs more.
            let there = self.ledger(id).await?;
            scope.state().lease.saw(there, self.clock.now());
        }
        let mut is_fresh = self.clock.now().since(scope.state().lease.known_at()) < BELIEVED_FOR;
        for attempt in 0..DECISIONS {
            if attempt > 1 {
                self.back_off(attempt).await;
            }
            let now = self.clock.now();
            let (parts, exchanged, enough) = {
                let lease = scope.state().lease.clone();
                let parts = wishes(&lease, now);
                let exchanged = lease.exchange(lease.ledger(), limits, &parts, now);
                let enough = needs.is_none_or(|needs| lease.is_enough(&exchanged, limits, &parts, needs));
                (parts, exchanged, enough)
            };
            if !enough && is_fresh {
                return Ok(false);
            }
            let there = if enough {
                match self.put_ledger(id, &exchanged.ledger, now).await? {
                    None => {
                        scope.state().lease.accept(exchanged, limits, &parts, now);
                        return Ok(true);
                    }
                    Some(there) => there,
                }
            } else {
                self.ledger(id).await?
            };
            is_fresh = true;
            scope.state().lease.saw(there, now);
        }
        Err(StoreError::Contended)
    }

    /// Gives back what is free of a lease. What is not given back ends with the lease.
    pub(crate) async fn give_back(&self, scope: &Scope, id: &str) -> Result<(), StoreError> {
        let _gate = scope.gate.lock().await;
        let _frozen = Frozen::new(scope);
        let (limits, has_news) = {
            let leased = scope.state();
            (leased.limits.clone(), leased.lease.has_news())
        };
        if !has_news {
            return Ok(());
        }
        let farewell = |lease: &Lease, _| lease.farewell(&limits);
        self.exchange(scope, (id, &limits), &farewell, None).await.map(drop)
    }

    /// Renews a lease on which requests are being answered.
    pub(crate) async fn renew(&self, scope: &Scope, id: &str) -> Result<(), StoreError> {
        let _gate = scope.gate.lock().await;
        let limits = scope.state().limits.clone();
        let nothing = Demand::default();
        let the_same = |lease: &Lease, now| lease.wishes(&limits, &nothing, &nothing, now);
        self.exchange(scope, (id, &limits), &the_same, None).await.map(drop)
    }

    /// What a scope's row says.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn ledger(&self, id: &str) -> Result<Ledger, StoreError> {
        self.get_row(Table::Limits, (id, ONLY)).await?.map_or_else(|| Ok(Ledger::default()), |item| read(&item))
    }

    /// Writes a row in the place of the one before it; gives the one that is there where somebody else was faster.
    async fn put_ledger(&self, id: &str, ledger: &Ledger, now: Timestamp) -> Result<Option<Ledger>, StoreError> {
        let said = serde_json::to_string(ledger).map_err(|error| StoreError::Broken(error.to_string()))?;
        let mut item = Item::from([
            ("pk".to_owned(), text(id)),
            ("sk".to_owned(), text(ONLY)),
            ("version".to_owned(), number(i128::from(ledger.version))),
            ("ledger".to_owned(), text(said)),
            (TTL.to_owned(), number(now.plus(KEPT_FOR).seconds())),
        ]);
        if let Some(end) = ledger.first_end() {
            // The sweep looks when the hour is over in which the first lease ends: the index is written once an hour and not each time.
            item.insert("due_pk".to_owned(), text(DUE_NOW));
            item.insert("due_at".to_owned(), millis(Hour::of(end).end()));
        }
        let before = [(":before", number(i128::from(ledger.version) - 1))];
        let (condition, values) = match ledger.version {
            1 => ("attribute_not_exists(pk)", &[][..]),
            _ => ("version = :before", &before[..]),
        };
        match self.put_if(Table::Limits, item, condition, values).await? {
            Ok(()) => Ok(None),
            // A row that time to live has taken is as if there had never been one.
            Err(there) if there.is_empty() => Ok(Some(Ledger::default())),
            Err(there) => read(&there).map(Some),
        }
    }

    /// The rows in which leases may have ended that nobody has counted as used: a page of them, after `after`.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn due_limits(
        &self,
        now: Timestamp,
        after: Option<DueMark>,
    ) -> Result<(Vec<String>, Option<DueMark>), StoreError> {
        let (keys, next) = self.due_keys(Table::Limits, now, after).await?;
        Ok((keys.into_iter().map(|(id, _)| id).collect(), next))
    }

    /// Counts as used what was leased in a row by holders that are gone. One that somebody writes meanwhile is looked at again.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn settle_abandoned(&self, id: &str) -> Result<(), StoreError> {
        let now = self.clock.now();
        let ledger = self.ledger(id).await?;
        let settled = ledger.settled_at(&Limits::default(), now);
        let next = Ledger { version: ledger.version + 1, ..settled };
        self.put_ledger(id, &next, now).await.map(drop)
    }
}

/// What is to be done about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    Renew,
    GiveBack,
    Forget,
}

fn read(item: &Item) -> Result<Ledger, StoreError> {
    let said = text_of(item, "ledger").unwrap_or_default();
    let ledger: Ledger = serde_json::from_str(said).map_err(|error| StoreError::Broken(error.to_string()))?;
    let version = u64::try_from(count_of(item, "version")).unwrap_or(0);
    Ok(Ledger { version, ..ledger })
}

/// The id of a key's limits.
#[must_use]
pub fn key_scope(tenant: &TenantId, key: KeyId) -> String {
    format!("{tenant}#key#{key}")
}

/// The id of a tenant's limits.
#[must_use]
pub fn tenant_scope(tenant: &TenantId) -> String {
    format!("{tenant}#tenant")
}

/// The id of a model's limits, which are nobody's.
#[must_use]
pub fn model_scope(model: &ModelName) -> String {
    format!("#model#{}", model.as_str())
}
