//! Which workload goes to which node: a pure function of what a dispatcher sees.

use serde::{Deserialize, Serialize};

use crate::{DiskId, NodeId, TenantId, Timestamp, UserName, WorkloadId, timeline::Entry};

/// A machine with GPUs, as the ledger sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// How many GPUs it has.
    #[serde(rename = "gpus_total")]
    pub total: u32,
    /// How many of them no workload holds.
    #[serde(rename = "gpus_free")]
    pub free: u32,
    /// Nothing new may be placed on it.
    pub cordoned: bool,
}

/// A workload that waits, as the queue's row says. Rows come in the order in which they are to be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which it is.
    pub workload: WorkloadId,
    /// How many GPUs it needs, all on one node.
    pub gpus: u32,
    /// The version that it had when it began to wait. If it was changed since, a placement notices.
    pub version: u64,
    /// The disk without which it cannot run.
    pub disk: Option<NeedsDisk>,
    /// Its place in the queue: those that are served earlier have lower ones.
    pub rank: String,
}

/// A disk that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedsDisk {
    /// Whose disk it is.
    pub owner: UserName,
    /// The disk.
    pub disk: DiskId,
    /// How much room there must be on it at least, in GB.
    pub size_gb: u32,
}

/// Room was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The workload.
    pub waiting: Waiting,
    /// Its node.
    pub node: NodeId,
}

impl Place {
    /// What the timeline says when the workload is placed as it was when it began to wait: the same as [`crate::Workload::place`] says.
    #[must_use]
    pub fn entry(&self, now: Timestamp) -> Entry {
        Entry::placed(self.waiting.version + 1, &self.node, now)
    }
}

/// Best fit in the queue's order: each workload goes to the node that it leaves the least room on, which keeps whole nodes free for
/// those that need them; ties go to the first by name. The first that finds no room ends the pass: nobody is overtaken, so nobody
/// starves. One that is larger than every node waits for a node that may come, and holds up nobody. (Backfill behind a reservation for the head of the queue comes with fair placement.)
#[must_use]
pub fn decide(nodes: &[Node], queue: &[Waiting]) -> Vec<Place> {
    let mut nodes = nodes.iter().filter(|node| !node.cordoned).cloned().collect::<Vec<_>>();
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    let mut placed = Vec::new();
    let largest = nodes.iter().map(|node| node.total).max().unwrap_or(0);
    for waiting in queue.iter().filter(|waiting| waiting.gpus <= largest) {
        let fits = nodes.iter_mut().filter(|node| node.free >= waiting.gpus);
        let Some(node) = fits.min_by_key(|node| node.free) else { break };
        node.free -= waiting.gpus;
        placed.push(Place { waiting: waiting.clone(), node: node.id.clone() });
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(free: &[u32], queue: &[u32], expected: &[usize]) {
        let nodes = free.iter().enumerate().map(|(at, &free)| Node {
            id: NodeId::new(format!("n{at}")),
            total: 8,
            free,
            cordoned: free == 7,
        });
        let queue = queue.iter().map(|&gpus| Waiting {
            tenant: TenantId::new("t"),
            workload: WorkloadId::new(Timestamp::default(), &[0; 32]),
            gpus,
            version: 1,
            disk: None,
            rank: String::new(),
        });
        let placed = decide(&nodes.collect::<Vec<_>>(), &queue.collect::<Vec<_>>());
        let names = placed.iter().map(|place| place.node.to_string()).collect::<Vec<_>>();
        assert_eq!(names, expected.iter().map(|at| format!("n{at}")).collect::<Vec<_>>(), "{free:?}");
    }

    #[test]
    fn best_fit_in_order() {
        check(&[8, 8], &[8, 8], &[0, 1]);
        check(&[8, 3], &[2, 8], &[1, 0]); // the small one leaves the whole node for the big one
        check(&[4, 4], &[8, 1], &[]); // nobody overtakes the head of the queue
        check(&[4, 8], &[4, 4, 4, 1], &[0, 1, 1]);
        check(&[7, 1], &[1, 1], &[1]); // a cordoned node gets nothing
        check(&[8], &[9, 1], &[0]); // no node will ever hold the first: it holds up nobody
        check(&[], &[1], &[]);
        check(&[8], &[], &[]);
    }
}
