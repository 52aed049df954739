//! The pod of one attempt.
//!
//! Three containers take part. `install` copies the agent into a folder that the pod's containers share, and ends. `agent` is the outer copy: it
//! holds the session with the control plane, and alone mounts the secret. `job` is the user's image, whose program is the agent's inner copy: it
//! serves SSH and runs the user's command, and reads what it needs from a socket in the shared folder, which it can only read. What the
//! user brought (command, environment, keys) goes over that socket and is never written into a pod.

use std::collections::BTreeMap;

use cloud::Order;
use domain::{agent::CAPABILITIES, policy};
use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, KeyToPath,
        PersistentVolumeClaimVolumeSource, Pod, PodSchedulingGate, PodSecurityContext, PodSpec, ResourceRequirements,
        SeccompProfile, SecretVolumeSource, SecurityContext, Toleration, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use crate::{
    names::{FINALIZER, GATE, Names, ORDER, POOL, TENANT, fingerprint},
    settings::{Nodes, Settings},
};

/// The user's container, and the agent's.
pub(crate) const JOB: &str = "job";
pub(crate) const AGENT: &str = "agent";
/// Where the SSH server listens: a port that a user who is not root may have.
pub(crate) const SSH_PORT: u16 = 2222;
/// JupyterLab's port on the pod's loopback.
pub(crate) const JUPYTER_PORT: u16 = 8888;
/// The port at which a model answers, where one is served: vLLM's own.
pub(crate) const MODEL_PORT: u16 = 8000;
/// The folder with the socket, and the key in the secret, which is the name of the file.
pub(crate) const RUN: &str = "/slipway/run";
pub(crate) const BOOT_FILE: &str = "boot.json";

/// Where the volume of its disk is mounted.
pub(crate) const DISK: &str = "/disk";

const SHARED: &str = "/slipway";
const PROGRAM: &str = "/slipway/agent";
const SOCKET: &str = "/slipway/run/agent.sock";
const BOOT: &str = "/slipway/boot";
/// The agent in its own image, which needs nothing else: no shell, no `cp`.
const PROGRAM_IN_IMAGE: &str = "/agent";
/// Nobody in particular; the same number is the group through which the two copies share a socket.
const NOBODY: i64 = 65_532;
const GPUS: &str = "nvidia.com/gpu";

/// The pod of an order, not to be scheduled yet.
pub(crate) fn pod(settings: &Settings, names: &Names, order: &Order) -> Pod {
    let annotations = [(TENANT, order.tenant.to_string()), (POOL, order.pool.to_string()), (ORDER, fingerprint(order))];
    let metadata = ObjectMeta {
        name: Some(names.pod.clone()),
        labels: Some(names.labels.clone()),
        annotations: Some(annotations.map(|(name, value)| (name.to_owned(), value)).into()),
        finalizers: Some(vec![FINALIZER.to_owned()]),
        ..ObjectMeta::default()
    };
    let spec = PodSpec {
        scheduling_gates: Some(vec![PodSchedulingGate { name: GATE.to_owned() }]),
        init_containers: Some(vec![install(settings)]),
        containers: vec![job(settings, order), agent(settings, order)],
        volumes: Some(volumes(settings, names, order)),
        node_selector: Some(node_selector(&settings.nodes, order)),
        tolerations: Some(vec![Toleration {
            key: Some(GPUS.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some("NoSchedule".to_owned()),
            ..Toleration::default()
        }]),
        restart_policy: Some("Never".to_owned()),
        active_deadline_seconds: settings.deadline(order).map(|deadline| seconds(deadline.as_secs())),
        termination_grace_period_seconds: Some(seconds(policy::GRACE.as_secs())),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        host_network: Some(false),
        host_pid: Some(false),
        host_ipc: Some(false),
        share_process_namespace: Some(false),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            fs_group: Some(NOBODY),
            // Everything on a disk would be given to the group at each start otherwise, and private keys would be private no more.
            fs_group_change_policy: order.disk.map(|_| "OnRootMismatch".to_owned()),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    };
    Pod { metadata, spec: Some(spec), ..Pod::default() }
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// The user's container. Its environment names the workload and nothing else: what the user set comes over the socket.
fn job(settings: &Settings, order: &Order) -> Container {
    Container {
        name: JOB.to_owned(),
        image: Some(order.image.clone()),
        command: Some(words(&[PROGRAM, "inner", "--socket", SOCKET])),
        env: Some(vec![EnvVar {
            name: "SLIPWAY_WORKLOAD".to_owned(),
            value: Some(order.workload.to_string()),
            ..EnvVar::default()
        }]),
        ports: Some(vec![ContainerPort {
            name: Some("ssh".to_owned()),
            container_port: i32::from(SSH_PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(resources_of_job(settings, order)),
        volume_mounts: Some(
            [VolumeMount { read_only: Some(true), ..mount("slipway", SHARED) }, mount("shm", "/dev/shm")]
                .into_iter()
                .chain(disk(order))
                .collect(),
        ),
        security_context: Some(SecurityContext {
            capabilities: Some(Capabilities {
                drop: Some(words(&["ALL"])),
                add: Some(CAPABILITIES.map(|(name, _why)| name.to_owned()).into()),
            }),
            ..confined()
        }),
        ..Container::default()
    }
}

/// The agent's outer copy. It waits at the socket for the inner one, which Kubernetes starts.
fn agent(settings: &Settings, order: &Order) -> Container {
    let boot = format!("{BOOT}/{BOOT_FILE}");
    Container {
        name: AGENT.to_owned(),
        image: Some(settings.agent_image.clone()),
        command: Some(words(&[PROGRAM_IN_IMAGE, "outer", "--boot", &boot, "--socket", SOCKET])),
        resources: Some(resources(&[("cpu", "100m"), ("memory", "128Mi"), ("ephemeral-storage", "256Mi")])),
        volume_mounts: Some(
            [
                // It can write beside the program, and not over it.
                VolumeMount { sub_path: Some("run".to_owned()), ..mount("slipway", RUN) },
                VolumeMount { read_only: Some(true), ..mount("boot", BOOT) },
            ]
            .into_iter()
            // It looks at what is on the disk.
            .chain(disk(order).map(|disk| VolumeMount { read_only: Some(true), ..disk }))
            .collect(),
        ),
        security_context: Some(powerless()),
        ..Container::default()
    }
}

/// Copies the agent to where the user's container finds it.
fn install(settings: &Settings) -> Container {
    Container {
        name: "install".to_owned(),
        image: Some(settings.agent_image.clone()),
        command: Some(words(&[PROGRAM_IN_IMAGE, "install", PROGRAM])),
        resources: Some(resources(&[("cpu", "100m"), ("memory", "128Mi"), ("ephemeral-storage", "256Mi")])),
        volume_mounts: Some(vec![mount("slipway", SHARED)]),
        security_context: Some(powerless()),
        ..Container::default()
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// The mount of an order's disk, if it has one.
fn disk(order: &Order) -> Option<VolumeMount> {
    order.disk.map(|_| mount("disk", DISK))
}

/// What holds for every container.
fn confined() -> SecurityContext {
    SecurityContext { allow_privilege_escalation: Some(false), privileged: Some(false), ..SecurityContext::default() }
}

/// What holds for our own containers, which need nothing.
fn powerless() -> SecurityContext {
    SecurityContext {
        capabilities: Some(Capabilities { drop: Some(words(&["ALL"])), add: None }),
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        run_as_group: Some(NOBODY),
        read_only_root_filesystem: Some(true),
        ..confined()
    }
}

/// Requests and limits are the same, so that a neighbour can take nothing away.
fn resources(amounts: &[(&str, &str)]) -> ResourceRequirements {
    let amounts: BTreeMap<String, Quantity> =
        amounts.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect();
    ResourceRequirements { requests: Some(amounts.clone()), limits: Some(amounts), ..ResourceRequirements::default() }
}

fn resources_of_job(settings: &Settings, order: &Order) -> ResourceRequirements {
    let share = settings.share(&order.instance_type);
    let times = |amount: u32| u64::from(amount) * u64::from(order.gpus);
    resources(&[
        ("cpu", &format!("{}m", times(share.cpu_millis))),
        ("memory", &format!("{}Mi", times(share.memory_mib))),
        ("ephemeral-storage", &format!("{}Mi", times(share.disk_mib))),
        (GPUS, &order.gpus.to_string()),
    ])
}

fn volumes(settings: &Settings, names: &Names, order: &Order) -> Vec<Volume> {
    let memory = u64::from(settings.share(&order.instance_type).memory_mib) * u64::from(order.gpus);
    let folder = |name: &str, medium: Option<&str>, size: String| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            size_limit: Some(Quantity(size)),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    };
    let boot = SecretVolumeSource {
        secret_name: Some(names.pod.clone()),
        items: Some(vec![KeyToPath { key: BOOT_FILE.to_owned(), path: BOOT_FILE.to_owned(), ..KeyToPath::default() }]),
        default_mode: Some(0o440),
        optional: Some(false),
        ..SecretVolumeSource::default()
    };
    // Its claim is made when its volume is (`crate::EksAttacher`); no node takes the pod before that.
    let claim = PersistentVolumeClaimVolumeSource { claim_name: names.pod.clone(), read_only: None };
    let disk = order.disk.map(|_| Volume {
        name: "disk".to_owned(),
        persistent_volume_claim: Some(claim),
        ..Volume::default()
    });
    let volumes = [
        folder("slipway", None, "256Mi".to_owned()),
        // Data loaders pass batches through shared memory, of which a container has 64 MB by default.
        folder("shm", Some("Memory"), format!("{}Mi", memory / 2)),
        Volume { name: "boot".to_owned(), secret: Some(boot), ..Volume::default() },
    ];
    volumes.into_iter().chain(disk).collect()
}

fn node_selector(nodes: &Nodes, order: &Order) -> BTreeMap<String, String> {
    let (label, value) = match nodes {
        Nodes::OfInstanceType => ("node.kubernetes.io/instance-type", order.instance_type.clone()),
        Nodes::OfPool { label } => (label.as_str(), order.pool.as_str().replace('/', ".")),
        Nodes::Booked => ("kubernetes.io/hostname", order.node.to_string()),
    };
    [(label.to_owned(), value)].into()
}
