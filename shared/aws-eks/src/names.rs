//! What things are called, and the labels by which they are found again.

use std::collections::BTreeMap;

use cloud::{Attempt, Order, Tagged};
use domain::{InstanceId, PoolId, SecretHash, TenantId};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::ResourceExt as _;
use serde_json::json;

/// The labels.
pub(crate) const DEPLOYMENT: &str = "slipway.dev/deployment";
pub(crate) const WORKLOAD: &str = "slipway.dev/workload";
pub(crate) const ATTEMPT: &str = "slipway.dev/attempt";
pub(crate) const TENANT: &str = "slipway.dev/tenant";
/// The annotation with the pool, whose name a label cannot have.
pub(crate) const POOL: &str = "slipway.dev/pool";
pub(crate) const ENDED: &str = "slipway.dev/ended";
pub(crate) const RANK: &str = "slipway.dev/rank";
/// The annotation with what was ordered, hashed.
pub(crate) const ORDER: &str = "slipway.dev/order";
/// The scheduling gate that an order lifts last, and the finalizer that keeps what a pod's containers said when they finished.
pub(crate) const GATE: &str = "slipway.dev/order";
pub(crate) const FINALIZER: &str = "slipway.dev/end";
/// The tombstone's entry with the time at which the attempt stopped.
pub(crate) const STOPPED_AT: &str = "stopped_at";

/// One attempt's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) attempt: Attempt,
    /// The pod's name, and those of its secret, its service, its disk's volume and its claim: their kinds tell them apart.
    pub(crate) pod: String,
    /// The tombstone's name.
    pub(crate) tombstone: String,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Names {
    pub(crate) fn new(deployment: &str, attempt: Attempt) -> Self {
        let Attempt { tenant, workload, number, .. } = &attempt;
        let pod = format!("sw-{}-{number}", workload.to_string().replace('-', ""));
        let labels = [
            ("app.kubernetes.io/managed-by", "slipway".to_owned()),
            (DEPLOYMENT, deployment.to_owned()),
            (WORKLOAD, workload.to_string()),
            (ATTEMPT, number.to_string()),
            (TENANT, hashed(tenant)),
        ];
        Self {
            labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
            tombstone: format!("{pod}-tomb"),
            pod,
            attempt,
        }
    }

    pub(crate) fn of(deployment: &str, order: &Order) -> Self {
        Self::new(deployment, order.of())
    }

    /// Whether something with our name is ours.
    pub(crate) fn made(&self, thing: &impl kube::Resource) -> bool {
        let labels = thing.labels();
        self.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    }

    /// What the pod owns, the agent's and the user's containers alike, is found by these.
    pub(crate) fn selector(&self) -> BTreeMap<String, String> {
        let chosen = [DEPLOYMENT, WORKLOAD, ATTEMPT];
        self.labels.clone().into_iter().filter(|(name, _)| chosen.contains(&name.as_str())).collect()
    }
}

/// A tenant's name may be anything, and a label's value may not. It is kept as an annotation beside this.
fn hashed(tenant: &TenantId) -> String {
    SecretHash::of(tenant.as_str().as_bytes()).as_str().chars().take(32).collect()
}

/// What was ordered, so that a repetition with other parameters is told from a true one. The length of its life is left out: the
/// owner may extend it while it is launched, and the deadline allows for that.
pub(crate) fn fingerprint(order: &Order) -> String {
    let Order { tenant, workload, attempt, pool, node, gpus, gpu, instance_type, image, disk, enroll_token, .. } =
        order;
    let Order { life: _, serves, use_spot: _, .. } = order;
    let token = enroll_token.hash();
    let mut fields =
        json!([tenant, workload, attempt, pool, node, gpus, gpu, instance_type, image, disk, token.as_str()]);
    // What was ordered before there were models is still known by the same mark.
    if let (true, Some(fields)) = (serves, fields.as_array_mut()) {
        fields.push(json!(serves));
    }
    SecretHash::of(fields.to_string().as_bytes()).as_str().to_owned()
}

/// Reads a pod's tags; `None` when they are not as we write them.
pub(crate) fn tagged(pod: &Pod) -> Option<Tagged> {
    let label = |name: &str| pod.labels().get(name);
    Some(Tagged {
        instance: InstanceId::new(pod.name_any()),
        attempt: Attempt {
            tenant: TenantId::new(pod.annotations().get(TENANT)?),
            workload: label(WORKLOAD)?.parse().ok()?,
            number: label(ATTEMPT)?.parse().ok()?,
            pool: PoolId::new(pod.annotations().get(POOL)?),
        },
    })
}

/// Makes `pod` the owner of something.
pub(crate) fn owner(pod: &Pod) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        ..OwnerReference::default()
    }
}
