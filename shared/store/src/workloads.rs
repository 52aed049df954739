//! Workloads with their timelines, logs and cold parts.
//!
//! One partition a workload: `TENANT#ID` with the rows `workload`, `event#VERSION`, `particulars`, `people`, `token`, `attempt` and
//! `log#ATTEMPT#SEQUENCE`. One row an owner: how many of the owner's workloads are live, and how the others ended.

mod chosen;
mod logs;
mod write;

use aws_sdk_dynamodb::types::AttributeValue;
use cloud::{SealContext, TaskToken};
use domain::{
    Secret, TenantId, Timestamp, UserName, Workload, WorkloadId,
    job::People,
    lifecycle::State,
    message::Message,
    policy,
    timeline::{Entry, Outbox},
    workload::JobStatus,
};
use serde::{Deserialize, Serialize};

pub use write::{DiskWrite, NewAttempt, Session, Write};

use crate::{
    Store, StoreError, Table,
    items::{Item, count_of, millis, number, text, text_of, value},
    requests::{DueMark, Range},
    tables::{LISTING, TTL},
};

const WORKLOAD: &str = "workload";
const PARTICULARS: &str = "particulars";
const PEOPLE: &str = "people";
const TOKEN: &str = "token";
const ATTEMPT: &str = "attempt";

/// What of a workload is sealed, each in a context of its own: sealed for one purpose, it does not open for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The one-time token of an attempt.
    Enroll,
    /// The token of its JupyterLab.
    Jupyter,
    /// Its command and environment.
    Particulars,
}

/// The context in which something of a workload is sealed.
#[must_use]
pub fn sealed_with(tenant: &TenantId, workload: WorkloadId, purpose: Purpose) -> SealContext {
    let purpose = match purpose {
        Purpose::Enroll => "enroll",
        Purpose::Jupyter => "jupyter",
        Purpose::Particulars => "particulars",
    };
    SealContext { tenant: tenant.clone(), row: workload.to_string(), purpose }
}

fn partition(tenant: &TenantId, workload: WorkloadId) -> String {
    format!("{tenant}#{workload}")
}

fn owner_partition(tenant: &TenantId, owner: &UserName) -> String {
    format!("{tenant}#owner#{owner}")
}

fn event_key(version: u64) -> String {
    format!("event#{version:010}")
}

/// What a launch waits for, and the attribute of the `token` row that holds the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The agent calls in.
    Boot,
    /// The way in works.
    Ready,
}

impl Awaited {
    /// Both, in the order of a launch.
    pub const ALL: [Self; 2] = [Self::Boot, Self::Ready];

    fn attribute(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Ready => "ready",
        }
    }
}

/// The attempt that a fleet was asked for: its sealed one-time token, the same in every repetition of the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// The attempt's number.
    pub number: u32,
    /// The sealed token.
    pub sealed_token: String,
}

/// One page of an owner's workloads.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Newest first.
    pub workloads: Vec<Workload>,
    /// How many there are in all.
    pub total: u64,
}

/// Something that the sweep found due.
#[derive(Clone, Debug, PartialEq)]
pub enum DueRow {
    /// A workload.
    Workload(TenantId, WorkloadId),
    /// Messages that were committed but perhaps never sent.
    Outbox(OutboxKey),
}

/// Where an outbox lies: with the timeline entry of the change that sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxKey {
    pk: String,
    sk: String,
}

impl OutboxKey {
    /// The outbox of the change that made this version of the workload.
    #[must_use]
    pub fn of(workload: &Workload) -> Self {
        Self { pk: partition(&workload.tenant, workload.id), sk: event_key(workload.version) }
    }
}

impl Store {
    /// A workload, read strongly: what was written before is seen (trap T3).
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn workload(&self, tenant: &TenantId, id: WorkloadId) -> Result<Option<Workload>, StoreError> {
        self.get_row(Table::Workloads, (&partition(tenant, id), WORKLOAD)).await?.map(value).transpose()
    }

    /// The sealed particulars of a workload.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn particulars(&self, tenant: &TenantId, id: WorkloadId) -> Result<Option<String>, StoreError> {
        let item = self.get_row(Table::Workloads, (&partition(tenant, id), PARTICULARS)).await?;
        Ok(item.as_ref().and_then(|item| text_of(item, "sealed")).map(str::to_owned))
    }

    /// Who may come in.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn people(&self, tenant: &TenantId, id: WorkloadId) -> Result<People, StoreError> {
        let item = self.get_row(Table::Workloads, (&partition(tenant, id), PEOPLE)).await?;
        item.map_or_else(|| Ok(People::default()), value)
    }

    /// The attempt that the fleet was last asked for.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn attempt(&self, tenant: &TenantId, id: WorkloadId) -> Result<Option<AttemptRow>, StoreError> {
        self.get_row(Table::Workloads, (&partition(tenant, id), ATTEMPT)).await?.map(value).transpose()
    }

    /// Remembers a token that a launch waits with. Those of earlier tries of the same step are kept beside it: a handler that was slow
    /// to die may come here after the one that took its place, and must not put its own dead token in the place of the live one.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn keep_token(
        &self,
        (tenant, id): (&TenantId, WorkloadId),
        awaited: Awaited,
        token: &TaskToken,
    ) -> Result<(), StoreError> {
        let pk = partition(tenant, id);
        let add = format!("ADD {} :token SET #ttl = :ttl", awaited.attribute());
        let ttl = self.clock.now().plus(policy::HISTORY_TTL).seconds();
        let token = AttributeValue::Ss(vec![token.0.reveal().to_owned()]);
        let values = [("#ttl", text(TTL)), (":token", token), (":ttl", number(ttl))];
        self.update_row(Table::Workloads, (&pk, TOKEN), &add, None, &values).await.map(drop)
    }

    /// The tokens that a launch waits with, or has waited with. To complete one that was used, or whose step is over, is no error.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn tokens(
        &self,
        tenant: &TenantId,
        id: WorkloadId,
        awaited: &[Awaited],
    ) -> Result<Vec<TaskToken>, StoreError> {
        let Some(item) = self.get_row(Table::Workloads, (&partition(tenant, id), TOKEN)).await? else {
            return Ok(Vec::new());
        };
        let of = |awaited: &Awaited| item.get(awaited.attribute()).and_then(|tokens| tokens.as_ss().ok());
        let tokens = awaited.iter().filter_map(of).flatten();
        Ok(tokens.map(|token| TaskToken(Secret::new(token.as_str()))).collect())
    }

    /// A workload's timeline after version `after`, oldest first, at most `most` entries.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn timeline(
        &self,
        tenant: &TenantId,
        id: WorkloadId,
        after: u64,
        most: i32,
    ) -> Result<Vec<Entry>, StoreError> {
        let pk = partition(tenant, id);
        let bounds = vec![(":from", text(event_key(after.saturating_add(1)))), (":to", text("event#~"))];
        let range = Range {
            hash: ("pk", &pk),
            condition: Some(("sk BETWEEN :from AND :to", bounds)),
            limit: Some(most),
            ..Range::default()
        };
        self.page(Table::Workloads, &range).await?.items.into_iter().map(value).collect()
    }

    /// The last entries of a workload's timeline, oldest first: as many as `most`, where there are so many.
    async fn timeline_end(&self, tenant: &TenantId, id: WorkloadId, most: usize) -> Result<Vec<Entry>, StoreError> {
        let pk = partition(tenant, id);
        let bounds = vec![(":from", text("event#")), (":to", text("event#~"))];
        let mut range = Range {
            hash: ("pk", &pk),
            condition: Some(("sk BETWEEN :from AND :to", bounds)),
            descending: true,
            limit: i32::try_from(most).ok(),
            ..Range::default()
        };
        let mut entries = Vec::new();
        loop {
            let page = self.page(Table::Workloads, &range).await?;
            for item in page.items {
                entries.push(value(item)?);
            }
            match page.next {
                Some(next) if entries.len() < most => range.start = Some(next),
                _ => break,
            }
        }
        entries.truncate(most);
        entries.reverse();
        Ok(entries)
    }

    /// An owner's workloads, newest first: those with one of `statuses`, or all when there are none.
    ///
    /// The owner's counts come in the same query as the first rows, and a filtered list stops reading as soon as it has seen as many
    /// as the counts say there are. So nothing reads an owner's whole history unless the whole history is asked for.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn list(
        &self,
        tenant: &TenantId,
        owner: &UserName,
        statuses: &[JobStatus],
        (limit, offset): (usize, usize),
    ) -> Result<Listed, StoreError> {
        let pk = owner_partition(tenant, owner);
        let wanted = |status: JobStatus| statuses.is_empty() || statuses.contains(&status);
        let live_in_part = statuses.iter().any(|status| !status.is_over());
        let mut range = Range { index: Some(LISTING), hash: ("list_pk", &pk), descending: true, ..Range::default() };
        // One row more than the page is the owner's counts.
        range.limit = i32::try_from(limit.saturating_add(offset).saturating_add(1).min(1_000)).ok();
        let mut seen = Seen::default();
        let mut counts = Counts::default();
        let whole = loop {
            let page = self.page(Table::Workloads, &range).await?;
            for item in page.items {
                if text_of(&item, "sk") == Some("counts") {
                    counts = Counts::of(&item);
                    continue;
                }
                let workload: Workload = value(item)?;
                seen.look_at(workload, wanted, (limit, offset));
            }
            let all_live_seen = seen.live >= counts.live;
            let live_matters = statuses.is_empty() || live_in_part;
            let nothing_follows =
                seen.matched - seen.live_matched >= counts.over(statuses) && (!live_matters || all_live_seen);
            // How many of the live ones match is known only when all of them were seen.
            let counted = !live_in_part || all_live_seen;
            match page.next {
                Some(next) if !(counted && (seen.page.len() >= limit || nothing_follows)) => range.start = Some(next),
                next => break next.is_none(),
            }
        };
        let live = if live_in_part {
            seen.live_matched
        } else if statuses.is_empty() {
            counts.live
        } else {
            0
        };
        // Counts outlive the rows that time to live takes away, so where the whole list was read, it is what counts.
        let total = if whole { seen.matched } else { (live + counts.over(statuses)).max(seen.matched) };
        Ok(Listed { workloads: seen.page, total })
    }

    /// How many workloads of an owner's have not ended, read strongly.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn live(&self, tenant: &TenantId, owner: &UserName) -> Result<u64, StoreError> {
        let item = self.get_row(Table::Workloads, (&owner_partition(tenant, owner), "counts")).await?;
        Ok(item.map_or(0, |item| Counts::of(&item).live))
    }

    /// What is due at `now`, earliest first: a page of it, after `after`.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn due(
        &self,
        now: Timestamp,
        after: Option<DueMark>,
    ) -> Result<(Vec<DueRow>, Option<DueMark>), StoreError> {
        let (keys, next) = self.due_keys(Table::Workloads, now, after).await?;
        let row = |(pk, sk): (String, String)| {
            if sk.starts_with("event#") {
                return Some(DueRow::Outbox(OutboxKey { pk, sk }));
            }
            let (tenant, id) = pk.rsplit_once('#').filter(|_| sk == WORKLOAD)?;
            Some(DueRow::Workload(TenantId::new(tenant), id.parse().ok()?))
        };
        Ok((keys.into_iter().filter_map(row).collect(), next))
    }

    /// Puts off the sweep's next look at a workload in which nothing is due, unless it was changed since it was read.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn looked_at(&self, workload: &Workload, now: Timestamp) -> Result<(), StoreError> {
        let pk = partition(&workload.tenant, workload.id);
        let next = now.plus(policy::LOOK_AGAIN);
        let due = workload.due_at().map_or(next, |due| due.min(next));
        let values = [("#version", text("version")), (":due", millis(due)), (":seen", number(workload.version))];
        let same = Some("#version = :seen");
        self.update_row(Table::Workloads, (&pk, WORKLOAD), "SET due_at = :due", same, &values).await.map(drop)
    }

    /// Writes down that the agent of an active workload was heard, without a new version: a change that is decided at the same moment may
    /// put the time back again, and the agent's next call brings it.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn heard(&self, workload: &Workload, at: Timestamp) -> Result<(), StoreError> {
        let pk = partition(&workload.tenant, workload.id);
        let names = [("#state", text("state")), ("#attempt", text("attempt"))];
        let seen = [(":active", text(State::Active.name())), (":attempt", number(workload.attempt))];
        let values = [&names[..], &seen, &[(":at", text(at.to_string()))]].concat();
        let same = Some("#state = :active AND #attempt = :attempt");
        self.update_row(Table::Workloads, (&pk, WORKLOAD), "SET heard_at = :at", same, &values).await.map(drop)
    }

    /// The messages of an outbox that have not been marked as sent.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn outbox(&self, key: &OutboxKey) -> Result<Vec<Message>, StoreError> {
        let Some(item) = self.get_row(Table::Workloads, (&key.pk, &key.sk)).await? else { return Ok(Vec::new()) };
        let outbox = item.get("outbox").and_then(|outbox| outbox.as_s().ok());
        let parsed = outbox.map(|text| serde_json::from_str::<Outbox>(text)).transpose();
        Ok(parsed
            .map_err(|error| StoreError::Broken(error.to_string()))?
            .map(|outbox| outbox.messages)
            .unwrap_or_default())
    }

    /// Marks an outbox as sent.
    ///
    /// # Errors
    /// When the tables fail; the messages may then be sent again.
    pub async fn sent(&self, key: &OutboxKey) -> Result<(), StoreError> {
        let expression = "REMOVE outbox, due_pk, due_at";
        let exists = Some("attribute_exists(pk)");
        self.update_row(Table::Workloads, (&key.pk, &key.sk), expression, exists, &[]).await.map(drop)
    }
}

/// What a list has come past.
#[derive(Default)]
struct Seen {
    page: Vec<Workload>,
    matched: u64,
    live: u64,
    live_matched: u64,
}

impl Seen {
    fn look_at(&mut self, workload: Workload, wanted: impl Fn(JobStatus) -> bool, (limit, offset): (usize, usize)) {
        let status = workload.status();
        self.live += u64::from(!status.is_over());
        if wanted(status) {
            self.matched += 1;
            self.live_matched += u64::from(!status.is_over());
            if usize::try_from(self.matched).unwrap_or(usize::MAX) > offset && self.page.len() < limit {
                self.page.push(workload);
            }
        }
    }
}

/// How many workloads an owner has, by how they stand.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    live: u64,
    expired: u64,
    cancelled: u64,
    failed: u64,
}

impl Counts {
    fn of(item: &Item) -> Self {
        let count = |name| u64::try_from(count_of(item, name)).unwrap_or(0);
        Self { live: count("live"), expired: count("expired"), cancelled: count("cancelled"), failed: count("failed") }
    }

    /// How many have ended with one of `statuses`, or at all when there are none.
    fn over(&self, statuses: &[JobStatus]) -> u64 {
        let ended = [
            (JobStatus::Expired, self.expired),
            (JobStatus::Cancelled, self.cancelled),
            (JobStatus::Failed, self.failed),
        ];
        let wanted = ended.into_iter().filter(|(status, _)| statuses.is_empty() || statuses.contains(status));
        wanted.map(|(_, count)| count).sum()
    }
}
