//! The scheduler and the node, as far as a test asks for them.

use std::time::Duration;

use domain::Timestamp;
use serde_json::{Value, json};

use super::{State, store::Key};

/// What becomes of pods that wait for a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scheduler {
    /// They are given to one at every chance.
    #[default]
    Eager,
    /// They too, and a pod that is not to be scheduled yet is not noted as such.
    Quiet,
    /// No node has room.
    NoRoom,
    /// Nothing happens.
    Asleep,
}

#[derive(Default)]
pub(crate) struct Nodes {
    pub(crate) scheduler: Scheduler,
    /// How often a pod was given to a node.
    pub(crate) bound: usize,
}

impl State {
    /// What the cluster does by itself after every change.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        self.store.collect();
        for key in self.store.keys("pods") {
            let pod = self.store.get(&key).cloned().unwrap_or_default();
            let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
            let waits = pod["spec"]["nodeName"].is_null() && pod["metadata"]["deletionTimestamp"].is_null();
            match self.nodes.scheduler {
                Scheduler::Eager | Scheduler::Quiet if waits && !gated && self.has_its_volumes(&pod) => {
                    self.bind(&key, now);
                }
                // The real one notes it too, and so changes the version of a pod that nobody touched.
                Scheduler::Eager | Scheduler::NoRoom if waits && pod["status"]["conditions"].is_null() => {
                    let reason = if gated { "SchedulingGated" } else { "Unschedulable" };
                    self.note(&key, reason, now);
                }
                Scheduler::NoRoom
                    if waits && !gated && pod["status"]["conditions"][0]["reason"] == "SchedulingGated" =>
                {
                    self.note(&key, "Unschedulable", now);
                }
                Scheduler::Eager | Scheduler::Quiet | Scheduler::NoRoom | Scheduler::Asleep => {}
            }
        }
    }

    /// Whether each of a pod's claims is there and has the volume that it names, which is meant for it.
    fn has_its_volumes(&self, pod: &Value) -> bool {
        let space = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let bound = |claimed: &Value| {
            let claim = ("persistentvolumeclaims", space.to_owned(), claimed.as_str()?.to_owned());
            let named = self.store.get(&claim).ok()?["spec"]["volumeName"].as_str()?;
            let volume = self.store.get(&("persistentvolumes", String::new(), named.to_owned())).ok()?;
            let meant = &volume["spec"]["claimRef"];
            (meant["name"] == *claimed && meant["namespace"] == space).then_some(())
        };
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let claims = volumes.map(|volume| &volume["persistentVolumeClaim"]["claimName"]);
        claims.filter(|name| !name.is_null()).all(|name| bound(name).is_some())
    }

    fn note(&mut self, key: &Key, reason: &str, now: Timestamp) {
        let message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.";
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message, "lastTransitionTime": now,
        });
        self.store.patch(key, &json!({"status": {"conditions": [condition]}})).unwrap();
    }

    fn bind(&mut self, key: &Key, now: Timestamp) {
        self.nodes.bound += 1;
        let condition = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now});
        let status = json!({"phase": "Running", "hostIP": "10.0.7.7", "startTime": now, "conditions": [condition]});
        self.store.patch(key, &json!({"spec": {"nodeName": "node-7"}, "status": status})).unwrap();
    }

    /// The node says that a pod's containers have finished, the last of them at `at`.
    pub(crate) fn finish(&mut self, name: &str, phase: &str, at: Timestamp) {
        let keys = self.store.keys("pods");
        let Some(key) = keys.iter().find(|key| key.2 == name) else { return };
        let container = |name: &str, at: Timestamp| {
            let ended = json!({"exitCode": 0, "finishedAt": at, "startedAt": at});
            json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": ended}})
        };
        let statuses = [container("job", at.minus(Duration::from_secs(3))), container("agent", at)];
        self.store.patch(key, &json!({"status": {"phase": phase, "containerStatuses": statuses}})).unwrap();
        self.remove_deleted(key, at);
    }

    /// The node has ended a pod that was deleted: it deletes it for good.
    fn remove_deleted(&mut self, key: &Key, at: Timestamp) {
        let deleted = self.store.get(key).is_ok_and(|pod: &Value| pod["metadata"]["deletionTimestamp"].is_string());
        if deleted {
            self.store.delete(key, &json!({"gracePeriodSeconds": 0}), at).unwrap();
        }
    }

    /// Every node ends the pods that were deleted.
    pub(crate) fn stop_deleted(&mut self, at: Timestamp) {
        for key in self.store.keys("pods") {
            let pod = self.store.get(&key).cloned().unwrap_or_default();
            if pod["spec"]["nodeName"].is_string() && pod["metadata"]["deletionTimestamp"].is_string() {
                self.finish(&key.2, "Failed", at);
            }
        }
    }
}
