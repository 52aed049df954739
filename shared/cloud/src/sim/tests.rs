//! What each fault does at each port, and that a seed decides everything else.

mod executor;
mod faults;
mod fleet;
mod fleets;
mod queues;
mod volumes;

use std::time::Duration;

use domain::{NodeId, PoolId, Secret, TenantId, Timestamp, WorkloadId, gpu::Gpu, message::Message};

use super::World;
use crate::{Attempt, Order};

fn workload(number: u8) -> WorkloadId {
    WorkloadId::new(Timestamp::from_millis(1_000), &[number; 32])
}

fn tenant() -> TenantId {
    TenantId::new("research")
}

fn order(number: u8, attempt: u32) -> Order {
    Order {
        tenant: tenant(),
        workload: workload(number),
        attempt,
        node: NodeId::new("node-1"),
        pool: PoolId::new("local/h100"),
        gpu: Gpu::H100,
        instance_type: "p5.48xlarge".to_owned(),
        life: Some(Duration::from_secs(3_600)),
        serves: false,
        use_spot: false,
        gpus: 4,
        image: "pytorch".into(),
        disk: None,
        enroll_token: Secret::new(format!("token-{number}-{attempt}")),
    }
}

fn attempt(number: u8, attempt: u32) -> Attempt {
    order(number, attempt).of()
}

fn doorbell(pool: &str) -> Message {
    Message::Doorbell { pool: PoolId::new(pool) }
}

fn reconcile(number: u8) -> Message {
    Message::Reconcile { tenant: tenant(), workload: workload(number) }
}

fn later(world: &World, seconds: u64) -> Timestamp {
    world.now().plus(std::time::Duration::from_secs(seconds))
}
