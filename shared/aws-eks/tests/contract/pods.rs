//! What a pod is, and what no pod ever is.

use aws_eks::{Nodes, Share, WayIn};
use cloud::{Fleet as _, Order};
use serde_json::{Value, json};

use super::*;

/// What no pod may be, and whether one is.
pub(super) type Rule = (&'static str, fn(&Value) -> bool);

/// An object without what the server adds.
pub(super) fn plain(mut object: Value) -> Value {
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object.as_object_mut().unwrap().remove("status");
    object
}

#[tokio::test]
async fn an_attempt_as_json() {
    let world = World::new();
    world.fake.schedule(crate::fake::Scheduler::Asleep);
    world.fleet.provision(&order(1, 1)).await.unwrap_err();
    let [pod, service, mut secret] =
        ["pods", "services", "secrets"].map(|plural| plain(world.fake.objects(plural)[0].clone()));
    insta::assert_json_snapshot!("pod", pod);
    insta::assert_json_snapshot!("service", service);
    let boot = secret["data"]["boot.json"].take();
    insta::assert_json_snapshot!("secret", secret);
    let boot: k8s_openapi::ByteString = serde_json::from_value(boot).unwrap();
    let boot: domain::agent::Boot = serde_json::from_slice(&boot.0).unwrap();
    assert_eq!((boot.token, boot.workload), (order(1, 1).enroll_token, workload(1)));
    assert_eq!(
        (boot.listen.as_str(), boot.gpus.as_slice(), boot.gpus_simulated),
        ("0.0.0.0", &[0, 1, 2, 3][..], false)
    );
}

#[tokio::test]
async fn settings_choose_nodes_shares_and_the_way_in() {
    let node = |label: &str, value: &str| json!({label: value});
    let share = Share { cpu_millis: 24_000, memory_mib: 250_000, disk_mib: 1_000 };
    for (nodes, selector) in [
        (Nodes::OfInstanceType, node("node.kubernetes.io/instance-type", "p5.48xlarge")),
        (Nodes::OfPool { label: "slipway.dev/pool".into() }, node("slipway.dev/pool", "eks.h100")),
        (Nodes::Booked, node("kubernetes.io/hostname", "node-1")),
    ] {
        let mut settings = settings();
        (settings.nodes, settings.way_in) = (nodes, WayIn::InternalLoadBalancer);
        settings.shares.insert("p5.48xlarge".into(), share);
        let world = World::with(settings);
        assert!(world.fleet.provision(&order(1, 1)).await.is_err(), "a balancer needs minutes");
        let spec = world.fake.objects("pods")[0]["spec"].clone();
        assert_eq!(spec["nodeSelector"], selector);
        let limits = &spec["containers"][0]["resources"]["limits"];
        assert_eq!(
            *limits,
            json!({"cpu": "96000m", "memory": "1000000Mi", "ephemeral-storage": "4000Mi", "nvidia.com/gpu": "4"})
        );
        let key = ("services", "jobs".to_owned(), name(1, 1));
        let ingress = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.internal"}]}}});
        world.fake.act(|state| drop(state.store.patch(&key, &ingress).unwrap()));
        let address = world.fleet.provision(&order(1, 1)).await.unwrap().address;
        assert_eq!((address.host.as_str(), address.ssh_port), ("lb.internal", 22));
    }
}

#[tokio::test]
async fn a_deadline_allows_for_extensions_that_may_come() {
    let launch = settings().launch_allowance.as_secs() + 120;
    for (life, seconds) in [(1, 48 * 3600), (48, 48 * 3600), (100, 100 * 3600)] {
        let world = World::new();
        world.fleet.provision(&Order { life: Some(life * HOUR), ..order(1, 1) }).await.unwrap();
        assert_eq!(world.fake.objects("pods")[0]["spec"]["activeDeadlineSeconds"], json!(seconds + launch), "{life} h");
    }
}

/// Every container of a pod.
fn containers(pod: &Value) -> Vec<&Value> {
    let kinds = ["initContainers", "containers", "ephemeralContainers"];
    kinds.iter().filter_map(|kind| pod["spec"][*kind].as_array()).flatten().collect()
}

fn mounts<'a>(container: &'a Value, volume: &str) -> Vec<&'a Value> {
    let all = container["volumeMounts"].as_array().into_iter().flatten();
    all.filter(|mount| mount["name"] == volume).collect()
}

pub(super) const RULES: [Rule; 14] = [
    ("runs in the host's namespaces", |pod| {
        ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"].iter().any(|field| pod["spec"][*field] != false)
    }),
    ("has a token of the cluster's", |pod| pod["spec"]["automountServiceAccountToken"] != false),
    ("is told of other services", |pod| pod["spec"]["enableServiceLinks"] != false),
    ("is started again", |pod| pod["spec"]["restartPolicy"] != "Never"),
    ("lives for ever", |pod| !pod["spec"]["activeDeadlineSeconds"].is_u64()),
    ("may call what it likes of the kernel", |pod| {
        pod["spec"]["securityContext"]["seccompProfile"]["type"] != "RuntimeDefault"
    }),
    ("mounts something of the host's", |pod| {
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let kinds = ["emptyDir", "secret", "persistentVolumeClaim"];
        volumes.iter().any(|volume| kinds.iter().all(|kind| volume[*kind].is_null()))
    }),
    ("is privileged, or may become so", |pod| {
        let may = |one: &&Value| {
            let context = &one["securityContext"];
            context["privileged"] != false || context["allowPrivilegeEscalation"] != false
        };
        containers(pod).iter().any(may)
    }),
    ("keeps capabilities beyond the baseline", |pod| {
        let baseline = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"];
        containers(pod).iter().any(|one| {
            let capabilities = &one["securityContext"]["capabilities"];
            let added = capabilities["add"].as_array().cloned().unwrap_or_default();
            let ours = one["name"] != "job" && !added.is_empty();
            capabilities["drop"] != json!(["ALL"])
                || ours
                || added.iter().any(|name| !baseline.contains(&name.as_str().unwrap()))
        })
    }),
    ("runs our own containers as root or lets them write", |pod| {
        containers(pod).iter().filter(|one| one["name"] != "job").any(|one| {
            let context = &one["securityContext"];
            context["runAsNonRoot"] != true || context["readOnlyRootFilesystem"] != true
        })
    }),
    ("shows the one-time token to another container", |pod| {
        containers(pod).iter().any(|one| one["name"] != "agent" && !mounts(one, "boot").is_empty())
            || pod.to_string().contains("token-")
    }),
    ("lets the user's container change the agent", |pod| {
        containers(pod).iter().any(|one| one["name"] == "job" && mounts(one, "slipway")[0]["readOnly"] != true)
    }),
    ("says anything in an environment but whose it is", |pod| {
        containers(pod).iter().any(|one| {
            let names = one["env"].as_array().cloned().unwrap_or_default();
            !one["envFrom"].is_null()
                || names.iter().any(|variable| one["name"] != "job" || variable["name"] != "SLIPWAY_WORKLOAD")
        })
    }),
    ("asks for less than it may take, starts a shell, or has no limits", |pod| {
        containers(pod).iter().any(|one| {
            let (asks, takes) = (&one["resources"]["requests"], &one["resources"]["limits"]);
            let bounded = ["cpu", "memory", "ephemeral-storage"].iter().all(|what| takes[*what].is_string());
            let program = one["command"][0].as_str().unwrap_or_default();
            asks != takes || !bounded || !program.ends_with("/agent") || !one["args"].is_null()
        })
    }),
];

#[tokio::test]
async fn no_pod_is_what_no_pod_may_be() {
    let hostile = ["nginx; rm -rf /", "$(id)", "pytorch/pytorch:2.1.0"];
    for (image, nodes) in
        hostile.into_iter().zip([Nodes::OfInstanceType, Nodes::Booked, Nodes::OfPool { label: "pool".into() }])
    {
        let mut settings = settings();
        settings.nodes = nodes;
        let world = World::with(settings);
        world.fleet.provision(&Order { image: image.to_owned(), ..order(1, 1) }).await.unwrap();
        for pod in world.fake.objects("pods") {
            assert_eq!(pod["spec"]["containers"][0]["image"], image);
            for (rule, breaks) in RULES {
                assert!(!breaks(&pod), "a pod {rule}");
            }
        }
    }
}
