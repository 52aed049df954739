mod ends;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Mutex as StdMutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cloud::{Ids, OsIds, SystemClock};
use domain::{PoolId, Secret, TenantId, gpu::Gpu, message::Message};

use super::*;
use crate::settings::Settings;

/// Keeps what is sent, or refuses it.
#[derive(Default)]
struct Sent {
    messages: StdMutex<Vec<Message>>,
    refuses: AtomicBool,
}

#[async_trait]
impl Queue for Sent {
    async fn send(&self, message: &Message) -> Result<(), PortError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(PortError::Throttled);
        }
        self.messages.lock().unwrap().push(message.clone());
        Ok(())
    }

    async fn healthy(&self) -> bool {
        true
    }
}

impl Sent {
    fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.messages.lock().unwrap())
    }
}

/// A fleet whose agents are this shell script.
fn fleet(folder: &Path, script: &str) -> (LocalFleet, Arc<Sent>) {
    fleet_over(folder, script, Arc::new(SystemClock), Arc::new(|is_ours| agent::end_leftovers(is_ours)))
}

/// The same with a clock of its own, and its own way to end what is left.
fn fleet_over(
    folder: &Path,
    script: &str,
    clock: Arc<dyn Clock>,
    end_leftovers: EndLeftovers,
) -> (LocalFleet, Arc<Sent>) {
    let program = folder.join("agent.sh");
    fs::write(&program, format!("#!/bin/sh\nread line\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let nodes = Settings::read(|name| (name == "SLIPWAY_NODES").then(|| "h100x4,l4x1".to_owned())).unwrap().nodes;
    let settings = FleetSettings {
        model_server: domain::agent::ModelServer::Vllm,
        program,
        nodes: nodes.named(Vec::new).unwrap(),
        plane_url: "http://127.0.0.1:1".to_owned(),
        listen: Ipv4Addr::LOCALHOST.into(),
        public_host: "127.0.0.1".to_owned(),
        host_key: folder.join("host_key"),
        attempts: folder.join("attempts"),
        pods: folder.join("pods"),
        images: Some(folder.join("images")),
        sandbox: SandboxKind::Auto,
        log_level: "info".to_owned(),
    };
    let sent = Arc::new(Sent::default());
    let queue = Arc::clone(&sent) as Arc<dyn Queue>;
    (LocalFleet::over(settings, clock, queue, end_leftovers).unwrap(), sent)
}

fn order(gpus: u32) -> Order {
    Order {
        tenant: TenantId::new("t"),
        workload: OsIds.workload(SystemClock.now()),
        attempt: 1,
        node: NodeId::new("local-h100-1"),
        pool: PoolId::new("local/h100"),
        gpu: Gpu::H100,
        instance_type: "p5.48xlarge".to_owned(),
        life: Some(Duration::from_secs(3_600)),
        serves: false,
        use_spot: false,
        gpus,
        image: "pytorch:2.1".to_owned(),
        disk: None,
        enroll_token: Secret::new("very secret"),
    }
}

impl LocalFleet {
    async fn see(&self, order: &Order) -> Sighting {
        self.describe(&order.of()).await.unwrap()
    }

    async fn gone(&self, order: &Order) -> Option<domain::Timestamp> {
        for _ in 0..1_000 {
            if let Sighting::Gone { stopped_at } = self.see(order).await {
                return stopped_at;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not end");
    }

    async fn gpus_of(&self, order: &Order) -> Vec<u32> {
        let pods = self.0.pods.lock().await;
        pods.all[&(order.workload, order.attempt)].record.made.as_ref().unwrap().gpus.clone()
    }

    async fn end(&self, order: &Order) {
        self.terminate(&order.of()).await.unwrap();
    }
}

fn reconcile(order: &Order) -> Message {
    Message::Reconcile { tenant: order.tenant.clone(), workload: order.workload }
}

#[tokio::test]
async fn an_attempt_is_made_once_and_ended_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, sent) = fleet(folder.path(), "echo \"$line\" > home; exec sleep 60");
    let mut order = order(2);
    let made = fleet.provision(&order).await.unwrap();
    assert_eq!(made.instance.as_str(), format!("local-{}-1", order.workload.short()));
    assert_ne!(made.address.ssh_port, made.address.jupyter_port);
    assert_eq!(fleet.provision(&order).await.unwrap(), made);
    assert_eq!(fleet.see(&order).await, Sighting::Running);
    assert_eq!(fleet.list().await.unwrap().len(), 1);
    order.gpus = 1;
    assert!(matches!(fleet.provision(&order).await, Err(FleetError::Refused(_))), "other parameters");
    order.gpus = 2;
    fleet.end(&order).await;
    fleet.end(&order).await;
    assert!(fleet.gone(&order).await.is_some());
    assert_eq!(sent.take(), [reconcile(&order)]);
    assert!(matches!(fleet.provision(&order).await, Err(FleetError::Refused(_))), "a late order");
    assert_eq!(fleet.list().await.unwrap(), []);
    for file in fs::read_dir(folder.path().join("attempts")).unwrap() {
        assert!(!fs::read_to_string(file.unwrap().path()).unwrap().contains("very secret"));
    }
}

#[tokio::test]
async fn what_was_never_made_never_will_be() {
    let folder = tempfile::tempdir().unwrap();
    let (unordered, terminated) = (order(1), order(1));
    {
        let (fleet, _) = fleet(folder.path(), "exec sleep 60");
        assert_eq!(fleet.see(&unordered).await, Sighting::Gone { stopped_at: None });
        fleet.end(&terminated).await;
        for order in [&unordered, &terminated] {
            assert!(matches!(fleet.provision(order).await, Err(FleetError::Refused(_))));
        }
    }
    let (fleet, sent) = fleet(folder.path(), "exec sleep 60");
    fleet.settle().await.unwrap();
    assert_eq!(sent.take(), []);
    for order in [&unordered, &terminated] {
        assert_eq!(fleet.see(order).await, Sighting::Gone { stopped_at: None });
        assert!(matches!(fleet.provision(order).await, Err(FleetError::Refused(_))), "in the next life, too");
    }
}

#[tokio::test]
async fn an_agent_that_ends_by_itself_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"pod=$(echo "$line" | sed 's/.*"work_dir":"\([^"]*\)".*/\1/'); mkdir "$pod/home"; touch "$pod/home/x"; chmod 0 "$pod/home"; echo done"#;
    let (fleet, sent) = fleet(folder.path(), script);
    let order = order(1);
    fleet.provision(&order).await.unwrap();
    assert!(fleet.gone(&order).await.is_some());
    assert_eq!(sent.take(), [reconcile(&order)]);
    assert!(matches!(fleet.provision(&order).await, Err(FleetError::Refused(_))), "it is made once");
    assert!(matches!(fleet.see(&order).await, Sighting::Gone { .. }));
    let pod = folder.path().join("pods").join(format!("{}-1", order.workload));
    assert_eq!(fs::read_to_string(pod.join("agent.log")).unwrap(), "done\n");
    assert!(!pod.join("home").exists());
}

#[tokio::test]
async fn gpus_are_the_lowest_free_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, _) = fleet(folder.path(), "exec sleep 60");
    let [first, second, third] = [order(2), order(1), order(2)];
    for one in [&first, &second] {
        fleet.provision(one).await.unwrap();
    }
    assert_eq!((fleet.gpus_of(&first).await, fleet.gpus_of(&second).await), (vec![0, 1], vec![2]));
    assert!(matches!(fleet.provision(&third).await, Err(FleetError::Capacity(_))));
    fleet.end(&first).await;
    fleet.gone(&first).await;
    fleet.provision(&third).await.unwrap();
    assert_eq!(fleet.gpus_of(&third).await, [0, 1]);
    assert!(matches!(fleet.provision(&order(5)).await, Err(FleetError::Refused(_))), "it never had so many");
    let elsewhere = Order { node: NodeId::new("gone"), ..order(1) };
    assert!(matches!(fleet.provision(&elsewhere).await, Err(FleetError::Refused(_))));
    let again = Order { attempt: 2, ..third.clone() };
    assert!(matches!(fleet.provision(&again).await, Err(FleetError::Capacity(_))), "one attempt at a time");
    fleet.stop(Duration::from_secs(5)).await;
    assert!(matches!(fleet.provision(&order(1)).await, Err(FleetError::Port(_))));
    assert_eq!(fleet.list().await.unwrap(), []);
}

#[tokio::test]
async fn the_next_life_ends_what_the_one_before_left() {
    let folder = tempfile::tempdir().unwrap();
    let (before, _) = fleet(folder.path(), "sleep 60 & exec sleep 60");
    let order = order(1);
    before.provision(&order).await.unwrap();
    // The mark can be seen once the child has become the script.
    let seen = std::cell::Cell::new(false);
    while !seen.get() {
        agent::end_leftovers(|mark| {
            seen.set(seen.get() || mark == order.workload.to_string());
            false
        });
    }
    let (after, sent) = fleet(folder.path(), "exec sleep 60");
    after.settle().await.unwrap();
    assert_eq!(sent.take(), [reconcile(&order)]);
    assert!(matches!(after.see(&order).await, Sighting::Gone { stopped_at: Some(_) }));
    assert!(matches!(after.provision(&order).await, Err(FleetError::Refused(_))));
    assert!(before.gone(&order).await.is_some(), "its process has really ended");
    let (third, sent) = fleet(folder.path(), "exec sleep 60");
    third.settle().await.unwrap();
    assert_eq!(sent.take(), [], "it is told of once");
}

#[tokio::test]
async fn unpacked_images_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    for root in ["pytorch/pytorch:2.1/usr", "r.io_5000_a_b_1/bin"] {
        fs::create_dir_all(images.join(root)).unwrap();
    }
    let (fleet, _) = fleet(folder.path(), "");
    for (image, root) in [
        ("pytorch/pytorch:2.1", Some("pytorch/pytorch:2.1")),
        ("r.io:5000/a/b:1", Some("r.io_5000_a_b_1")),
        ("pytorch", None),
        ("pytorch/pytorch:2.1/usr", None),
        ("../images/r.io_5000_a_b_1", None),
        ("absent", None),
    ] {
        assert_eq!(fleet.0.image_root(image), root.map(|root| images.join(root)), "{image}");
    }
}
