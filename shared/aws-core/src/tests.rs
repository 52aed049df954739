//! The contracts: what goes over the wire, and what each recorded answer becomes.

mod identity;
mod launches;
mod presigned;
mod queue;
mod sdk;
mod secrets;
mod silence;
mod vault;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU8, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cloud::{AwsCredentials, Clock, Ids};
use domain::{Secret, Timestamp};

use crate::{Environment, Sdk, replay::Replay};

/// 2026-01-20T18:30:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_768_933_800);

/// A clock that stands still but when somebody waits: then the wait is over at once.
struct TestClock(AtomicI64);

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(NOW.millis())))
    }

    fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, _pause: Duration) {}
}

/// Ids that count.
#[derive(Default)]
struct TestIds(AtomicU8);

impl Ids for TestIds {
    fn random(&self) -> [u8; 32] {
        [self.0.fetch_add(1, Ordering::SeqCst); 32]
    }
}

const KEY_ID: &str = "ASIAIOSFODNN7EXAMPLE";
const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE//+token==";

fn credentials(id: &str, token: &str) -> AwsCredentials {
    AwsCredentials {
        access_key_id: Secret::new(id),
        secret_access_key: Secret::new(KEY),
        session_token: Secret::new(token),
    }
}

fn environment() -> Environment {
    let credentials = AwsCredentials {
        access_key_id: Secret::new("ASIAOURSOURSOURSOURS"),
        secret_access_key: Secret::new("ours"),
        session_token: Secret::new("our-token"),
    };
    Environment { region: "eu-central-1".into(), credentials, endpoint: None }
}

fn sdk(replay: &Replay) -> Sdk {
    sdk_at(replay, TestClock::new())
}

fn sdk_at(replay: &Replay, clock: Arc<dyn Clock>) -> Sdk {
    Sdk::over(environment(), replay.clone(), clock)
}
