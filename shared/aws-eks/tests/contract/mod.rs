//! What a fleet promises, against the API server of these tests.

mod connect;
mod disks;
mod fleet;
mod pods;
mod races;
mod trouble;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use aws_eks::{EksFleet, Settings};
use cloud::{Clock, Fleet as _, Order, PortError, Sighting};
use domain::{NodeId, PoolId, Secret, TenantId, Timestamp, WorkloadId, gpu::Gpu};
use http::{HeaderValue, header::AUTHORIZATION};
use kube::{Client, client::Body};
use tower::ServiceExt as _;

use crate::fake::{Fake, router};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// Time that passes when a test says so, or when somebody sleeps.
pub(crate) struct Time(Mutex<Timestamp>);

impl Time {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Timestamp::from_millis(1_768_933_800_000))))
    }

    fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.plus(time);
    }
}

#[async_trait]
impl Clock for Time {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, pause: Duration) {
        self.pass(pause);
        tokio::task::yield_now().await;
    }
}

fn workload(number: u8) -> WorkloadId {
    WorkloadId::new(Timestamp::from_millis(1_000), &[number; 32])
}

fn tenant() -> TenantId {
    TenantId::new("000000000000/Research & Co")
}

fn order(number: u8, attempt: u32) -> Order {
    Order {
        tenant: tenant(),
        workload: workload(number),
        attempt,
        node: NodeId::new("node-1"),
        pool: PoolId::new("eks/h100"),
        gpu: Gpu::H100,
        instance_type: "p5.48xlarge".to_owned(),
        life: Some(Duration::from_secs(3_600)),
        serves: false,
        use_spot: false,
        gpus: 4,
        image: "pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime".into(),
        disk: None,
        enroll_token: Secret::new(format!("token-{number}-{attempt}")),
    }
}

fn settings() -> Settings {
    Settings::new("jobs", "prod", "https://plane.example.com", "registry.example.com/agent:1")
}

/// The name of an attempt's pod.
fn name(number: u8, attempt: u32) -> String {
    format!("sw-{}-{attempt}", workload(number).to_string().replace('-', ""))
}

/// A client that needs no socket, known to the server by this name.
fn client(fake: &Fake, who: &'static str) -> Client {
    let router = router(fake.clone());
    let service = tower::service_fn(move |mut request: http::Request<Body>| {
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(who));
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    Client::new(service, "jobs")
}

/// A cluster and a fleet in it.
struct World {
    clock: Arc<Time>,
    fake: Fake,
    fleet: EksFleet,
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let clock = Time::new();
        let fake = Fake::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let fleet = EksFleet::new(&client(&fake, "fleet"), settings, Arc::clone(&clock) as Arc<dyn Clock>);
        Self { clock, fake, fleet }
    }

    async fn see(&self, number: u8, attempt: u32) -> Sighting {
        self.fleet.describe(&order(number, attempt).of()).await.unwrap()
    }

    async fn end(&self, number: u8, attempt: u32) -> Result<(), PortError> {
        self.fleet.terminate(&order(number, attempt).of()).await
    }

    async fn listed(&self) -> usize {
        self.fleet.list().await.unwrap().len()
    }

    /// The node of an attempt says that it has finished.
    fn finish(&self, number: u8, attempt: u32) -> Timestamp {
        let at = Timestamp::from_seconds(u32::try_from(self.clock.now().seconds()).unwrap());
        self.fake.act(|state| state.finish(&name(number, attempt), "Succeeded", at));
        at
    }
}
