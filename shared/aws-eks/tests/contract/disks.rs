//! Disks of pods: what is offered to Kubernetes, and when it is taken back.

use std::collections::BTreeSet;

use aws_eks::EksAttacher;
use cloud::{Absent, Attacher, Attachment, Attempt, DiskRef, Fleet as _, FleetError, VolumeError, VolumeOrder};
use domain::{DiskId, UserName, VolumeId, agent::Device, names::DiskName};
use serde_json::Value;

use super::{
    pods::{RULES, plain},
    *,
};
use crate::fake::Fault;

/// EBS, as far as it matters here: it makes one volume, and answers nothing else.
struct Ebs;

#[async_trait]
impl Attacher for Ebs {
    async fn create(&self, order: &VolumeOrder) -> Result<Option<VolumeId>, VolumeError> {
        Ok(Some(VolumeId::new(format!("vol-{}", order.uses))))
    }

    async fn attach(&self, volume: &VolumeId, attempt: &Attempt) -> Result<Attachment, VolumeError> {
        Absent.attach(volume, attempt).await
    }
}

fn disk() -> DiskId {
    DiskId::new(Timestamp::from_millis(1_000), &[9; 32])
}

fn with_disk() -> Order {
    Order { disk: Some(disk()), ..order(1, 1) }
}

/// A cluster whose jobs may have disks.
fn world() -> (World, EksAttacher) {
    let settings = Settings { disks: true, ..settings() };
    let world = World::with(settings.clone());
    let volumes = EksAttacher::new(&client(&world.fake, "disks"), settings, "eu-central-1b", Arc::new(Ebs));
    (world, volumes)
}

async fn attach(volumes: &EksAttacher, id: &str) -> Result<Attachment, VolumeError> {
    volumes.attach(&VolumeId::new(id), &with_disk().of()).await
}

fn there() -> Result<Attachment, VolumeError> {
    Ok(Attachment::There(Device::Folder("/disk".to_owned())))
}

fn refused(why: &str) -> Result<Attachment, VolumeError> {
    Err(VolumeError::Refused(why.to_owned()))
}

fn asked(fake: &Fake, who: &str) -> Vec<String> {
    let state = fake.state();
    let by = state.asked.iter().filter(|(by, _, _)| by == who);
    by.map(|(_, verb, what)| format!("{verb} {what}")).collect()
}

#[tokio::test]
async fn a_pod_starts_when_its_disk_is_there() {
    let (world, volumes) = world();
    assert_eq!(attach(&volumes, "vol-1").await, Ok(Attachment::Coming), "its pod is not made yet");
    assert!(world.fake.names("persistentvolumes").is_empty());
    let began = world.clock.now();
    let waits = world.fleet.provision(&with_disk()).await;
    assert!(matches!(&waits, Err(FleetError::Capacity(why)) if why.contains("disk")), "{waits:?}");
    assert_eq!((world.clock.now(), world.fake.bound()), (began, 0), "there is nothing to wait for");
    for _again in 0..2 {
        assert_eq!(attach(&volumes, "vol-1").await, there());
    }
    for plural in ["persistentvolumes", "persistentvolumeclaims"] {
        assert_eq!(world.fake.names(plural), [name(1, 1)], "{plural}");
    }
    assert_eq!(world.fleet.provision(&with_disk()).await.unwrap().address.host, "10.0.7.7");
    assert_eq!(world.fake.bound(), 1);
    let storage = volumes.create(&wanted()).await;
    assert_eq!(storage, Ok(Some(VolumeId::new("vol-3"))), "volumes are EBS's");
}

fn wanted() -> VolumeOrder {
    VolumeOrder {
        of: DiskRef { tenant: tenant(), owner: UserName::new("ada"), disk: disk() },
        uses: 3,
        name: DiskName::parse("data").unwrap(),
        size_gb: 10,
        from: None,
        attempt: with_disk().of(),
    }
}

#[tokio::test]
async fn a_disk_as_json() {
    let (world, volumes) = world();
    world.fleet.provision(&with_disk()).await.unwrap_err();
    attach(&volumes, "vol-1").await.unwrap();
    let pod = world.fake.objects("pods")[0].clone();
    let [volume, mut claim] =
        ["persistentvolumes", "persistentvolumeclaims"].map(|plural| plain(world.fake.objects(plural)[0].clone()));
    insta::assert_json_snapshot!("persistent_volume", volume);
    assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"].take(), pod["metadata"]["uid"]);
    insta::assert_json_snapshot!("claim", claim);
    for (rule, breaks) in RULES {
        assert!(!breaks(&pod), "a pod {rule}");
    }
    let mounted = |container: &Value| {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let disk = mounts.iter().find(|mount| mount["name"] == "disk").cloned();
        disk.map(|mount| (mount["mountPath"] == "/disk", mount["readOnly"] == true))
    };
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let found = containers.iter().map(|one| (one["name"].as_str().unwrap(), mounted(one))).collect::<Vec<_>>();
    assert_eq!(found, [("job", Some((true, false))), ("agent", Some((true, true)))]);
    assert_eq!(mounted(&pod["spec"]["initContainers"][0]), None);
    assert_eq!(pod["spec"]["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch");
}

#[tokio::test]
async fn what_is_over_gets_no_disk() {
    let (world, volumes) = world();
    world.fleet.provision(&with_disk()).await.unwrap_err();
    attach(&volumes, "vol-1").await.unwrap();
    world.fleet.provision(&with_disk()).await.unwrap();
    world.finish(1, 1);
    assert_eq!(attach(&volumes, "vol-1").await, refused("what it was running on has ended"));
    world.end(1, 1).await.unwrap();
    assert_eq!(attach(&volumes, "vol-1").await, refused("what it was running on has ended"));
    let (world, volumes) = self::world();
    world.end(1, 1).await.unwrap();
    assert_eq!(attach(&volumes, "vol-1").await, refused("what it was running on has ended"), "it is never made");
}

#[tokio::test]
async fn what_was_offered_is_taken_back_when_the_pod_is_gone() {
    let (world, volumes) = world();
    world.fleet.provision(&with_disk()).await.unwrap_err();
    attach(&volumes, "vol-1").await.unwrap();
    world.fleet.provision(&with_disk()).await.unwrap();
    let left = || ["persistentvolumeclaims", "persistentvolumes"].map(|plural| world.fake.names(plural).len());
    world.listed().await;
    world.finish(1, 1);
    world.listed().await;
    assert_eq!(left(), [1, 1], "its pod is still there");
    world.end(1, 1).await.unwrap();
    assert_eq!(left(), [0, 1], "a claim goes with its pod");
    world.listed().await;
    assert_eq!(left(), [0, 0]);
    // Those of another deployment are not ours.
    let foreign = json_volume("other");
    world.fake.act(|state| {
        let resource = crate::fake::resource("persistentvolumes");
        state.store.create(resource, "", foreign, Timestamp::from_millis(1)).unwrap();
    });
    world.listed().await;
    assert_eq!(left(), [0, 1]);
}

fn json_volume(deployment: &str) -> Value {
    let name = name(1, 1);
    serde_json::json!({"metadata": {"name": name, "labels": {"slipway.dev/deployment": deployment}}, "spec": {}})
}

#[tokio::test]
async fn the_sweep_goes_on_without_the_list_of_volumes() {
    let (world, volumes) = world();
    world.fleet.provision(&with_disk()).await.unwrap_err();
    attach(&volumes, "vol-1").await.unwrap();
    let rights = r#"persistentvolumes is forbidden: User "slipway" cannot list resource "persistentvolumes""#;
    world.fake.fault("list", "persistentvolumes", Fault::Refuse(403, "Forbidden", rights.to_owned()));
    assert_eq!(world.listed().await, 1);
}

#[tokio::test]
async fn another_volume_is_never_offered_under_the_same_name() {
    let (world, volumes) = world();
    world.fleet.provision(&with_disk()).await.unwrap_err();
    attach(&volumes, "vol-1").await.unwrap();
    assert_eq!(attach(&volumes, "vol-2").await, refused("something else has the name of its volume"));
    let handles =
        world.fake.objects("persistentvolumes").into_iter().map(|one| one["spec"]["csi"]["volumeHandle"].clone());
    assert_eq!(handles.collect::<Vec<_>>(), ["vol-1"]);
}

#[tokio::test]
async fn trouble_on_the_way_is_made_good_by_asking_again() {
    let rights = r#"persistentvolumes is forbidden: User "slipway" cannot create resource "persistentvolumes""#;
    let quota = r#"persistentvolumeclaims "sw-1" is forbidden: exceeded quota: disks"#;
    for (verb, plural, fault) in [
        ("get", "configmaps", Fault::Refuse(503, "ServiceUnavailable", "etcd is not there".to_owned())),
        ("create", "persistentvolumes", Fault::LoseAnswer),
        ("create", "persistentvolumes", Fault::Refuse(403, "Forbidden", rights.to_owned())),
        ("create", "persistentvolumeclaims", Fault::LoseAnswer),
        ("create", "persistentvolumeclaims", Fault::Refuse(403, "Forbidden", quota.to_owned())),
    ] {
        let (world, volumes) = world();
        world.fleet.provision(&with_disk()).await.unwrap_err();
        world.fake.fault(verb, plural, fault.clone());
        let failed = attach(&volumes, "vol-1").await;
        assert!(matches!(failed, Err(VolumeError::Port(_))), "{fault:?}: {failed:?}");
        assert_eq!(attach(&volumes, "vol-1").await, there(), "{fault:?}");
        for plural in ["persistentvolumes", "persistentvolumeclaims"] {
            assert_eq!(world.fake.names(plural), [name(1, 1)], "{fault:?}");
        }
    }
    let (world, volumes) = world();
    world.fleet.provision(&with_disk()).await.unwrap_err();
    let hook = r#"admission webhook "storage" denied the request"#;
    world.fake.fault("create", "persistentvolumes", Fault::Refuse(403, "Forbidden", hook.to_owned()));
    assert_eq!(attach(&volumes, "vol-1").await, refused(hook));
}

#[tokio::test]
async fn a_cluster_without_disks_is_asked_for_none() {
    let world = World::new();
    let answer = world.fleet.provision(&with_disk()).await;
    assert_eq!(answer, Err(FleetError::Refused("jobs in this cluster have no disks".to_owned())));
    world.listed().await;
    assert!(asked(&world.fake, "fleet").iter().all(|one| !one.contains("persistentvolume")));
}

/// The crate's documentation says what each role may do; the roles that installations apply are written from it.
#[tokio::test]
async fn what_disks_need_is_what_the_documentation_says() {
    let (world, volumes) = world();
    world.fleet.provision(&with_disk()).await.unwrap_err();
    attach(&volumes, "vol-1").await.unwrap();
    attach(&volumes, "vol-1").await.unwrap();
    world.fleet.provision(&with_disk()).await.unwrap();
    world.finish(1, 1);
    world.end(1, 1).await.unwrap();
    world.listed().await;
    let used: BTreeSet<String> =
        [asked(&world.fake, "fleet"), asked(&world.fake, "disks")].concat().into_iter().collect();
    let used = used.iter().filter(|one| one.contains("persistent")).map(String::as_str).collect::<Vec<_>>();
    let expected = [
        "create persistentvolumeclaims",
        "create persistentvolumes",
        "delete persistentvolumes",
        "get persistentvolumeclaims",
        "get persistentvolumes",
        "list persistentvolumes",
    ];
    assert_eq!(used, expected);
}
