//! The plane on AWS.

use std::{pin::Pin, sync::Arc};

use aws_core::{KmsVault, Sdk, ServiceSecrets, SqsQueue, StateMachine, StsIdentity};
#[cfg(feature = "upstreams")]
use cloud::HttpUpstreams;
use cloud::{Absent, Clock, Fleet, Ids, LoginRules, OsIds, People, Ports, Providers, SystemClock, Upstreams, Volumes};
#[cfg(feature = "providers")]
use cloud::{HttpProviders, ProviderUrls};
use domain::names::RegionName;
use store::{Plane, Settings, Store};

use crate::{Config, StartError};

/// How often agents say how they are, in milliseconds: while a workload is launched, and later. Each report is a call that is paid for.
const SYNC_MS: (u64, u64) = (5_000, 60_000);

/// What only some functions have: those that launch, sweep and keep disks have fleets, what disks are made of, and the way to people's keys;
/// those that validate credentials have the way to other clouds.
#[derive(Clone)]
pub struct Outside {
    /// Runs workloads.
    pub fleet: Arc<dyn Fleet>,
    /// Keeps disks.
    pub volumes: Arc<dyn Volumes>,
    /// Knows people's public keys.
    pub people: Arc<dyn People>,
    /// Say whose keys to them are.
    pub providers: Arc<dyn Providers>,
    /// Serve models.
    pub upstreams: Arc<dyn Upstreams>,
}

/// The making of an [`Outside`].
pub type Setup = Pin<Box<dyn Future<Output = Result<Outside, StartError>> + Send>>;

impl Outside {
    /// Nothing of it, as for almost every function that answers HTTP.
    #[must_use]
    pub fn nothing() -> Self {
        let absent = Arc::new(Absent);
        Self {
            fleet: absent.clone(),
            volumes: absent.clone(),
            people: absent.clone(),
            providers: absent.clone(),
            upstreams: absent,
        }
    }
}

/// The way to the clouds that tenants store keys for, and nothing else.
#[cfg(feature = "providers")]
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "every setup is given what it may keep")]
pub fn other_clouds(_config: Config, sdk: Sdk) -> Setup {
    let asking = HttpProviders::new(ProviderUrls::default(), Arc::clone(sdk.clock()));
    Box::pin(async move {
        let providers = Arc::new(asking.map_err(|error| StartError::Outside(error.to_string()))?);
        Ok(Outside { providers, ..Outside::nothing() })
    })
}

/// The way to model servers, and nothing else.
#[cfg(feature = "upstreams")]
#[must_use]
pub fn model_servers(_config: Config, _sdk: Sdk) -> Setup {
    Box::pin(async { Ok(Outside { upstreams: Arc::new(HttpUpstreams::new()), ..Outside::nothing() }) })
}

/// The plane that a function works on. Making it asks nobody anything.
#[must_use]
pub fn plane(config: &Config, sdk: &Sdk, outside: Outside) -> Plane {
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock), Arc::new(OsIds));
    let store = Store::new(sdk.dynamodb(), &config.tables, Arc::clone(&clock), Arc::clone(&ids));
    let ports = Ports {
        queue: Arc::new(SqsQueue::new(sdk.sqs(), config.queues.clone(), Arc::clone(&ids))),
        launches: Arc::new(StateMachine::new(sdk.sfn(), &*config.state_machine)),
        fleet: outside.fleet,
        volumes: outside.volumes,
        identity: Arc::new(StsIdentity::new(sdk, sdk.connector(), login_rules(config))),
        vault: Arc::new(KmsVault::new(sdk.kms(), &*config.key, Arc::clone(&clock), Arc::clone(&ids))),
        people: outside.people,
        providers: outside.providers,
        upstreams: outside.upstreams,
        clock: Arc::clone(&clock),
        ids,
    };
    let settings = Settings {
        version: env!("CARGO_PKG_VERSION"),
        policy: config.policy.clone(),
        pools: config.pools.clone(),
        region: RegionName::parse(&config.aws.region).ok(),
        secrets: Arc::new(ServiceSecrets::new(sdk.secretsmanager(), (&*config.secret, &*config.origin_secret), clock)),
        sync_ms: SYNC_MS,
    };
    Plane { store, ports, settings: Arc::new(settings), memory: Arc::default() }
}

/// Who may log in here: whoever signs for this plane's host name and asks the STS of its own region.
fn login_rules(config: &Config) -> LoginRules {
    let (server_id, regions) = (config.host.clone(), vec![config.aws.region.clone()]);
    LoginRules { server_id, regions, temporary_only: !config.long_lived_keys }
}
