//! What a pod, a service and a tombstone say about an attempt. Nothing here asks anybody.

use std::time::Duration;

use cloud::Sighting;
use domain::{Timestamp, workload::Address};
use k8s_openapi::{
    api::core::v1::{ConfigMap, ContainerStatus, Pod, PodCondition, PodStatus, Service, ServicePort},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt as _;

use crate::{
    names::{GATE, STOPPED_AT},
    owned::{MODEL, PUBLIC_SSH_PORT, SSH},
    pod::{JUPYTER_PORT, MODEL_PORT},
    settings::WayIn,
};

pub(crate) fn timestamp(time: &Time) -> Timestamp {
    Timestamp::from_millis(time.0.as_millisecond())
}

/// Whether it still waits for its order to be finished.
pub(crate) fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| gates.iter().any(|gate| gate.name == GATE))
}

/// Whether somebody told it to end.
pub(crate) fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether all its containers have finished, for good: none is ever started again.
pub(crate) fn has_finished(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Whether nothing of it runs and nothing ever will: it finished, or it was deleted while no node had it.
pub(crate) fn is_over(pod: &Pod) -> bool {
    let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
    has_finished(pod) || (is_deleted(pod) && !bound)
}

/// When the last of its containers finished, where they tell.
pub(crate) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref().filter(|_| has_finished(pod))?;
    let told = [&status.init_container_statuses, &status.container_statuses];
    let containers = told.into_iter().flatten().flatten();
    let ended = |container: &ContainerStatus| {
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        terminated.finished_at.as_ref().map(timestamp)
    };
    containers.filter_map(ended).max()
}

/// The time that a tombstone keeps.
pub(crate) fn kept_time(tombstone: &ConfigMap) -> Option<Timestamp> {
    tombstone.data.as_ref()?.get(STOPPED_AT).and_then(|text| Timestamp::parse(text))
}

/// What is to be seen of an attempt. The tombstone must have been read before the pod.
pub(crate) fn sighting(tombstone: Option<&ConfigMap>, pod: Option<&Pod>) -> Sighting {
    match (tombstone, pod) {
        (_, Some(pod)) if is_over(pod) => Sighting::Gone { stopped_at: finished_at(pod) },
        (Some(tombstone), None) => Sighting::Gone { stopped_at: kept_time(tombstone) },
        (None, None) | (_, Some(_)) => Sighting::Running,
    }
}

/// How far a pod has come on its way to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It can be reached here.
    At(Address),
    /// It is worth looking again in a moment.
    Soon(String),
    /// There is no room, and has not been for a while.
    NoRoom(String),
    /// It can never run.
    Never(String),
}

/// How far a pod has come. A pod without a service is one whose service is being made.
pub(crate) fn arrival(pod: &Pod, service: Option<&Service>, way_in: WayIn, waited: &Waited) -> Arrival {
    let status = pod.status.clone().unwrap_or_default();
    if is_over(pod) || is_deleted(pod) {
        return Arrival::Never("what it was running on has ended".to_owned());
    }
    if let Some(reason) = impossible(&status) {
        return Arrival::Never(reason);
    }
    let Some(node) = status.host_ip.clone().filter(|address| !address.is_empty()) else {
        return unscheduled(&status, waited);
    };
    let address = |host, ssh_port, model_port| Address { host, ssh_port, jupyter_port: JUPYTER_PORT, model_port };
    let has_model = service.is_some_and(|service| port_named(service, MODEL).is_some());
    match way_in {
        WayIn::NodePort => match service.and_then(|service| node_port(service, SSH)) {
            Some(port) => Arrival::At(address(node, port, service.and_then(|service| node_port(service, MODEL)))),
            None => Arrival::Soon("its service has no port yet".to_owned()),
        },
        WayIn::InternalLoadBalancer => match service.and_then(balancer) {
            Some(host) => Arrival::At(address(host, PUBLIC_SSH_PORT, has_model.then_some(MODEL_PORT))),
            None => Arrival::Soon("its load balancer has no address yet".to_owned()),
        },
    }
}

/// What time it is, and how long a pod may wait for a node before there is no room for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    pub(crate) now: Timestamp,
    pub(crate) most: Duration,
}

fn unscheduled(status: &PodStatus, waited: &Waited) -> Arrival {
    let unschedulable = |condition: &&PodCondition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    };
    let Some(condition) = status.conditions.iter().flatten().find(unschedulable) else {
        return Arrival::Soon("no node has taken it yet".to_owned());
    };
    let said = condition.message.clone().unwrap_or_else(|| "no node has room".to_owned());
    let since = condition.last_transition_time.as_ref().map_or(waited.now, timestamp);
    if waited.now.since(since) >= waited.most { Arrival::NoRoom(said) } else { Arrival::Soon(said) }
}

/// What the node says of an image whose name can never be pulled. Other failures to pull may pass, and the launch's own time limit is
/// for those that do not.
fn impossible(status: &PodStatus) -> Option<String> {
    let waiting = |container: &ContainerStatus| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| *reason == "InvalidImageName")?;
        Some(format!("{reason}: {}", waiting.message.as_deref().unwrap_or(&container.image)))
    };
    status.container_statuses.iter().flatten().find_map(waiting)
}

fn port_named<'a>(service: &'a Service, name: &str) -> Option<&'a ServicePort> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    ports.iter().find(|port| port.name.as_deref() == Some(name))
}

fn node_port(service: &Service, name: &str) -> Option<u16> {
    port_named(service, name)?.node_port.and_then(|port| u16::try_from(port).ok())
}

fn balancer(service: &Service) -> Option<String> {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    let first = balancer.ingress.as_ref()?.first()?;
    first.hostname.clone().or_else(|| first.ip.clone())
}

/// When the server made it.
pub(crate) fn made_at(thing: &impl kube::Resource) -> Option<Timestamp> {
    thing.creation_timestamp().as_ref().map(timestamp)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const FINISHED: &str = "2026-01-20T18:30:00Z";

    #[test]
    fn what_a_pod_and_a_tombstone_say() {
        let gone = |at: Option<&str>| Sighting::Gone { stopped_at: at.and_then(Timestamp::parse) };
        let status = |phase: &str| json!({"phase": phase});
        let (node, deleted) = (json!({"nodeName": "node-7"}), json!({"deletionTimestamp": FINISHED}));
        let ended = |at: &str| {
            let state = json!({"terminated": {"exitCode": 0, "finishedAt": at}});
            json!({"name": "", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state})
        };
        let told = json!({"phase": "Failed", "containerStatuses": [ended("2026-01-20T18:29:00Z"), ended(FINISHED)]});
        let pod = |metadata: &Value, spec: &Value, status: Value| {
            let spec = if spec.is_null() {
                json!({"containers": []})
            } else {
                json!({"containers": [], "nodeName": "node-7"})
            };
            Some(json!({"metadata": metadata, "spec": spec, "status": status}))
        };
        let (none, plain) = (Value::Null, json!({}));
        let cases: [(&str, Option<Value>, Sighting, Sighting); 8] = [
            ("absent", None, Sighting::Running, gone(Some("2026-01-20T18:00:00Z"))),
            ("waits for a node", pod(&plain, &none, status("Pending")), Sighting::Running, Sighting::Running),
            ("runs", pod(&plain, &node, status("Running")), Sighting::Running, Sighting::Running),
            (
                "is being ended, or its node is lost",
                pod(&deleted, &node, status("Running")),
                Sighting::Running,
                Sighting::Running,
            ),
            ("was deleted before a node had it", pod(&deleted, &none, status("Pending")), gone(None), gone(None)),
            ("finished", pod(&plain, &node, told.clone()), gone(Some(FINISHED)), gone(Some(FINISHED))),
            ("finished after it was told to", pod(&deleted, &node, told), gone(Some(FINISHED)), gone(Some(FINISHED))),
            ("was given up with its node", pod(&deleted, &node, status("Failed")), gone(None), gone(None)),
        ];
        let tombstone: ConfigMap =
            serde_json::from_value(json!({"data": {STOPPED_AT: "2026-01-20T18:00:00Z"}})).unwrap();
        for (what, pod, without, with) in cases {
            let pod: Option<Pod> = pod.map(|pod| serde_json::from_value(pod).unwrap());
            assert_eq!(sighting(None, pod.as_ref()), without, "{what}, without a tombstone");
            assert_eq!(sighting(Some(&tombstone), pod.as_ref()), with, "{what}, with a tombstone");
        }
    }
}
