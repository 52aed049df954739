//! Disks of pods: volumes of EBS that Kubernetes' own driver fixes to the nodes.
//!
//! A pod that was ordered with a disk names a claim that is not there yet, and no node takes it before it is. Fixing the volume makes both
//! halves: a persistent volume that names the volume and its zone and is meant for that one claim, and the claim, owned by the pod. What Kubernetes does
//! then is what takes the volume from the node, too, when the pod is over: nobody else may, or it would be torn from a file system that is
//! still mounted. The claim goes with its pod, and the sweep of the fleet removes the persistent volume, which nobody can own, after it. What it
//! stands for stays (`Retain`): volumes and snapshots are EBS's, and everything but the fixing is asked there.

use std::sync::Arc;

use async_trait::async_trait;
use cloud::{Attacher, Attachment, Attempt, PortError, VolumeError, VolumeOrder};
use domain::{VolumeId, agent::Device};
use k8s_openapi::{
    api::core::v1::{
        CSIPersistentVolumeSource, ConfigMap, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
        PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec, Pod,
        VolumeNodeAffinity, VolumeResourceRequirements,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use kube::{Api, Client, api::PostParams};

use crate::{
    errors,
    names::{Names, owner},
    pod::DISK,
    settings::Settings,
    sight,
};

/// Kubernetes' driver for EBS.
const DRIVER: &str = "ebs.csi.aws.com";
/// The file system that the driver makes on a volume that has none. The agents of machines make the same.
const FILE_SYSTEM: &str = "ext4";
/// The label of nodes with their zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// What is said of a volume's size. A claim and its volume are meant for each other, so that nothing is chosen by it.
const NOMINAL: &str = "1Gi";

/// Brings disks to pods: `storage` makes their volumes, in the cluster's zone.
pub struct EksAttacher {
    settings: Settings,
    zone: String,
    storage: Arc<dyn Attacher>,
    pods: Api<Pod>,
    tombstones: Api<ConfigMap>,
    claims: Api<PersistentVolumeClaim>,
    volumes: Api<PersistentVolume>,
}

/// The persistent volume of an attempt's disk, meant for that attempt's claim alone.
fn volume(names: &Names, namespace: &str, zone: &str, volume: &VolumeId) -> PersistentVolume {
    let here = NodeSelectorRequirement {
        key: ZONE.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![zone.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![here]), ..NodeSelectorTerm::default() };
    let spec = PersistentVolumeSpec {
        capacity: Some([("storage".to_owned(), Quantity(NOMINAL.to_owned()))].into()),
        access_modes: Some(vec!["ReadWriteOncePod".to_owned()]),
        volume_mode: Some("Filesystem".to_owned()),
        persistent_volume_reclaim_policy: Some("Retain".to_owned()),
        storage_class_name: Some(String::new()),
        csi: Some(CSIPersistentVolumeSource {
            driver: DRIVER.to_owned(),
            volume_handle: volume.as_str().to_owned(),
            fs_type: Some(FILE_SYSTEM.to_owned()),
            ..CSIPersistentVolumeSource::default()
        }),
        claim_ref: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(names.pod.clone()),
            ..ObjectReference::default()
        }),
        node_affinity: Some(VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![term] }) }),
        ..PersistentVolumeSpec::default()
    };
    let metadata =
        ObjectMeta { name: Some(names.pod.clone()), labels: Some(names.labels.clone()), ..ObjectMeta::default() };
    PersistentVolume { metadata, spec: Some(spec), ..PersistentVolume::default() }
}

/// The claim of an attempt's pod.
fn claim(names: &Names, pod: &Pod) -> PersistentVolumeClaim {
    let requests = [("storage".to_owned(), Quantity(NOMINAL.to_owned()))];
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOncePod".to_owned()]),
        volume_mode: Some("Filesystem".to_owned()),
        storage_class_name: Some(String::new()),
        volume_name: Some(names.pod.clone()),
        resources: Some(VolumeResourceRequirements { requests: Some(requests.into()), limits: None }),
        ..PersistentVolumeClaimSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(names.pod.clone()),
        labels: Some(names.labels.clone()),
        owner_references: Some(vec![owner(pod)]),
        ..ObjectMeta::default()
    };
    PersistentVolumeClaim { metadata, spec: Some(spec), ..PersistentVolumeClaim::default() }
}

fn handle(volume: &PersistentVolume) -> Option<&str> {
    Some(volume.spec.as_ref()?.csi.as_ref()?.volume_handle.as_str())
}

fn gone() -> VolumeError {
    VolumeError::Refused("what it was running on has ended".to_owned())
}

fn taken() -> VolumeError {
    VolumeError::Refused("something else has the name of its volume".to_owned())
}

impl EksAttacher {
    /// The disks of the fleet with these settings, whose nodes that can have disks are in `zone`. Nothing is asked yet.
    #[must_use]
    pub fn new(client: &Client, settings: Settings, zone: &str, storage: Arc<dyn Attacher>) -> Self {
        let namespace = &settings.namespace;
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            tombstones: Api::namespaced(client.clone(), namespace),
            claims: Api::namespaced(client.clone(), namespace),
            volumes: Api::all(client.clone()),
            zone: zone.to_owned(),
            settings,
            storage,
        }
    }

    /// The pod of an attempt; `None` when it is not made yet. The tombstone is read first: see the crate's documentation.
    async fn pod(&self, names: &Names) -> Result<Option<Pod>, VolumeError> {
        let buried = self.tombstones.get_opt(&names.tombstone).await.map_err(errors::port)?.is_some();
        let pod = self.pods.get_opt(&names.pod).await.map_err(errors::port)?;
        match pod {
            _ if buried => Err(gone()),
            Some(pod) if !names.made(&pod) => Err(taken()),
            Some(pod) if sight::is_deleted(&pod) || sight::has_finished(&pod) => Err(gone()),
            pod => Ok(pod),
        }
    }

    async fn offer(&self, names: &Names, id: &VolumeId) -> Result<(), VolumeError> {
        let wanted = volume(names, &self.settings.namespace, &self.zone, id);
        match self.volumes.create(&PostParams::default(), &wanted).await {
            Ok(_made) => Ok(()),
            Err(error) if errors::exists(&error) => {
                let known = self.volumes.get_opt(&names.pod).await.map_err(errors::port)?;
                let known = known.ok_or_else(|| PortError::Unavailable("its volume has just gone".to_owned()))?;
                if names.made(&known) && handle(&known) == Some(id.as_str()) { Ok(()) } else { Err(taken()) }
            }
            Err(error) => Err(errors::volume(error)),
        }
    }

    async fn claim(&self, names: &Names, pod: &Pod) -> Result<(), VolumeError> {
        match self.claims.create(&PostParams::default(), &claim(names, pod)).await {
            Ok(_made) => Ok(()),
            Err(error) if errors::exists(&error) => Ok(()),
            Err(error) => Err(errors::volume(error)),
        }
    }
}

#[async_trait]
impl Attacher for EksAttacher {
    async fn create(&self, order: &VolumeOrder) -> Result<Option<VolumeId>, VolumeError> {
        self.storage.create(order).await
    }

    /// Offers the volume to the pod. When a node takes the pod, its volume is mounted before anything of it starts.
    async fn attach(&self, volume: &VolumeId, attempt: &Attempt) -> Result<Attachment, VolumeError> {
        let names = Names::new(&self.settings.deployment, attempt.clone());
        let Some(pod) = self.pod(&names).await? else { return Ok(Attachment::Coming) };
        self.offer(&names, volume).await?;
        self.claim(&names, &pod).await?;
        Ok(Attachment::There(Device::Folder(DISK.to_owned())))
    }
}
