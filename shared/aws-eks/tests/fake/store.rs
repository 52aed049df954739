//! The objects, and the rules for changing them.

use std::collections::{BTreeMap, BTreeSet};

use domain::Timestamp;
use serde_json::{Value, json};

use super::merge::merge;

pub(crate) struct Resource {
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) short: &'static str,
    /// It belongs to the cluster, and to no namespace.
    pub(crate) shared: bool,
}

const fn resource(plural: &'static str, kind: &'static str, short: &'static str) -> Resource {
    Resource { plural, kind, short, shared: false }
}

pub(crate) const RESOURCES: [Resource; 7] = [
    resource("configmaps", "ConfigMap", "cm"),
    resource("events", "Event", "ev"),
    resource("persistentvolumeclaims", "PersistentVolumeClaim", "pvc"),
    Resource { shared: true, ..resource("persistentvolumes", "PersistentVolume", "pv") },
    resource("pods", "Pod", "po"),
    resource("secrets", "Secret", "sec"),
    resource("services", "Service", "svc"),
];

/// A kind, a namespace (empty for what belongs to none) and a name.
pub(crate) type Key = (&'static str, String, String);

/// A refusal, as a `Status` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

pub(crate) fn refusal(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { code, reason, message: message.into() }
}

impl Refusal {
    pub(crate) fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }
}

/// One change, for those who watch.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) plural: &'static str,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

#[derive(Default)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Value>,
    log: Vec<Change>,
    version: u64,
    compacted: u64,
    made: u64,
    /// The most GPUs that pods may ask for together.
    pub(crate) quota: Option<u64>,
}

impl Store {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn all(&self, plural: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |((kind, _, _), _)| *kind == plural).map(|(_, object)| object)
    }

    pub(crate) fn keys(&self, plural: &str) -> Vec<Key> {
        self.objects.keys().filter(|(kind, _, _)| *kind == plural).cloned().collect()
    }

    /// Changes after this version; `None` when they are not known any more.
    pub(crate) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        (version >= self.compacted).then(|| self.log.iter().filter(move |change| change.version > version))
    }

    /// Forgets all changes until now.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.version;
        self.log.clear();
    }

    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(crate) fn get(&self, key: &Key) -> Result<&Value, Refusal> {
        let missing = || refusal(404, "NotFound", format!("{} \"{}\" not found", key.0, key.2));
        self.objects.get(key).ok_or_else(missing)
    }

    pub(crate) fn create(
        &mut self,
        resource: &Resource,
        space: &str,
        mut object: Value,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() || !object.is_object() {
            return Err(refusal(
                422,
                "Invalid",
                format!("{} is invalid: metadata.name: Required value", resource.kind),
            ));
        }
        if object["metadata"]["namespace"].as_str().is_some_and(|given| given != space) {
            return Err(refusal(
                400,
                "BadRequest",
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let key = (resource.plural, space.to_owned(), name.clone());
        if self.objects.contains_key(&key) {
            return Err(refusal(409, "AlreadyExists", format!("{} \"{name}\" already exists", resource.plural)));
        }
        self.admit(resource, &name, &object)?;
        self.made += 1;
        let made = self.made;
        merge(
            &mut object,
            &json!({
                "apiVersion": "v1", "kind": resource.kind,
                "metadata": {
                    "namespace": Some(space).filter(|space| !space.is_empty()), "uid": format!("00000000-0000-0000-0000-{made:012}"),
                    "creationTimestamp": now, "deletionTimestamp": null,
                },
            }),
        );
        match resource.plural {
            "pods" => merge(&mut object, &json!({"status": null})),
            "services" => self.ports(&mut object),
            _ => {}
        }
        if resource.plural == "pods" {
            merge(&mut object, &json!({"status": {"phase": "Pending"}}));
        }
        Ok(self.put(&key, Some(object)).unwrap_or_default())
    }

    fn ports(&self, service: &mut Value) {
        let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
        for port in service["spec"]["ports"].as_array_mut().into_iter().flatten().filter(|_| kind == "NodePort") {
            port["nodePort"] = json!(30_000 + self.made);
        }
        service["status"] = json!({"loadBalancer": {}});
    }

    fn admit(&self, resource: &Resource, name: &str, object: &Value) -> Result<(), Refusal> {
        let (Some(limit), "pods") = (self.quota, resource.plural) else { return Ok(()) };
        let live =
            self.all("pods").filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")));
        let (used, asked) = (live.map(gpus).sum::<u64>(), gpus(object));
        if used + asked <= limit {
            return Ok(());
        }
        let what = "requests.nvidia.com/gpu";
        Err(refusal(
            403,
            "Forbidden",
            format!(
                "pods \"{name}\" is forbidden: exceeded quota: gpus, requested: {what}={asked}, used: {what}={used}, limited: {what}={limit}"
            ),
        ))
    }

    /// Writes an object over another, as a PUT or a patch does.
    pub(crate) fn update(&mut self, key: &Key, mut object: Value) -> Result<Value, Refusal> {
        let held = self.get(key)?.clone();
        let same = |field: &str| {
            let given = object["metadata"][field].as_str().unwrap_or_default();
            given.is_empty() || given == held["metadata"][field].as_str().unwrap_or_default()
        };
        if !same("uid") || !same("resourceVersion") {
            let message =
                format!("Operation cannot be fulfilled on {} \"{}\": the object has been modified", key.0, key.2);
            return Err(refusal(409, "Conflict", message));
        }
        if key.0 == "pods" && immutable(&held) != immutable(&object) {
            return Err(refusal(
                422,
                "Invalid",
                format!("Pod \"{}\" is invalid: spec: Forbidden: pod updates may not change fields", key.2),
            ));
        }
        if gates(&object).iter().any(|gate| !gates(&held).contains(gate)) {
            return Err(refusal(422, "Invalid", "spec.schedulingGates: Forbidden: only deletion is allowed"));
        }
        for field in
            ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace", "name"]
        {
            object["metadata"][field] = held["metadata"][field].clone();
        }
        without_nulls(&mut object);
        without_nulls(&mut object["metadata"]);
        Ok(self.put_unless_free(key, object))
    }

    pub(crate) fn patch(&mut self, key: &Key, patch: &Value) -> Result<Value, Refusal> {
        let mut object = self.get(key)?.clone();
        merge(&mut object, patch);
        self.update(key, object)
    }

    /// Deletes, as far as it may be: pods get the time that they asked for, and finalizers keep what they are on.
    pub(crate) fn delete(&mut self, key: &Key, options: &Value, now: Timestamp) -> Result<Value, Refusal> {
        let mut object = self.get(key)?.clone();
        for field in ["uid", "resourceVersion"] {
            let wanted = options["preconditions"][field].as_str();
            let found = object["metadata"][field].as_str();
            if wanted.is_some() && wanted != found {
                return Err(refusal(
                    409,
                    "Conflict",
                    format!("Precondition failed: {field} in precondition: {wanted:?}, in object meta: {found:?}"),
                ));
            }
        }
        let bound = object["spec"]["nodeName"].is_string();
        let over = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let grace = match options["gracePeriodSeconds"].as_u64() {
            _ if key.0 != "pods" || !bound || over => 0,
            Some(asked) => asked,
            None => object["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30),
        };
        let before = object["metadata"]["deletionGracePeriodSeconds"].as_u64();
        if before.is_none_or(|before| grace < before) {
            object["metadata"]["deletionTimestamp"] = json!(now.plus(std::time::Duration::from_secs(grace)));
            object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            return Ok(self.put_unless_free(key, object));
        }
        Ok(object)
    }

    /// Writes an object, or removes it when it was only kept by what has been taken away.
    fn put_unless_free(&mut self, key: &Key, object: Value) -> Value {
        let kept = object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let due = object["metadata"]["deletionGracePeriodSeconds"].as_u64() == Some(0);
        if due && !kept {
            self.put(key, None);
            return object;
        }
        self.put(key, Some(object)).unwrap_or_default()
    }

    fn put(&mut self, key: &Key, mut after: Option<Value>) -> Option<Value> {
        self.version += 1;
        if let Some(object) = &mut after {
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        let before = match &after {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(key),
        };
        self.log.push(Change { version: self.version, plural: key.0, before, after: after.clone() });
        after
    }

    /// Collects what is owned by nobody that is there.
    pub(crate) fn collect(&mut self) {
        let there: BTreeSet<String> =
            self.objects.values().filter_map(|object| object["metadata"]["uid"].as_str().map(str::to_owned)).collect();
        let lost = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            !owners.is_empty()
                && !owners.iter().any(|owner| owner["uid"].as_str().is_some_and(|uid| there.contains(uid)))
        };
        let keys: Vec<Key> =
            self.objects.iter().filter(|(_, object)| lost(object)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.put(&key, None);
        }
    }
}

fn without_nulls(object: &mut Value) {
    if let Value::Object(map) = object {
        map.retain(|_, value| !value.is_null());
    }
}

fn gpus(pod: &Value) -> u64 {
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let amount = |container: &Value| container["resources"]["limits"]["nvidia.com/gpu"].as_str()?.parse::<u64>().ok();
    containers.iter().filter_map(amount).sum::<u64>()
}

fn gates(pod: &Value) -> Vec<Value> {
    pod["spec"]["schedulingGates"].as_array().cloned().unwrap_or_default()
}

/// What of a pod's specification never changes, except that the scheduler names a node once.
fn immutable(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    merge(
        &mut spec,
        &json!({"schedulingGates": null, "activeDeadlineSeconds": null, "tolerations": null, "nodeName": null}),
    );
    spec
}
