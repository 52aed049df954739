//! The fleet itself: requests in the order that the crate's documentation argues for.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cloud::{Attempt, Clock, Fleet, FleetError, Order, PortError, Provisioned, Sighting, Tagged};
use domain::InstanceId;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PostParams, Preconditions},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    errors,
    names::{DEPLOYMENT, ENDED, FINALIZER, Names, ORDER, STOPPED_AT, fingerprint, tagged},
    owned, pod,
    settings::Settings,
    sight::{self, Arrival, Waited},
};

/// How often an order whose pod was changed by somebody else meanwhile (the scheduler notes that it is gated) is tried again.
const TRIES: u32 = 8;
/// How often a pod without an address is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How much is listed at once.
const PAGE: u32 = 500;

/// The fleet over EKS.
pub struct EksFleet {
    settings: Settings,
    clock: Arc<dyn Clock>,
    pods: Api<Pod>,
    services: Api<Service>,
    secrets: Api<Secret>,
    tombstones: Api<ConfigMap>,
    claims: Api<PersistentVolumeClaim>,
    volumes: Api<PersistentVolume>,
}

impl EksFleet {
    /// A fleet in the cluster that `client` talks to; see [`crate::connect`].
    #[must_use]
    pub fn new(client: &Client, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let namespace = &settings.namespace;
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            services: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            tombstones: Api::namespaced(client.clone(), namespace),
            claims: Api::namespaced(client.clone(), namespace),
            volumes: Api::all(client.clone()),
            settings,
            clock,
        }
    }

    fn names(&self, attempt: &Attempt) -> Names {
        Names::new(&self.settings.deployment, attempt.clone())
    }

    /// O1: the pod of an order, made now or before.
    async fn ordered(&self, names: &Names, order: &Order) -> Result<Pod, FleetError> {
        let wanted = pod::pod(&self.settings, names, order);
        match self.pods.create(&PostParams::default(), &wanted).await {
            Ok(made) => Ok(made),
            Err(error) if errors::exists(&error) => {
                let known = self.pod(names).await?.ok_or_else(|| unavailable("its pod has just gone"))?;
                if known.annotations().get(ORDER) == Some(&fingerprint(order)) {
                    Ok(known)
                } else {
                    Err(FleetError::Refused("repeated with other parameters".to_owned()))
                }
            }
            Err(error) => Err(errors::fleet(error)),
        }
    }

    /// The pod of this name, which must be ours.
    async fn pod(&self, names: &Names) -> Result<Option<Pod>, PortError> {
        let found = self.pods.get_opt(&names.pod).await.map_err(errors::port)?;
        match found {
            Some(pod) if !names.made(&pod) => Err(unavailable("something else has the name of its pod")),
            other => Ok(other),
        }
    }

    /// O2 to O4, again as long as somebody else changes the pod between the reading and the lifting.
    async fn begun(&self, names: &Names, order: &Order, mut pod: Pod) -> Result<(), FleetError> {
        for _attempt in 0..TRIES {
            if self.tombstones.get_opt(&names.tombstone).await.map_err(errors::port)?.is_some() {
                self.wind_up(names, pod).await?;
                return Err(ended());
            }
            if sight::is_deleted(&pod) {
                return Err(ended());
            }
            if sight::has_finished(&pod) {
                return Err(FleetError::Refused("what it was running on has ended".to_owned()));
            }
            if !sight::is_gated(&pod) {
                return Ok(());
            }
            self.equip(names, order, &pod).await?;
            let lifted = json!({
                "metadata": {"uid": pod.uid(), "resourceVersion": pod.resource_version()},
                "spec": {"schedulingGates": null},
            });
            match self.pods.patch(&names.pod, &patch_params(), &Patch::Merge(lifted)).await {
                Ok(_lifted) => return Ok(()),
                Err(error) if errors::conflicts(&error) || errors::is_missing(&error) => {}
                Err(error) => return Err(errors::fleet(error)),
            }
            pod = self.pod(names).await?.ok_or_else(ended)?;
        }
        Err(unavailable("its pod changes all the time").into())
    }

    /// O3: what the pod needs, before any node may have it.
    async fn equip(&self, names: &Names, order: &Order, pod: &Pod) -> Result<(), FleetError> {
        let unwritable = |error: serde_json::Error| FleetError::Refused(error.to_string());
        let secret = owned::secret(&self.settings, names, order, pod).map_err(unwritable)?;
        let made = self.secrets.create(&PostParams::default(), &secret).await;
        made.map(drop).or_else(|error| known(error).map_err(errors::fleet))?;
        let service = owned::service(&self.settings, names, order, pod);
        let made = self.services.create(&PostParams::default(), &service).await;
        made.map(drop).or_else(|error| known(error).map_err(errors::fleet))
    }

    /// Waits for a node and an address, for a while. No room yet, and no address yet, are both a reason to come again later: that is
    /// what [`FleetError::Capacity`] tells a launch.
    async fn reached(&self, names: &Names) -> Result<Provisioned, FleetError> {
        let until = self.clock.now().plus(self.settings.patience);
        loop {
            let pod = self.pod(names).await?.ok_or_else(ended)?;
            let service = self.services.get_opt(&names.pod).await.map_err(errors::port)?;
            let waited = Waited { now: self.clock.now(), most: self.settings.unschedulable_after };
            match sight::arrival(&pod, service.as_ref(), self.settings.way_in, &waited) {
                Arrival::At(address) => return Ok(Provisioned { instance: InstanceId::new(&names.pod), address }),
                Arrival::Never(why) => return Err(FleetError::Refused(why)),
                Arrival::NoRoom(why) => return Err(FleetError::Capacity(why)),
                Arrival::Soon(why) if waited.now >= until => return Err(FleetError::Capacity(why)),
                Arrival::Soon(_) => self.clock.sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// E1: from now on no order of this attempt begins anything.
    async fn bury(&self, names: &Names) -> Result<(), PortError> {
        let made = self.tombstones.create(&PostParams::default(), &owned::tombstone(names)).await;
        made.map(drop).or_else(|error| known(error).map_err(errors::port))
    }

    /// E3: tells a pod to end, and lets it go once nothing of it can run any more and its end is written down. There must be a tombstone.
    async fn wind_up(&self, names: &Names, mut pod: Pod) -> Result<(), PortError> {
        let uid = pod.uid();
        if !sight::is_deleted(&pod) {
            match self.pods.delete(&names.pod, &exactly(uid.clone())).await {
                Ok(answer) => match answer.left() {
                    Some(deleted) => pod = deleted,
                    None => return Ok(()),
                },
                Err(error) if errors::is_missing(&error) => return Ok(()),
                Err(error) => return Err(errors::port(error)),
            }
        }
        if !sight::is_over(&pod) {
            return Ok(());
        }
        if let Some(stopped_at) = sight::finished_at(&pod) {
            let kept = json!({"data": {STOPPED_AT: stopped_at}});
            self.tombstones
                .patch(&names.tombstone, &patch_params(), &Patch::Merge(kept))
                .await
                .map_err(errors::port)?;
        }
        let others: Vec<&String> = pod.finalizers().iter().filter(|name| *name != FINALIZER).collect();
        let freed = json!({"metadata": {"uid": uid, "finalizers": others}});
        match self.pods.patch(&names.pod, &patch_params(), &Patch::Merge(freed)).await {
            Err(error) if !errors::is_missing(&error) => Err(errors::port(error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// All of a kind that carry the label of this deployment.
    async fn all<K>(&self, api: &Api<K>, selector: &str) -> Result<Vec<K>, PortError>
    where
        K: Clone + DeserializeOwned + fmt::Debug,
    {
        let mut params = ListParams::default().labels(selector).limit(PAGE);
        let mut found = Vec::new();
        loop {
            let page = api.list(&params).await.map_err(errors::port)?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => return Ok(found),
            }
        }
    }

    /// The persistent volumes of pods. That they cannot be listed keeps nothing else from being swept.
    async fn offered(&self, selector: &str) -> Vec<PersistentVolume> {
        if !self.settings.disks {
            return Vec::new();
        }
        let found = self.all(&self.volumes, selector).await;
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "fleet.volumes_not_listed");
            Vec::new()
        })
    }

    /// Removes the persistent volumes whose pods are gone. Kubernetes lets them go when nothing uses them any more; the disks stay.
    async fn withdraw(&self, volumes: &[PersistentVolume], pods: &[Pod]) {
        let there: BTreeSet<String> = pods.iter().map(|pod| pod.name_any()).collect();
        let lost = |volume: &&PersistentVolume| !there.contains(&volume.name_any());
        for volume in volumes.iter().filter(|one| one.metadata.deletion_timestamp.is_none()).filter(lost) {
            let removed = self.volumes.delete(&volume.name_any(), &exactly(volume.uid())).await;
            log(&volume.name_any(), removed.map(drop).map_err(errors::port));
        }
    }

    /// Lets go what is over: pods that were told to end and have, pods that ended long ago and that nobody asked about, and old tombstones.
    /// What fails here is tried at the next sweep.
    async fn clean(&self, tombstones: &[ConfigMap], pods: &[Pod]) {
        let now = self.clock.now();
        let old = |at: Option<domain::Timestamp>| at.is_some_and(|at| now.since(at) >= self.settings.remembered);
        let buried: BTreeSet<String> = tombstones.iter().map(|one| one.name_any()).collect();
        for pod in pods {
            let Some(Tagged { attempt, .. }) = tagged(pod) else { continue };
            let names = self.names(&attempt);
            let cleaned = if buried.contains(&names.tombstone) {
                self.wind_up(&names, pod.clone()).await
            } else if sight::is_over(pod) && old(sight::finished_at(pod).or_else(|| sight::made_at(pod))) {
                self.terminate(&attempt).await
            } else {
                Ok(())
            };
            log(&names.pod, cleaned);
        }
        let there: BTreeSet<String> = pods.iter().map(|pod| format!("{}-tomb", pod.name_any())).collect();
        for tombstone in tombstones.iter().filter(|one| old(sight::made_at(*one)) && !there.contains(&one.name_any())) {
            let removed = self.tombstones.delete(&tombstone.name_any(), &exactly(tombstone.uid())).await;
            log(&tombstone.name_any(), removed.map(drop).map_err(errors::port));
        }
    }
}

fn log(name: &str, cleaned: Result<(), PortError>) {
    if let Err(error) = cleaned {
        tracing::warn!(name, %error, "fleet.not_cleaned");
    }
}

/// The deletion of this very object, and of none that came after it under its name.
fn exactly(uid: Option<String>) -> DeleteParams {
    let preconditions = Preconditions { uid, resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

fn patch_params() -> kube::api::PatchParams {
    kube::api::PatchParams::default()
}

fn ended() -> FleetError {
    FleetError::Refused("this attempt was ended".to_owned())
}

fn unavailable(why: &str) -> PortError {
    PortError::Unavailable(why.to_owned())
}

/// That something is there already is what was wanted.
fn known(error: kube::Error) -> Result<(), kube::Error> {
    if errors::exists(&error) { Ok(()) } else { Err(error) }
}

#[async_trait]
impl Fleet for EksFleet {
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError> {
        if order.disk.is_some() && !self.settings.disks {
            return Err(FleetError::Refused("jobs in this cluster have no disks".to_owned()));
        }
        let names = Names::of(&self.settings.deployment, order);
        let pod = self.ordered(&names, order).await?;
        self.begun(&names, order, pod).await?;
        if order.disk.is_some() && self.claims.get_opt(&names.pod).await.map_err(errors::port)?.is_none() {
            return Err(FleetError::Capacity("no node takes it before its disk is there".to_owned()));
        }
        self.reached(&names).await
    }

    async fn describe(&self, attempt: &Attempt) -> Result<Sighting, PortError> {
        let names = self.names(attempt);
        let tombstone = self.tombstones.get_opt(&names.tombstone).await.map_err(errors::port)?;
        let pod = self.pod(&names).await?;
        Ok(sight::sighting(tombstone.as_ref(), pod.as_ref()))
    }

    async fn terminate(&self, attempt: &Attempt) -> Result<(), PortError> {
        let names = self.names(attempt);
        self.bury(&names).await?;
        match self.pod(&names).await? {
            Some(pod) => self.wind_up(&names, pod).await,
            None => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        let ours = format!("{DEPLOYMENT}={}", self.settings.deployment);
        let tombstones = self.all(&self.tombstones, &format!("{ours},{ENDED}")).await?;
        // A volume is offered when its pod is there: one that is listed before the pods, and has none among them, has lost it.
        let volumes = self.offered(&ours).await;
        let pods = self.all(&self.pods, &ours).await?;
        self.withdraw(&volumes, &pods).await;
        self.clean(&tombstones, &pods).await;
        let live = pods.iter().filter(|pod| !sight::is_over(pod));
        let read = live.filter_map(|pod| {
            let tags = tagged(pod);
            if tags.is_none() {
                tracing::warn!(pod = pod.name_any(), "fleet.unreadable_tags");
            }
            tags
        });
        Ok(read.collect())
    }
}
