//! Writing what was decided about a workload: one transaction over everything that the decision touches.

use domain::{
    PoolId, SecretHash, Timestamp, Workload,
    disk::DiskChange,
    job::People,
    lifecycle::State,
    placement::Place,
    policy,
    timeline::{Entry, Outbox},
    workload::{Change, JobStatus},
};

use super::{ATTEMPT, AttemptRow, PARTICULARS, PEOPLE, WORKLOAD, event_key, owner_partition, partition};
use crate::{
    Store, StoreError, Table, capacity, clusters, credentials, disks,
    identities::{AgentKey, Claim, Holder, KeyRow, spend},
    items::{Item, millis, number, row, text},
    passage::Passage,
    routes,
    tables::{DUE_NOW, TTL},
    transaction::{Guard, Transaction},
    usage,
};

/// An attempt that is about to begin.
#[derive(Clone, Debug)]
pub struct NewAttempt {
    /// The one-time token's hash.
    pub token: SecretHash,
    /// The token itself, sealed, for repetitions of the order.
    pub sealed_token: String,
    /// When the token ends.
    pub until: Timestamp,
}

/// A node's session that is about to begin.
#[derive(Clone, Debug)]
pub struct Session {
    /// The one-time token that it is bought with.
    pub token: SecretHash,
    /// The session's hash.
    pub session: SecretHash,
    /// When it ends.
    pub until: Timestamp,
}

/// Everything that is written together with one or more changes of a workload.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// What was decided, one change upon the other.
    pub changes: Vec<Change>,
    /// Sealed particulars, at a submit.
    pub particulars: Option<String>,
    /// Who may come in, where that changes.
    pub people: Option<People>,
    /// The idempotency key that the request claims.
    pub claim: Option<Claim>,
    /// The attempt that begins.
    pub attempt: Option<NewAttempt>,
    /// The session that begins.
    pub session: Option<Session>,
    /// How many live workloads the owner may have, at a submit.
    pub most_live: Option<u32>,
    /// What becomes of its disk, in the same transaction.
    pub disk: Option<DiskWrite>,
}

/// What becomes of a workload's disk.
#[derive(Clone, Debug)]
pub struct DiskWrite {
    /// The change.
    pub change: DiskChange,
    /// How many disks the owner may have, where this one is new.
    pub most: Option<u32>,
}

impl DiskWrite {
    /// A change of a disk that is there.
    #[must_use]
    pub const fn of(change: DiskChange) -> Self {
        Self { change, most: None }
    }
}

impl Write {
    /// This change and nothing else.
    #[must_use]
    pub fn of(change: Change) -> Self {
        Self { changes: vec![change], ..Self::default() }
    }

    /// The workload as it is when this is written; `None` when nothing is to be written.
    #[must_use]
    pub fn outcome(&self) -> Option<&Workload> {
        self.changes.last().map(|change| &change.workload)
    }
}

impl Store {
    /// Writes what was decided, if the workload is still as it was decided upon.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when it is not; [`StoreError::Claimed`], [`StoreError::NoRoom`] and [`StoreError::TooManyJobs`] when one of
    /// the other rows objects. Nothing is written then.
    pub async fn write(&self, write: &Write) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (write.changes.first(), write.changes.last()) else { return Ok(()) };
        let workload = &last.workload;
        let pk = partition(&workload.tenant, workload.id);
        let mut transaction = self.transaction();
        // The claim comes first: a repeated request is told so even where the state would refuse it by now.
        if let Some(claim) = &write.claim {
            claim.add_to(&mut transaction)?;
        }
        let next_look = last.entry.at.plus(policy::LOOK_AGAIN);
        put_workload(&mut transaction, &pk, first.workload.version - 1, (workload, next_look))?;
        for change in &write.changes {
            put_event(&mut transaction, &pk, &change.entry, change.outbox.as_ref())?;
        }
        let begun = first.workload.version == 1;
        let from = if begun { None } else { Some(first.from) };
        let passage = Passage { from, workload };
        count_owner(&mut transaction, passage, write.most_live)?;
        capacity::account(&mut transaction, from, workload)?;
        usage::charge(&mut transaction, passage)?;
        clusters::list(&mut transaction, passage)?;
        credentials::count_use(&mut transaction, passage)?;
        routes::lead(&mut transaction, passage)?;
        put_cold_parts(&mut transaction, &pk, workload, write)?;
        if let Some(disk) = &write.disk {
            disks::add(&mut transaction, &disk.change, disk.most, last.entry.at)?;
        }
        transaction.commit().await?.written().map_err(|error| Claim::judged(write.claim.as_ref(), error))
    }
}

impl Store {
    /// Places a workload as it was when it began to wait, without reading it, and gives it its disk.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when it or its disk was changed since, [`StoreError::NoRoom`] when the node was.
    pub async fn place(
        &self,
        pool: &PoolId,
        place: &Place,
        disk: Option<&DiskChange>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let waiting = &place.waiting;
        let pk = partition(&waiting.tenant, waiting.workload);
        let mut transaction = self.transaction();
        let values = [
            ("#state", text("state")),
            ("#since", text("since")),
            ("#node", text("node")),
            ("#version", text("version")),
            (":queued", text(State::Queued.name())),
            (":placed", text(State::Placed.name())),
            (":before", number(waiting.version)),
            (":after", number(waiting.version + 1)),
            (":now", text(now.to_string())),
            (":node", text(place.node.as_str())),
            (":due", millis(now.plus(policy::SECOND_TRY))),
            (":write", text(transaction.write_id())),
        ];
        let set =
            "SET #state = :placed, #since = :now, #node = :node, #version = :after, due_at = :due, wrote = :write";
        let waits = Some("#state = :queued AND #version = :before");
        transaction.update(Guard::Version, Table::Workloads, (&pk, WORKLOAD), (set, waits), &values)?;
        put_event(&mut transaction, &pk, &place.entry(now), None)?;
        capacity::account_placed(&mut transaction, pool, place)?;
        if let Some(disk) = disk {
            disks::add(&mut transaction, disk, None, now)?;
        }
        transaction.commit().await?.written()
    }
}

fn put_workload(
    transaction: &mut Transaction<'_>,
    pk: &str,
    before: u64,
    (workload, next_look): (&Workload, Timestamp),
) -> Result<(), StoreError> {
    let mut item = row((pk, WORKLOAD), workload)?;
    let listing = format!("{:015}#{}", workload.created_at.millis(), workload.id);
    item.insert("list_pk".to_owned(), text(owner_partition(&workload.tenant, &workload.owner)));
    item.insert("list_sk".to_owned(), text(listing));
    match workload.due_at() {
        Some(due) => {
            item.insert("due_pk".to_owned(), text(DUE_NOW));
            // What runs is looked at now and then even when nothing is due, in case that it went away and nobody said so.
            let due = if workload.state == State::Active { due.min(next_look) } else { due };
            item.insert("due_at".to_owned(), millis(due));
        }
        None => expire(&mut item, workload.since),
    }
    if before == 0 {
        return transaction.put(Guard::Version, Table::Workloads, item, Some(("attribute_not_exists(pk)", &[])));
    }
    let values = [(":before", number(before))];
    transaction.put(Guard::Version, Table::Workloads, item, Some(("version = :before", &values)))
}

/// Rows that are history from now on, or are garbage when their workload has ended, which it has long before they go: kept for a time.
pub(super) fn expire(item: &mut Item, ended: Timestamp) {
    item.insert(TTL.to_owned(), number(ended.plus(policy::HISTORY_TTL).seconds()));
}

fn put_event(
    transaction: &mut Transaction<'_>,
    pk: &str,
    entry: &Entry,
    outbox: Option<&Outbox>,
) -> Result<(), StoreError> {
    let mut item = row((pk, &event_key(entry.version)), entry)?;
    // A job lives for four days at most, and its timeline outlives it. What is open-ended may outlive the beginning of its timeline.
    expire(&mut item, entry.at);
    if let Some(outbox) = outbox {
        // It stays when the outbox is gone: an answer has named it.
        item.insert("message_id".to_owned(), text(outbox.id.to_string()));
        let messages = serde_json::to_string(outbox).map_err(|error| StoreError::Broken(error.to_string()))?;
        item.insert("outbox".to_owned(), text(messages));
        // Whoever commits sends at once; the sweep sends again what is still there a little later.
        item.insert("due_pk".to_owned(), text(DUE_NOW));
        item.insert("due_at".to_owned(), millis(entry.at.plus(policy::SECOND_TRY)));
    }
    transaction.put(Guard::Version, Table::Workloads, item, None)
}

/// Keeps the owner's counts, which only a submit and an end change.
fn count_owner(
    transaction: &mut Transaction<'_>,
    passage: Passage<'_>,
    most_live: Option<u32>,
) -> Result<(), StoreError> {
    let workload = passage.workload;
    let pk = owner_partition(&workload.tenant, &workload.owner);
    let key = (pk.as_str(), "counts");
    if passage.begins() {
        let most = most_live.ok_or_else(|| StoreError::Broken("a submit names no limit".to_owned()))?;
        let values = [(":one", number(1)), (":most", number(most)), (":pk", text(&*pk)), (":sk", text("~"))];
        let below = Some("attribute_not_exists(live) OR live < :most");
        let add = ("SET list_pk = :pk, list_sk = :sk ADD live :one", below);
        return transaction.update(Guard::Limit, Table::Workloads, key, add, &values);
    }
    if !passage.ends() {
        return Ok(());
    }
    let add = match workload.status() {
        JobStatus::Expired => "ADD live :less, expired :one",
        JobStatus::Cancelled => "ADD live :less, cancelled :one",
        JobStatus::Failed | JobStatus::Queued | JobStatus::Preparing | JobStatus::Active => {
            "ADD live :less, failed :one"
        }
    };
    let values = [(":less", number(-1)), (":one", number(1))];
    transaction.update(Guard::Limit, Table::Workloads, key, (add, None), &values)
}

fn put_cold_parts(
    transaction: &mut Transaction<'_>,
    pk: &str,
    workload: &Workload,
    write: &Write,
) -> Result<(), StoreError> {
    let cold = |sk: &str, mut item: Item| {
        item.insert("pk".to_owned(), text(pk));
        item.insert("sk".to_owned(), text(sk));
        expire(&mut item, workload.since);
        item
    };
    if let Some(sealed) = &write.particulars {
        let item = Item::from([("sealed".to_owned(), text(sealed.as_str()))]);
        transaction.put(Guard::Version, Table::Workloads, cold(PARTICULARS, item), None)?;
    }
    if let Some(people) = &write.people {
        let item = row((pk, PEOPLE), people)?;
        transaction.put(Guard::Version, Table::Workloads, cold(PEOPLE, item), None)?;
    }
    let holder = AgentKey::new(&workload.tenant, workload.id, workload.attempt);
    if let Some(attempt) = &write.attempt {
        let kept = AttemptRow { number: workload.attempt, sealed_token: attempt.sealed_token.clone() };
        transaction.put(Guard::Version, Table::Workloads, cold(ATTEMPT, row((pk, ATTEMPT), &kept)?), None)?;
        let key = KeyRow::new(Holder::Enroll(holder.clone()), attempt.until);
        key.add_to(transaction, &attempt.token)?;
    }
    if let Some(session) = &write.session {
        spend(transaction, &session.token, &session.session)?;
        let key = KeyRow::new(Holder::Session(holder), session.until);
        key.add_to(transaction, &session.session)?;
    }
    Ok(())
}
