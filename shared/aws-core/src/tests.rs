//! The contracts: what goes over the wire, and what each recorded answer becomes.

mod identity;
mod launches;
mod presigned;
mod queue;
mod sdk;
mod secrets;
mod silence;
mod vault;

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use cloud::{AwsCredentials, Clock, Ids};
use domain::Secret;

use crate::{
    Environment, Sdk,
    replay::{NOW, Replay, TestClock},
};

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
