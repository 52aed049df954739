//! What an installation sets.

use std::{collections::BTreeMap, time::Duration};

use cloud::Order;
use domain::policy;

/// What a pod of the fleet is made with, and how long things may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The namespace; it is the fleet's alone.
    pub namespace: String,
    /// The name of this deployment, a label's value: two deployments may share a cluster and never see each other's pods.
    pub deployment: String,
    /// Where agents reach the control plane, without a path.
    pub plane_url: String,
    /// The agent's image.
    pub agent_image: String,
    /// Which nodes a job may run on.
    pub nodes: Nodes,
    /// How users reach a job's SSH server.
    pub way_in: WayIn,
    /// Whether jobs may have disks: [`crate::EksAttacher`] is there, and the fleet's identity may have to do with persistent volumes.
    pub disks: bool,
    /// What a job gets with each GPU, on machine types that [`Settings::shares`] does not name.
    pub share: Share,
    /// What a job gets with each GPU, by machine type.
    pub shares: BTreeMap<String, Share>,
    /// The longest that a job may come to run, extensions included.
    pub longest_life: Duration,
    /// How long a pod may take from the moment its node has it until its job is active: images are pulled in that time.
    pub launch_allowance: Duration,
    /// A pod that no node has had room for in this time is not waited for: the fleet says at once that there is no capacity.
    pub unschedulable_after: Duration,
    /// How long one call of `provision` waits for an address.
    pub patience: Duration,
    /// How long tombstones, and pods that ended and that nobody ended, are kept.
    pub remembered: Duration,
}

impl Settings {
    /// Settings with our defaults.
    #[must_use]
    pub fn new(namespace: &str, deployment: &str, plane_url: &str, agent_image: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            deployment: deployment.to_owned(),
            plane_url: plane_url.to_owned(),
            agent_image: agent_image.to_owned(),
            nodes: Nodes::OfInstanceType,
            way_in: WayIn::NodePort,
            disks: false,
            share: Share { cpu_millis: 3_000, memory_mib: 12 * 1024, disk_mib: 50 * 1024 },
            shares: BTreeMap::new(),
            longest_life: Duration::from_secs(u64::from(policy::Policy::default().longest_hours) * 3600),
            launch_allowance: Duration::from_secs(2 * 3600),
            unschedulable_after: Duration::from_secs(2 * 60),
            patience: Duration::from_secs(20),
            remembered: Duration::from_secs(24 * 3600),
        }
    }

    /// What a job gets with each of its GPUs.
    pub(crate) fn share(&self, instance_type: &str) -> Share {
        self.shares.get(instance_type).copied().unwrap_or(self.share)
    }

    /// How long a pod may live from the moment its node has it. An extension cannot move this any more, because Kubernetes only ever
    /// shortens it: so it allows for every extension that may come.
    /// What is open-ended has none.
    pub(crate) fn deadline(&self, order: &Order) -> Option<Duration> {
        Some(order.life?.max(self.longest_life) + policy::GRACE + self.launch_allowance)
    }
}

/// Which nodes a job may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Any of the machine type that was asked for.
    OfInstanceType,
    /// Any whose label of this name has the pool's name, with a dot for each slash: `eks.h100`.
    OfPool {
        /// The label's name.
        label: String,
    },
    /// The one that the GPUs were booked on: the ledger's nodes are the cluster's, by name.
    Booked,
}

/// How users reach a job's SSH server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayIn {
    /// A port of the job's own node.
    NodePort,
    /// A network load balancer within the VPC.
    InternalLoadBalancer,
}

/// A part of a node that goes with one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Thousandths of a virtual CPU.
    pub cpu_millis: u32,
    /// Memory.
    pub memory_mib: u32,
    /// Room on the node's disk: the container's own layer and its logs.
    pub disk_mib: u32,
}
