//! Names and environment of a gang: several pods that run one program together.
//!
//! An order is for one pod as yet. What will tell a gang's pods from a single one is all here, as functions of the pod, the gang's size and the
//! member's rank: stable names, a headless service under which they find each other before they are ready, and the variables that
//! `torchrun`, NCCL and MPI launchers read.

use k8s_openapi::{
    api::core::v1::{EnvVar, Pod, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use kube::ResourceExt as _;

use crate::{
    names::{ATTEMPT, DEPLOYMENT, RANK, WORKLOAD},
    pod::JOB,
};

/// The port that the member of rank 0 listens on.
pub const MASTER_PORT: u16 = 29_500;

/// One of a gang's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    rank: u32,
    size: u32,
}

impl Member {
    /// The member of this rank, counting from 0; `None` when the gang has no such member.
    #[must_use]
    pub const fn new(rank: u32, size: u32) -> Option<Self> {
        if rank < size { Some(Self { rank, size }) } else { None }
    }

    /// Every member of a gang of this size.
    pub fn all(size: u32) -> impl Iterator<Item = Self> {
        (0..size).map(move |rank| Self { rank, size })
    }
}

/// The name of the headless service, from the name that a single pod of the attempt would have.
#[must_use]
pub fn service_name(pod: &str) -> String {
    format!("{pod}-gang")
}

/// The name of a member's pod.
#[must_use]
pub fn member_name(pod: &str, member: Member) -> String {
    format!("{pod}-{}", member.rank)
}

/// The host by which the others find the member of rank 0, within the namespace.
#[must_use]
pub fn master_address(pod: &str) -> String {
    format!("{pod}-0.{}", service_name(pod))
}

/// What a member's program is told.
#[must_use]
pub fn environment(pod: &str, member: Member) -> Vec<(&'static str, String)> {
    vec![
        ("MASTER_ADDR", master_address(pod)),
        ("MASTER_PORT", MASTER_PORT.to_string()),
        ("RANK", member.rank.to_string()),
        ("WORLD_SIZE", member.size.to_string()),
    ]
}

/// Makes the pod of an attempt the pod of one member: its own name, a host name under the headless service, and the variables in the
/// user's container only.
#[must_use]
pub fn joined(mut pod: Pod, member: Member) -> Pod {
    let name = pod.name_any();
    pod.metadata.name = Some(member_name(&name, member));
    pod.metadata.labels.get_or_insert_default().insert(RANK.to_owned(), member.rank.to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(member_name(&name, member));
    spec.subdomain = Some(service_name(&name));
    for job in spec.containers.iter_mut().filter(|container| container.name == JOB) {
        let told = environment(&name, member).into_iter();
        job.env.get_or_insert_default().extend(told.map(|(name, value)| EnvVar {
            name: name.to_owned(),
            value: Some(value),
            ..EnvVar::default()
        }));
    }
    pod
}

/// The headless service of a gang, from the pod that a single member would be.
#[must_use]
pub fn service(pod: &Pod) -> Service {
    let chosen = [DEPLOYMENT, WORKLOAD, ATTEMPT];
    let labels = pod.labels().clone();
    let selector = labels.clone().into_iter().filter(|(name, _)| chosen.contains(&name.as_str())).collect();
    let port = i32::from(MASTER_PORT);
    let metadata =
        ObjectMeta { name: Some(service_name(&pod.name_any())), labels: Some(labels), ..ObjectMeta::default() };
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        selector: Some(selector),
        // Members look each other up while they start.
        publish_not_ready_addresses: Some(true),
        ports: Some(vec![ServicePort {
            name: Some("master".to_owned()),
            port,
            target_port: Some(IntOrString::Int(port)),
            ..ServicePort::default()
        }]),
        ..ServiceSpec::default()
    };
    Service { metadata, spec: Some(spec), ..Service::default() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, PodSpec};

    use super::*;

    fn single() -> Pod {
        let container = |name: &str| Container { name: name.to_owned(), ..Container::default() };
        let labels = [(WORKLOAD, "w"), (ATTEMPT, "1"), (DEPLOYMENT, "d"), ("other", "x")];
        Pod {
            metadata: ObjectMeta {
                name: Some("sw-w-1".to_owned()),
                labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec { containers: vec![container(JOB), container("agent")], ..PodSpec::default() }),
            ..Pod::default()
        }
    }

    #[test]
    fn members_are_told_who_they_are() {
        for (rank, size, expected) in [
            (0, 1, Some(["sw-w-1-0", "0", "1"])),
            (0, 4, Some(["sw-w-1-0", "0", "4"])),
            (3, 4, Some(["sw-w-1-3", "3", "4"])),
            (4, 4, None),
            (0, 0, None),
        ] {
            let told = Member::new(rank, size).map(|member| {
                let pod = joined(single(), member);
                let spec = pod.spec.clone().unwrap();
                let env = |at: usize| {
                    let env = spec.containers[at].env.clone().unwrap_or_default();
                    env.into_iter().map(|var| (var.name, var.value.unwrap())).collect::<Vec<_>>()
                };
                assert_eq!(
                    (spec.hostname.as_deref(), spec.subdomain.as_deref()),
                    (Some(&*pod.name_any()), Some("sw-w-1-gang"))
                );
                assert_eq!(env(1), [], "the agent is no member");
                let [master, port, rank, size] = <[_; 4]>::try_from(env(0)).unwrap();
                assert_eq!(master, ("MASTER_ADDR".to_owned(), "sw-w-1-0.sw-w-1-gang".to_owned()));
                assert_eq!(port, ("MASTER_PORT".to_owned(), "29500".to_owned()));
                assert_eq!((rank.0.as_str(), size.0.as_str()), ("RANK", "WORLD_SIZE"));
                [pod.name_any(), rank.1, size.1]
            });
            assert_eq!(told, expected.map(|words| words.map(str::to_owned)), "{rank} of {size}");
        }
    }

    #[test]
    fn a_gang_has_one_service_and_each_member_one_name() {
        let names: Vec<String> = Member::all(3).map(|member| joined(single(), member).name_any()).collect();
        assert_eq!(names, ["sw-w-1-0", "sw-w-1-1", "sw-w-1-2"]);
        let service = service(&single());
        let spec = service.spec.clone().unwrap();
        let selector = spec.selector.unwrap();
        for member in Member::all(3) {
            let pod = joined(single(), member);
            assert!(selector.iter().all(|(name, value)| pod.labels().get(name) == Some(value)));
        }
        assert_eq!(service.name_any(), "sw-w-1-gang");
        assert_eq!((spec.cluster_ip.as_deref(), spec.publish_not_ready_addresses), (Some("None"), Some(true)));
    }
}
