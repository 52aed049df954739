//! A plane over the simulated cloud and an embedded store in memory.

pub(crate) mod bless;
pub(crate) mod drive;
pub(crate) mod grants;
pub(crate) mod operations;
pub(crate) mod wire;

use std::sync::Arc;

use cloud::{FixedSecrets, InstallationSecrets, Secrets, sim::World};
use domain::{
    PoolId, SecretHash, TenantId,
    gpu::Gpu,
    identity::{LoginRule, LoginTable},
    policy::Policy,
};
use store::{Plane, Pool, Settings, Store, embedded::Embedded};
use web::serve::{Front, Hosts};

/// The admin's token in every test.
pub(crate) const ADMIN: &str = "an admin token that is long enough for anybody";

/// The service token in every test.
pub(crate) const SERVICE: &str = "a service token that is long enough for anybody";

/// What tests run with: two nodes with eight H100s, one with four A10Gs.
pub(crate) fn settings() -> Settings {
    let pool = |gpu: Gpu, max_per_node| Pool {
        id: PoolId::new(format!("local/{gpu}")),
        gpu,
        max_per_node,
        nodes: 0,
        gpu_hour_usd: None,
    };
    Settings {
        version: VERSION,
        policy: Policy::default(),
        pools: vec![pool(Gpu::A10g, 4), pool(Gpu::H100, 8)],
        region: None,
        secrets: secrets(vec![rule("SSOCloudDevGpuReservation", "default", true), rule("Robot", "robots", false)]),
        sync_ms: (200, 2_000),
    }
}

/// A rule that lets a role of the simulated account log in.
pub(crate) fn rule(role: &str, tenant: &str, sessions_are_people: bool) -> LoginRule {
    let (account, role) = ("000000000000".to_owned(), role.to_owned());
    LoginRule { account, role, tenant: TenantId::new(tenant), sessions_are_people }
}

/// The installation's secrets, with this login table.
pub(crate) fn secrets(login: Vec<LoginRule>) -> Arc<dyn Secrets> {
    let (admin_token, login) = (SecretHash::of(ADMIN.as_bytes()), LoginTable(login));
    Arc::new(FixedSecrets(Arc::new(InstallationSecrets {
        admin_token,
        login,
        origin: None,
        jwt: None,
        service_token: Some(SecretHash::of(SERVICE.as_bytes())),
    })))
}

/// A plane over `world`, whose store is in memory and a fault point of `world`, and the store's database.
pub(crate) async fn plane(world: &World) -> (Plane, Embedded) {
    let embedded = Embedded::in_memory().expect("a database in memory").with_faults(world.fault_point());
    let ports = world.ports();
    let store = Store::new(embedded.client(), "", ports.clock.clone(), ports.ids.clone());
    store.create_tables().await.expect("tables");
    for (pool, node, gpus) in [("local/h100", "h100-1", 8), ("local/h100", "h100-2", 8), ("local/a10g", "a10g-1", 4)] {
        store.enter_node(&PoolId::new(pool), &domain::NodeId::new(node), gpus).await.expect("a node");
    }
    (Plane { store, ports, settings: Arc::new(settings()), memory: Arc::default() }, embedded)
}

/// What the plane calls itself.
const VERSION: &str = "0.0.0-test";

/// Everything that answers HTTP.
pub(crate) fn router(plane: &Plane) -> axum::Router {
    // The routes and their document are the same for every plane, and take longer to make than a whole plane does.
    thread_local! {
        static MOUNTED: (axum::Router<Plane>, web::Document) = web::serve::mount(VERSION, slipway::surfaces());
    }
    web::serve::router(
        plane.clone(),
        MOUNTED.with(Clone::clone),
        Front { hosts: Hosts::Loopback, cors_origins: vec!["https://console.example".into()] },
    )
}
