//! What carries a secret leaves nothing in the log, at the level at which the SDK prints everything.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use cloud::{Identity, Launches, LoginRules, OsIds, SealContext, TaskToken, Vault};
use domain::{Secret, TenantId};
use tracing::{Level, subscriber::set_default};

use super::{KEY, KEY_ID, TOKEN, TestClock, credentials, presigned::sign, sdk};
use crate::{
    KmsVault, ServiceSecrets, StateMachine, StsIdentity,
    replay::{Answer, Replay},
};

/// A log that is kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_not_logged() {
    let log = Log::default();
    let kept = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(move || kept.clone());
    let guard = set_default(subscriber.finish());
    let secret = "hunter2-hunter2-hunter2";
    let replay = Replay::new((0..8).map(|_| Answer::ok(format!("{{\"SecretString\": \"{secret}\"}}"))));
    let (sdk, clock) = (sdk(&replay), TestClock::new());
    let theirs = credentials(KEY_ID, TOKEN);

    let presigned = sign(&theirs, "eu-central-1", "us");
    let rules = LoginRules { server_id: "us".into(), regions: vec!["eu-central-1".into()], temporary_only: true };
    let sts = StsIdentity::new(&sdk, SharedHttpConnector::new(replay.clone()), rules);
    drop(sts.caller(&theirs).await);
    drop(sts.presigned_caller(&presigned).await);
    drop(StateMachine::new(sdk.sfn(), "arn").complete(&TaskToken(Secret::new(secret))).await);
    drop(ServiceSecrets::new(sdk.secretsmanager(), ("id", "origin"), clock.clone()).current().await);
    let context = SealContext { tenant: TenantId::new("t"), row: "r".into(), purpose: "p" };
    drop(KmsVault::new(sdk.kms(), "key", clock, Arc::new(OsIds)).seal(&context, &Secret::new(secret)).await);
    assert_eq!(replay.asked().len(), 6, "each was really asked, and Secrets Manager for two");
    let quiet = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();

    // The log would show it if it were there: a call that carries no secret is logged in full.
    drop(sdk.sfn().send_task_success().task_token(secret).output("{}").send().await);
    drop(guard);
    let loud = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(loud.contains(secret), "nothing was logged at all");
    for secret in [secret, KEY, TOKEN, "IQoJb3JpZ2luX2VjEXAMPLE", presigned.signature.reveal()] {
        assert!(!quiet.contains(secret), "{secret} is in the log:\n{quiet}");
    }
}
