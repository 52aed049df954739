//! A plane whose world is simulated, for the tests of what stands on one.

use std::sync::Arc;

use cloud::{FixedSecrets, InstallationSecrets, sim::World};
use domain::{Secret, SecretHash, identity::LoginTable, policy::Policy};

use super::Embedded;
use crate::{Plane, Settings, Store};

/// What a front door adds to each request, where there is one.
pub const ORIGIN: &str = "the edge's own";

/// A store in `database`, whose clock and ids are `world`'s.
#[must_use]
pub fn store(world: &World, database: &Embedded) -> Store {
    let ports = world.ports();
    Store::new(database.client(), "", ports.clock, ports.ids)
}

/// A plane over `world` and `store` with no pools, behind a front door, where nobody may log in and the admin's token is `admin`.
#[must_use]
pub fn plane(world: &World, store: Store) -> Plane {
    let secrets = InstallationSecrets {
        admin_token: SecretHash::of(b"admin"),
        login: LoginTable::default(),
        origin: Some(Secret::new(ORIGIN)),
        jwt: None,
        service_token: None,
    };
    let secrets = Arc::new(FixedSecrets(Arc::new(secrets)));
    let settings =
        Settings { version: "0", policy: Policy::default(), pools: Vec::new(), region: None, secrets, sync_ms: (1, 1) };
    Plane { store, ports: world.ports(), settings: Arc::new(settings), memory: Arc::default() }
}
