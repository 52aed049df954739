//! What a pod owns, its secret and its service; and the tombstone, which nobody owns.

use std::collections::BTreeMap;

use cloud::Order;
use domain::agent::{Boot, ModelServer, Room};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Pod, Secret, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use crate::{
    names::{ENDED, Names, TENANT, owner},
    pod::{BOOT_FILE, JUPYTER_PORT, MODEL_PORT, RUN, SSH_PORT},
    settings::{Settings, WayIn},
};

/// The port that a load balancer answers SSH on.
pub(crate) const PUBLIC_SSH_PORT: u16 = 22;

fn owned(names: &Names, pod: &Pod) -> ObjectMeta {
    ObjectMeta {
        name: Some(names.pod.clone()),
        labels: Some(names.labels.clone()),
        owner_references: Some(vec![owner(pod)]),
        ..ObjectMeta::default()
    }
}

/// How the agent is started. The GPUs are numbered from 0: a container sees only its own.
pub(crate) fn boot(settings: &Settings, order: &Order) -> Boot {
    Boot {
        plane: settings.plane_url.clone(),
        workload: order.workload,
        room: Room::Pod,
        token: order.enroll_token.clone(),
        listen: "0.0.0.0".to_owned(),
        ssh_port: SSH_PORT,
        jupyter_port: JUPYTER_PORT,
        model_port: order.serves.then_some(MODEL_PORT),
        model_server: order.serves.then_some(ModelServer::Vllm),
        work_dir: RUN.to_owned(),
        host_key: format!("{RUN}/host_key"),
        // The containers share no folder but the one with the socket.
        hidden: Vec::new(),
        image_root: None,
        image: order.image.clone(),
        gpus: (0..order.gpus).collect(),
        disk: order.disk.is_some(),
        gpus_simulated: false,
    }
}

/// The secret with the agent's start line.
pub(crate) fn secret(
    settings: &Settings,
    names: &Names,
    order: &Order,
    pod: &Pod,
) -> Result<Secret, serde_json::Error> {
    let boot = serde_json::to_vec(&boot(settings, order))?;
    Ok(Secret {
        metadata: owned(names, pod),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        data: Some([(BOOT_FILE.to_owned(), ByteString(boot))].into()),
        ..Secret::default()
    })
}

/// What the service calls the port of a model, and that of the SSH server.
pub(crate) const MODEL: &str = "model";
pub(crate) const SSH: &str = "ssh";

/// The way in; for what serves a model, the way to that, too.
pub(crate) fn service(settings: &Settings, names: &Names, order: &Order, pod: &Pod) -> Service {
    let mut metadata = owned(names, pod);
    let (kind, node_ports) = match settings.way_in {
        WayIn::NodePort => ("NodePort", None),
        WayIn::InternalLoadBalancer => {
            metadata.annotations = Some(internal_balancer());
            ("LoadBalancer", Some(false))
        }
    };
    let port = |name: &str, public: u16, own: u16| ServicePort {
        name: Some(name.to_owned()),
        protocol: Some("TCP".to_owned()),
        port: i32::from(public),
        target_port: Some(IntOrString::Int(i32::from(own))),
        ..ServicePort::default()
    };
    let model = order.serves.then(|| port(MODEL, MODEL_PORT, MODEL_PORT));
    let ports = std::iter::once(port(SSH, PUBLIC_SSH_PORT, SSH_PORT)).chain(model).collect();
    let spec = ServiceSpec {
        type_: Some(kind.to_owned()),
        selector: Some(names.selector()),
        ports: Some(ports),
        // The address that users are told is the job's own node's, and the SSH server sees who really calls.
        external_traffic_policy: Some("Local".to_owned()),
        allocate_load_balancer_node_ports: node_ports,
        ..ServiceSpec::default()
    };
    Service { metadata, spec: Some(spec), ..Service::default() }
}

/// A network load balancer with addresses of the VPC, straight to the pod.
fn internal_balancer() -> BTreeMap<String, String> {
    [("type", "external"), ("scheme", "internal"), ("nlb-target-type", "ip")]
        .map(|(name, value)| (format!("service.beta.kubernetes.io/aws-load-balancer-{name}"), value.to_owned()))
        .into()
}

/// Says that an attempt is ended, or is never to be.
pub(crate) fn tombstone(names: &Names) -> ConfigMap {
    let mut labels = names.labels.clone();
    labels.insert(ENDED.to_owned(), "true".to_owned());
    let metadata = ObjectMeta {
        name: Some(names.tombstone.clone()),
        labels: Some(labels),
        annotations: Some([(TENANT.to_owned(), names.attempt.tenant.to_string())].into()),
        ..ObjectMeta::default()
    };
    ConfigMap { metadata, ..ConfigMap::default() }
}
