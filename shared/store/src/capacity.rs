//! The ledger of GPUs: nodes, queues and counts of each pool.
//!
//! `pool#POOL` holds a row `node#ID` for each node, counts in a few shards so that many callers do not meet in one row, and what the
//! last dispatcher pass left waiting. `queue#POOL` holds a row for each workload that waits, in the order in which they are served.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    NodeId, PoolId, TenantId, Timestamp, Workload, WorkloadId,
    lifecycle::{Stage, State},
    placement::{NeedsDisk, Node, Place, Waiting},
};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError, Table,
    items::{Item, count_of, millis, number, row, text, text_of, value},
    requests::{DueMark, Range},
    tables::DUE_NOW,
    transaction::{Guard, Transaction},
};

/// The row of a pool's last dispatcher pass.
const PASS: &str = "pass";

/// How many rows the counts of one pool are spread over.
const SHARDS: u8 = 8;

/// What is to be known about a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolView {
    /// Its nodes, by name.
    pub nodes: Vec<Node>,
    /// Its counts.
    pub counts: PoolCounts,
    /// How many workloads the last pass of the dispatcher left waiting.
    pub left_waiting: u64,
}

/// How many workloads a pool has, by how they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Workloads that wait.
    pub queued: u64,
    /// GPUs that they wait for.
    pub queued_gpus: u64,
    /// Workloads that are being launched.
    pub preparing: u64,
    /// Workloads that are active or ending.
    pub active: u64,
}

impl PoolView {
    /// All its GPUs.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.nodes.iter().map(|node| node.total).sum()
    }

    /// GPUs that could be had now.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.nodes.iter().filter(|node| !node.cordoned).map(|node| node.free).sum()
    }

    /// GPUs that workloads hold.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.nodes.iter().map(|node| node.total - node.free.min(node.total)).sum()
    }

    /// The most GPUs that one workload could have.
    #[must_use]
    pub fn max_per_node(&self) -> u32 {
        self.nodes.iter().map(|node| node.total).max().unwrap_or(0)
    }

    /// How many of those that wait no dispatcher has seen yet.
    #[must_use]
    pub fn unseen(&self) -> u64 {
        self.counts.queued.saturating_sub(self.left_waiting)
    }
}

/// A workload's row in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct QueueRow {
    tenant: TenantId,
    workload: WorkloadId,
    gpus: u32,
    version: u64,
    /// The row's own sort key, which a placement needs to take it away.
    sk: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk: Option<NeedsDisk>,
}

fn pool_pk(pool: &PoolId) -> String {
    format!("pool#{pool}")
}

fn queue_pk(pool: &PoolId) -> String {
    format!("queue#{pool}")
}

fn node_sk(node: &NodeId) -> String {
    format!("node#{node}")
}

/// Higher priorities sort first, then earlier submits; the id tells apart those of one millisecond.
fn queue_sk(workload: &Workload) -> String {
    let priority = u8::MAX - workload.spec.priority;
    format!("{priority:03}#{:015}#{}", workload.created_at.millis(), workload.id)
}

fn counts_sk(workload: WorkloadId) -> String {
    let shard = workload.to_string().bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % SHARDS;
    format!("counts#{shard}")
}

/// Adds to `transaction` what a workload's step from one state to another does to the ledger.
pub(crate) fn account(
    transaction: &mut Transaction<'_>,
    from: Option<State>,
    workload: &Workload,
) -> Result<(), StoreError> {
    let to = workload.state;
    let pool = workload.pool();
    if from.is_none() {
        let sk = queue_sk(workload);
        let waiting = QueueRow {
            tenant: workload.tenant.clone(),
            workload: workload.id,
            gpus: workload.spec.gpu_count,
            version: workload.version,
            sk: sk.clone(),
            disk: workload.needs_disk(),
        };
        transaction.put(Guard::Version, Table::Capacity, row((&queue_pk(pool), &sk), &waiting)?, None)?;
    } else if from == Some(State::Queued) && to != State::Queued {
        transaction.delete(Table::Capacity, (&queue_pk(pool), &queue_sk(workload)))?;
    }
    let held = from.is_some_and(State::holds_gpus);
    if held != to.holds_gpus() {
        let node = workload.node.as_ref();
        let node = node.ok_or_else(|| StoreError::Broken("GPUs are held on no node".to_owned()))?;
        hold(transaction, (pool, node), workload.spec.gpu_count, !held)?;
    }
    count(transaction, (pool, workload.id, workload.spec.gpu_count), from, to)
}

/// Adds to `transaction` what the placement of a workload does to the ledger.
pub(crate) fn account_placed(
    transaction: &mut Transaction<'_>,
    pool: &PoolId,
    place: &Place,
) -> Result<(), StoreError> {
    let Waiting { workload, gpus, rank, .. } = &place.waiting;
    transaction.delete(Table::Capacity, (&queue_pk(pool), rank))?;
    hold(transaction, (pool, &place.node), *gpus, true)?;
    count(transaction, (pool, *workload, *gpus), Some(State::Queued), State::Placed)
}

/// Takes GPUs from a node, or gives them back.
fn hold(
    transaction: &mut Transaction<'_>,
    (pool, node): (&PoolId, &NodeId),
    gpus: u32,
    take: bool,
) -> Result<(), StoreError> {
    let (pk, sk) = (pool_pk(pool), node_sk(node));
    let gpus = i64::from(gpus);
    let change = (":change", number(if take { -gpus } else { gpus }));
    if take {
        let room = Some("gpus_free >= :gpus AND cordoned = :no");
        let values = [change, (":gpus", number(gpus)), (":no", AttributeValue::Bool(false))];
        return transaction.update(Guard::Room, Table::Capacity, (&pk, &sk), ("ADD gpus_free :change", room), &values);
    }
    transaction.update(Guard::Room, Table::Capacity, (&pk, &sk), ("ADD gpus_free :change", None), &[change])
}

/// Keeps the pool's counts.
fn count(
    transaction: &mut Transaction<'_>,
    (pool, id, gpus): (&PoolId, WorkloadId, u32),
    from: Option<State>,
    to: State,
) -> Result<(), StoreError> {
    let counted = |state: State| match state.stage() {
        Stage::Waiting => Some("queued"),
        Stage::Launching => Some("preparing"),
        Stage::Running | Stage::Ending => Some("active"),
        Stage::Over => None,
    };
    let (before, after) = (from.and_then(counted), counted(to));
    if before == after {
        return Ok(());
    }
    let gpus = i64::from(gpus);
    let mut sums = Vec::new();
    let mut values = Vec::new();
    for (name, sign, one, all) in [(before, -1, ":less", ":less_gpus"), (after, 1, ":more", ":more_gpus")]
        .into_iter()
        .filter_map(|(name, sign, one, all)| Some((name?, sign, one, all)))
    {
        sums.push(format!("{name} {one}"));
        values.push((one, number(sign)));
        if name == "queued" {
            sums.push(format!("queued_gpus {all}"));
            values.push((all, number(sign * gpus)));
        }
    }
    let (pk, sk) = (pool_pk(pool), counts_sk(id));
    transaction.update(
        Guard::Version,
        Table::Capacity,
        (&pk, &sk),
        (&format!("ADD {}", sums.join(", ")), None),
        &values,
    )
}

impl Store {
    /// Enters a node, unless it is there. One that is to have another number of GPUs is taken out first ([`Store::retire_node`]).
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn enter_node(&self, pool: &PoolId, node: &NodeId, gpus: u32) -> Result<(), StoreError> {
        let (pk, sk) = (pool_pk(pool), node_sk(node));
        let fresh = Node { id: node.clone(), total: gpus, free: gpus, cordoned: false };
        self.put_new(Table::Capacity, row((&pk, &sk), &fresh)?).await.map(drop)
    }

    /// Takes a node out, if no workload holds GPUs on it; else cordons it.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn retire_node(&self, pool: &PoolId, node: &NodeId) -> Result<(), StoreError> {
        let (pk, sk) = (pool_pk(pool), node_sk(node));
        let yes = [(":yes", AttributeValue::Bool(true))];
        let exists = Some("attribute_exists(pk)");
        let row = self.update_row(Table::Capacity, (&pk, &sk), "SET cordoned = :yes", exists, &yes).await?;
        match row.map(value::<Node>).transpose()? {
            Some(node) if node.free == node.total => self.delete_row(Table::Capacity, (&pk, &sk)).await,
            _ => Ok(()),
        }
    }

    /// Enters the nodes that a pool is to have, and takes out those that it is not to have any more.
    ///
    /// A node that workloads still hold cannot be taken out: it takes no new ones, and goes when this is called once more. One that is
    /// wanted again before that is taken out too as soon as it is idle, and entered anew. The same goes for one whose number of GPUs
    /// has changed: what is held was booked on the node as it was, and might not fit on the node as it is.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn keep_nodes(&self, pool: &PoolId, wanted: &[(NodeId, u32)]) -> Result<(), StoreError> {
        let is_wanted = |known: &Node| wanted.iter().any(|(id, gpus)| *id == known.id && *gpus == known.total);
        let known = self.pool(pool).await?.nodes;
        let strange: Vec<&Node> = known.iter().filter(|node| node.cordoned || !is_wanted(node)).collect();
        for node in &strange {
            self.retire_node(pool, &node.id).await?;
        }
        let there = if strange.is_empty() { known } else { self.pool(pool).await?.nodes };
        // One that is still there is as it should be, or has to be idle first.
        for (node, gpus) in wanted.iter().filter(|(id, _)| !there.iter().any(|known| known.id == *id)) {
            self.enter_node(pool, node, *gpus).await?;
        }
        Ok(())
    }

    /// A pool with its nodes and counts, in one strong query.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn pool(&self, pool: &PoolId) -> Result<PoolView, StoreError> {
        let pk = pool_pk(pool);
        let range = Range { hash: ("pk", &pk), ..Range::default() };
        let mut view = PoolView::default();
        for item in self.all(Table::Capacity, &range).await? {
            match text_of(&item, "sk") {
                Some(sk) if sk.starts_with("node#") => view.nodes.push(value(item)?),
                Some(sk) if sk.starts_with("counts#") => view.counts.add(&item),
                Some(PASS) => view.left_waiting = u64::try_from(count_of(&item, "waiting")).unwrap_or(0),
                _ => {}
            }
        }
        Ok(view)
    }

    /// The first `most` that wait in a pool, in the order in which they are served.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn waiting(&self, pool: &PoolId, most: i32) -> Result<Vec<Waiting>, StoreError> {
        let pk = queue_pk(pool);
        let range = Range { hash: ("pk", &pk), limit: Some(most), ..Range::default() };
        let waiting = |item| {
            let QueueRow { tenant, workload, gpus, version, sk, disk } = value(item)?;
            Ok(Waiting { tenant, workload, gpus, version, disk, rank: sk })
        };
        self.page(Table::Capacity, &range).await?.items.into_iter().map(waiting).collect()
    }

    /// Records how many workloads a pass of the dispatcher left waiting, unless another pass has done so since `before`. While
    /// somebody waits the pool is due: the sweep rings for it, in case that the doorbell of those who left was lost.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn passed(&self, pool: &PoolId, before: u64, waiting: u64, now: Timestamp) -> Result<(), StoreError> {
        let pk = pool_pk(pool);
        let values = [
            (":waiting", number(waiting)),
            (":before", number(before)),
            (":now", millis(now)),
            (":due", text(DUE_NOW)),
        ];
        let unchanged =
            if before == 0 { "attribute_not_exists(waiting) OR waiting = :before" } else { "waiting = :before" };
        let (expression, values) = if waiting > 0 {
            ("SET waiting = :waiting, due_pk = :due, due_at = :now", &values[..])
        } else {
            ("SET waiting = :waiting REMOVE due_pk, due_at", &values[..2])
        };
        self.update_row(Table::Capacity, (&pk, PASS), expression, Some(unchanged), values).await.map(drop)
    }

    /// The pools in which somebody waits, as the last passes left them: a page of them, after `after`.
    ///
    /// # Errors
    /// When the tables fail.
    pub async fn due_pools(
        &self,
        now: Timestamp,
        after: Option<DueMark>,
    ) -> Result<(Vec<PoolId>, Option<DueMark>), StoreError> {
        let (keys, next) = self.due_keys(Table::Capacity, now, after).await?;
        Ok((keys.into_iter().filter_map(|(pk, _)| pk.strip_prefix("pool#").map(PoolId::new)).collect(), next))
    }
}

impl PoolCounts {
    fn add(&mut self, item: &Item) {
        let sum = |before: u64, name| before.saturating_add_signed(count_of(item, name));
        self.queued = sum(self.queued, "queued");
        self.queued_gpus = sum(self.queued_gpus, "queued_gpus");
        self.preparing = sum(self.preparing, "preparing");
        self.active = sum(self.active, "active");
    }
}
