use std::{collections::BTreeMap, sync::Arc};

use domain::{
    Secret,
    credential::{CloudKeys, Fault as KeyFault, Provider, Silence, Verdict as Told},
    message::QueueName,
    names::GithubName,
};
use futures::{executor::block_on, future::BoxFuture};

use super::*;
use crate::{
    AwsCredentials, IdentityError, PeopleError, Ports, SealContext, TaskToken, VaultError,
    launches::Launch,
    sim::{Executor, Fault, FaultPlan, Outcome, Verdict},
};

/// One call of a port, and how often its effect can be seen in the world.
struct Site {
    label: &'static str,
    call: fn(Ports) -> BoxFuture<'static, Result<(), String>>,
    effects: fn(&World) -> usize,
    /// How often the effect is seen after it happened twice.
    doubled: usize,
}

fn said<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

fn token() -> TaskToken {
    TaskToken(Secret::new("step"))
}

fn launch() -> Launch {
    Launch { tenant: tenant(), workload: workload(1) }
}

fn writes() -> Vec<Site> {
    let seen = |world: &World| usize::from(world.completion(&token()).is_some());
    vec![
        Site {
            label: "fleet.provision",
            call: |ports| Box::pin(async move { said(ports.fleet.provision(&order(1, 1)).await) }),
            effects: |world| world.instances().len(),
            doubled: 1,
        },
        Site {
            label: "fleet.terminate",
            call: |ports| Box::pin(async move { said(ports.fleet.terminate(&attempt(1, 1)).await) }),
            // The tombstone shows in that a later order makes nothing.
            effects: |world| usize::from(block_on(world.ports().fleet.provision(&order(1, 1))).is_err()),
            doubled: 1,
        },
        Site {
            label: "queue.send",
            call: |ports| Box::pin(async move { said(ports.queue.send(&doorbell("local/h100")).await) }),
            effects: |world| world.messages(QueueName::Doorbells).len(),
            doubled: 2,
        },
        Site {
            label: "launches.start",
            call: |ports| Box::pin(async move { said(ports.launches.start(&launch()).await) }),
            effects: |world| world.launches().len(),
            doubled: 1,
        },
        Site {
            label: "launches.complete",
            call: |ports| Box::pin(async move { said(ports.launches.complete(&token()).await) }),
            effects: seen,
            doubled: 1,
        },
        Site {
            label: "launches.fail",
            call: |ports| Box::pin(async move { said(ports.launches.fail(&token(), "Job.Died", "it died").await) }),
            effects: seen,
            doubled: 1,
        },
    ]
}

/// What a fault does to a write: how often the effect is there afterwards, and what the caller hears; `None` when it is dead.
fn expected(fault: Fault, site: &Site) -> (usize, Option<Result<(), &'static str>>) {
    match fault {
        Fault::ErrorBefore => (0, Some(Err("unavailable: simulated error"))),
        Fault::ErrorAfter => (1, Some(Err("unavailable: simulated error"))),
        Fault::TimeoutBefore => (0, Some(Err("unavailable: simulated time-out"))),
        Fault::TimeoutLate if fault.concerns(site.label) => (0, Some(Err("unavailable: simulated time-out"))),
        Fault::TimeoutAfter | Fault::TimeoutLate => (1, Some(Err("unavailable: simulated time-out"))),
        Fault::Throttle(_) => (0, Some(Err("throttled"))),
        Fault::Twice => (site.doubled, Some(Ok(()))),
        Fault::StaleRead => (1, Some(Ok(()))),
        Fault::CrashBefore => (0, None),
        Fault::CrashAfter => (1, None),
    }
}

#[test]
fn every_fault_at_every_write() {
    for site in writes() {
        for fault in Fault::ALL {
            let world = World::new(1);
            world.follow(FaultPlan::Nth { n: 1, fault });
            let mut executor = Executor::new(&world);
            let task = executor.spawn(site.label, (site.call)(world.ports()));
            executor.run_until_stalled().unwrap();
            let heard = executor.take::<Result<(), String>>(task);
            let (effects, hears) = expected(fault, &site);
            world.follow(FaultPlan::None);
            let case = format!("{} {fault:?}", site.label);
            assert_eq!(heard, hears.map(|heard| heard.map_err(str::to_owned)), "{case}");
            assert_eq!(executor.outcome(task) == Some(Outcome::Crashed), hears.is_none(), "{case}");
            assert_eq!(world.log()[0].label, site.label);
            assert_eq!(world.log()[0].fault, Some(fault));
            assert_eq!((site.effects)(&world), effects, "{case}");
            // Repeated in peace, everything comes out well.
            let again = block_on((site.call)(world.ports()));
            assert!(again.is_ok() || site.label == "fleet.provision", "{case}: {again:?}");
        }
    }
}

#[test]
fn what_is_late_arrives() {
    let world = World::new(3);
    let late = BTreeMap::from([(1, Fault::TimeoutLate), (2, Fault::TimeoutLate), (4, Fault::TimeoutLate)]);
    world.follow(FaultPlan::At(late));
    let ports = world.ports();
    assert!(block_on(ports.fleet.provision(&order(1, 1))).is_err());
    assert!(block_on(ports.fleet.provision(&order(2, 1))).is_err());
    block_on(ports.fleet.terminate(&attempt(2, 1))).unwrap();
    assert!(block_on(ports.queue.send(&reconcile(1))).is_err());
    assert!(world.may_run(workload(1)) && world.live(workload(1)).is_empty());
    assert!(!world.may_run(workload(2)), "what was ended can no longer come to be");
    assert!(world.messages(QueueName::Reconciles).is_empty());
    world.move_to(later(&world, 120));
    assert_eq!(world.live(workload(1)).len(), 1);
    assert!(world.live(workload(2)).is_empty(), "a late order for what was ended makes nothing");
    assert_eq!(world.messages(QueueName::Reconciles).len(), 1);
}

#[test]
fn throttling_lasts_for_so_many_calls_of_its_kind() {
    let world = World::new(1);
    world.follow(FaultPlan::Nth { n: 2, fault: Fault::Throttle(3) });
    let ports = world.ports();
    let send = || block_on(ports.queue.send(&reconcile(1))).is_ok();
    assert!(send() && !send() && !send());
    assert!(block_on(ports.fleet.list()).is_ok());
    assert!(!send() && send() && send());
}

#[test]
fn lookups_fail_as_their_ports_say() {
    let world = World::new(1);
    let ports = world.ports();
    let context = SealContext { tenant: tenant(), row: "row".into(), purpose: "env" };
    let sealed = block_on(ports.vault.seal(&context, &Secret::new("hunter2"))).unwrap();
    assert_eq!(block_on(ports.vault.open(&context, &sealed)).unwrap().reveal(), "hunter2");
    let octocat = GithubName::parse("octocat").unwrap();
    world.publish(octocat.clone(), Vec::new());
    assert_eq!(block_on(ports.people.keys_of(&octocat)), Ok(Vec::new()));
    assert_eq!(block_on(ports.people.keys_of(&GithubName::parse("nobody").unwrap())), Err(PeopleError::Unknown));
    assert!(block_on(ports.queue.healthy()));
    let stored = |secret: &str| {
        let fields =
            [("access_key_id", "AKIA0123456789ABCDEF"), ("secret_access_key", secret), ("region", "us-west-2")];
        let fields = fields.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
        CloudKeys::read(Provider::Aws, fields).unwrap()
    };
    let account = "000000000000".to_owned();
    assert_eq!(block_on(ports.providers.check(&stored("good"))), Told::Valid { account });
    assert_eq!(block_on(ports.providers.check(&stored("wrong"))), Told::Invalid(KeyFault::WrongSecret));

    world.set_outage("", true);
    assert_eq!(block_on(ports.providers.check(&stored("good"))), Told::Unreachable(Silence::NoConnection));
    assert_eq!(block_on(ports.vault.open(&context, &sealed)), Err(VaultError::Unavailable));
    assert!(matches!(block_on(ports.people.keys_of(&octocat)), Err(PeopleError::Unavailable(_))));
    assert_eq!(
        block_on(ports.identity.caller(&credentials("ASIAIOSFODNN7EXAMPLE", "local:ada"))),
        Err(IdentityError::Unavailable)
    );
    assert!(!block_on(ports.queue.healthy()));
    world.set_outage("", false);
    assert!(block_on(ports.queue.healthy()));
}

fn credentials(id: &str, session_token: &str) -> AwsCredentials {
    let [access_key_id, secret_access_key, session_token] = [id, "secret", session_token].map(Secret::new);
    AwsCredentials { access_key_id, secret_access_key, session_token }
}

#[test]
fn well_formed_credentials_are_somebody() {
    let ports = World::new(1).ports();
    let session = |id, token| {
        let caller = block_on(ports.identity.caller(&credentials(id, token))).ok()?;
        Some(caller.arn.rsplit('/').next().unwrap_or_default().to_owned())
    };
    for (id, token, expected) in [
        ("ASIAIOSFODNN7EXAMPLE", "local:ada", Some("ada")),
        ("AKIAIOSFODNN7EXAMPLE", "anything", Some("local")),
        ("ASIAIOSFODNN7EXAMPLE", "local:a/b", None),
        ("ASIAIOSFODNN7EXAMPLE", "local:", None),
        ("asiaiosfodnn7example", "local:ada", None),
        ("ASIA", "local:ada", None),
        ("", "", None),
    ] {
        assert_eq!(session(id, token).as_deref(), expected, "{id} {token}");
    }
}

#[test]
fn the_store_is_a_fault_point_too() {
    for (action, fault, expected) in [
        ("TransactWriteItems", Fault::ErrorBefore, "FailBefore(Conflict)"),
        ("GetItem", Fault::ErrorBefore, "FailBefore(Unavailable)"),
        ("PutItem", Fault::Throttle(1), "FailBefore(Throttled)"),
        ("PutItem", Fault::TimeoutAfter, "FailAfter(Timeout)"),
        ("PutItem", Fault::TimeoutLate, "FailAfter(Timeout)"),
        ("PutItem", Fault::StaleRead, "Proceed"),
        ("Query", Fault::StaleRead, "Stale"),
        ("UpdateItem", Fault::Twice, "Twice"),
        // Nobody can die outside an executor.
        ("UpdateItem", Fault::CrashBefore, "FailBefore(Timeout)"),
        ("UpdateItem", Fault::CrashAfter, "FailAfter(Timeout)"),
    ] {
        let world = World::new(1);
        world.follow(FaultPlan::Nth { n: 1, fault });
        let verdict: Verdict = block_on(Arc::clone(&world.fault_point()).before(&format!("store.{action}")));
        assert_eq!(format!("{verdict:?}"), expected, "{action} {fault:?}");
    }
}
