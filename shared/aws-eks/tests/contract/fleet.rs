//! The properties that every fleet has; the simulated one has the same tests.

use std::collections::BTreeSet;

use cloud::{Fleet as _, FleetError, Order, Sighting, Tagged};
use domain::{InstanceId, Secret};
use serde_json::json;

use super::*;
use crate::fake::Scheduler;

/// What may differ, and how.
type Change = (&'static str, fn(&mut Order));

fn is_refused<T>(answer: &Result<T, FleetError>) -> bool {
    matches!(answer, Err(FleetError::Refused(_)))
}

#[tokio::test]
async fn an_attempt_lives() {
    let world = World::new();
    let (fake, fleet) = (&world.fake, &world.fleet);
    assert_eq!(world.see(1, 1).await, Sighting::Running, "absence alone is no end");
    let made = fleet.provision(&order(1, 1)).await.unwrap();
    assert_eq!((made.instance.as_str(), made.address.host.as_str()), (name(1, 1).as_str(), "10.0.7.7"));
    assert!(made.address.ssh_port >= 30_000 && made.address.jupyter_port == 8888);
    assert_eq!(fleet.provision(&order(1, 1)).await, Ok(made), "asked twice, made once");
    for plural in ["pods", "secrets", "services"] {
        assert_eq!(fake.names(plural), [name(1, 1)], "{plural}");
    }
    assert_eq!((fake.bound(), world.listed().await, world.see(1, 1).await), (1, 1, Sighting::Running));
    world.end(1, 1).await.unwrap();
    assert_eq!((world.see(1, 1).await, world.listed().await), (Sighting::Running, 1), "told to end is not ended");
    assert!(is_refused(&fleet.provision(&order(1, 1)).await));
    world.clock.pass(20 * SECOND);
    let stopped_at = Some(world.finish(1, 1));
    assert_eq!(world.see(1, 1).await, Sighting::Gone { stopped_at });
    assert_eq!((fake.names("pods").len(), world.listed().await), (1, 0), "kept until its end is written down");
    for _again in 0..2 {
        world.end(1, 1).await.unwrap();
        assert_eq!(world.see(1, 1).await, Sighting::Gone { stopped_at });
    }
    for plural in ["pods", "secrets", "services"] {
        assert!(fake.names(plural).is_empty(), "{plural}");
    }
    assert!(is_refused(&fleet.provision(&order(1, 1)).await));
    assert_eq!((fake.names("pods").len(), fake.names("secrets").len(), fake.bound()), (0, 0, 1));
}

#[tokio::test]
async fn what_was_never_made_is_gone_once_it_cannot_be() {
    let world = World::new();
    for _again in 0..2 {
        world.end(1, 1).await.unwrap();
        assert_eq!(world.see(1, 1).await, Sighting::Gone { stopped_at: None });
    }
    assert_eq!(world.see(1, 2).await, Sighting::Running, "the next attempt is another matter");
    assert!(is_refused(&world.fleet.provision(&order(1, 1)).await));
    assert_eq!((world.fake.names("pods").len(), world.fake.bound()), (0, 0));
    assert!(world.fleet.provision(&order(1, 2)).await.is_ok());
}

#[tokio::test]
async fn what_ends_by_itself_is_gone_with_its_time() {
    let world = World::new();
    world.fleet.provision(&order(1, 1)).await.unwrap();
    world.clock.pass(HOUR);
    let stopped_at = Some(world.finish(1, 1));
    assert_eq!((world.see(1, 1).await, world.listed().await), (Sighting::Gone { stopped_at }, 0));
    assert!(is_refused(&world.fleet.provision(&order(1, 1)).await), "the agent that a launch would wait for has gone");
    // Somebody drains its node: the pod is deleted, and its end is still known.
    let key = ("pods", "jobs".to_owned(), name(1, 1));
    let now = world.clock.now();
    world.fake.act(|state| drop(state.store.delete(&key, &json!({}), now).unwrap()));
    assert_eq!(world.see(1, 1).await, Sighting::Gone { stopped_at });
    world.end(1, 1).await.unwrap();
    assert_eq!((world.see(1, 1).await, world.fake.names("pods").len()), (Sighting::Gone { stopped_at }, 0));
}

#[tokio::test]
async fn capacity_runs_out_and_comes_back() {
    let world = World::new();
    world.fake.act(|state| state.store.quota = Some(8));
    let ask = async |number| world.fleet.provision(&order(number, 1)).await;
    assert!(ask(1).await.is_ok() && ask(2).await.is_ok());
    assert!(matches!(ask(3).await, Err(FleetError::Capacity(_))));
    assert_eq!(world.fake.names("secrets").len(), 2, "what has no room leaves nothing behind");
    assert!(ask(1).await.is_ok(), "what is there already needs no room");
    world.finish(1, 1);
    assert!(ask(3).await.is_ok());
}

#[tokio::test]
async fn a_pod_that_no_node_takes_waits_and_may_come_to_run() {
    let world = World::new();
    world.fake.schedule(Scheduler::NoRoom);
    let began = world.clock.now();
    let first = world.fleet.provision(&order(1, 1)).await;
    assert!(
        matches!(&first, Err(FleetError::Capacity(why)) if why.contains("Insufficient nvidia.com/gpu")),
        "{first:?}"
    );
    let patience = world.clock.now().since(began);
    assert!(patience >= settings().patience, "it was given a moment");
    assert_eq!(world.see(1, 1).await, Sighting::Running, "it may come to run");
    world.clock.pass(settings().unschedulable_after);
    let began = world.clock.now();
    assert!(matches!(world.fleet.provision(&order(1, 1)).await, Err(FleetError::Capacity(_))));
    assert_eq!(world.clock.now(), began, "by now it is known that there is no room");
    world.fake.schedule(Scheduler::Eager);
    assert!(world.fleet.provision(&order(1, 1)).await.is_ok());
    assert_eq!(world.fake.bound(), 1);
    world.fake.schedule(Scheduler::Asleep);
    assert!(matches!(world.fleet.provision(&order(2, 1)).await, Err(FleetError::Capacity(_))));
    world.end(2, 1).await.unwrap();
    assert_eq!(world.see(2, 1).await, Sighting::Gone { stopped_at: None }, "no node ever had it");
    assert_eq!(world.fake.names("pods"), [name(1, 1)]);
}

#[tokio::test]
async fn a_changed_order_is_refused() {
    let world = World::new();
    world.fleet.provision(&order(1, 1)).await.unwrap();
    let changes: [Change; 5] = [
        ("token", |order| order.enroll_token = Secret::new("another")),
        ("image", |order| order.image = "another".into()),
        ("gpus", |order| order.gpus = 8),
        ("type", |order| order.instance_type = "p5e.48xlarge".into()),
        ("node", |order| order.node = domain::NodeId::new("node-2")),
    ];
    for (what, change) in changes {
        let mut changed = order(1, 1);
        change(&mut changed);
        assert!(is_refused(&world.fleet.provision(&changed).await), "{what}");
    }
    let extended = Order { life: Some(2 * HOUR), ..order(1, 1) };
    assert!(world.fleet.provision(&extended).await.is_ok(), "its owner may extend it while it is launched");
}

#[tokio::test]
async fn the_list_shows_tags_of_this_deployment_in_full() {
    let world = World::new();
    let mut other = settings();
    other.deployment = "staging".to_owned();
    let staging = EksFleet::new(&client(&world.fake, "staging"), other, Arc::clone(&world.clock) as Arc<dyn Clock>);
    staging.provision(&order(9, 1)).await.unwrap();
    for (number, attempt) in [(1, 1), (1, 2), (2, 1)] {
        world.fleet.provision(&order(number, attempt)).await.unwrap();
    }
    let tagged = |number, attempt| Tagged {
        instance: InstanceId::new(name(number, attempt)),
        attempt: order(number, attempt).of(),
    };
    assert_eq!(world.fleet.list().await, Ok(vec![tagged(1, 1), tagged(1, 2), tagged(2, 1)]));
    assert_eq!(staging.list().await, Ok(vec![tagged(9, 1)]));
    // More than a page.
    let like = world.fake.objects("pods")[0].clone();
    world.fake.act(|state| {
        let resource = crate::fake::resource("pods");
        for number in 0..1_200 {
            let mut more = like.clone();
            more["metadata"]["name"] = json!(format!("sw-more-{number}"));
            more["metadata"]["resourceVersion"] = json!(null);
            state.store.create(resource, "jobs", more, Timestamp::default()).unwrap();
        }
    });
    assert_eq!(world.listed().await, 1_203);
}

#[tokio::test]
async fn a_strangers_pod_is_left_alone() {
    let world = World::new();
    let staging = {
        let mut other = settings();
        other.deployment = "staging".to_owned();
        EksFleet::new(&client(&world.fake, "staging"), other, Arc::clone(&world.clock) as Arc<dyn Clock>)
    };
    world.fleet.provision(&order(1, 1)).await.unwrap();
    assert!(matches!(staging.provision(&order(1, 1)).await, Err(FleetError::Port(_))));
    assert!(staging.describe(&order(1, 1).of()).await.is_err());
    assert!(staging.terminate(&order(1, 1).of()).await.is_err());
    assert!(world.fake.objects("pods")[0]["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn the_sweep_removes_what_nobody_needs_any_more() {
    let world = World::new();
    for number in 1..=4 {
        world.fleet.provision(&order(number, 1)).await.unwrap();
    }
    world.end(1, 1).await.unwrap();
    world.end(5, 1).await.unwrap();
    let tombs = async || {
        world.fleet.list().await.unwrap();
        world.fake.names("configmaps").len()
    };
    let pods = || world.fake.names("pods").len();
    let ended = [world.finish(1, 1), world.finish(2, 1)];
    assert_eq!((pods(), tombs().await, pods()), (4, 2, 3), "what was told to end and has is let go");
    assert_eq!(world.see(1, 1).await, Sighting::Gone { stopped_at: Some(ended[0]) });
    world.clock.pass(23 * HOUR);
    assert_eq!((tombs().await, pods()), (2, 3));
    world.clock.pass(HOUR);
    // The tombstones are a day old; and what ended by itself a day ago gets one and goes.
    assert_eq!((tombs().await, pods()), (1, 2));
    assert_eq!(world.see(2, 1).await, Sighting::Gone { stopped_at: Some(ended[1]) });
    world.clock.pass(24 * HOUR);
    assert_eq!((tombs().await, pods(), world.listed().await), (0, 2, 2));
}

#[tokio::test]
async fn the_fleet_asks_for_no_more_than_its_role_allows() {
    let world = World::new();
    world.fleet.provision(&order(1, 1)).await.unwrap();
    world.fleet.provision(&order(1, 1)).await.unwrap();
    world.see(1, 1).await;
    world.end(1, 1).await.unwrap();
    world.finish(1, 1);
    world.end(1, 1).await.unwrap();
    world.clock.pass(25 * HOUR);
    world.fleet.list().await.unwrap();
    let asked: BTreeSet<_> = world.fake.state().asked.iter().map(|(_, verb, what)| format!("{what} {verb}")).collect();
    let rights = [
        "configmaps create",
        "configmaps delete",
        "configmaps get",
        "configmaps list",
        "configmaps patch",
        "pods create",
        "pods delete",
        "pods get",
        "pods list",
        "pods patch",
        "secrets create",
        "services create",
        "services get",
    ];
    assert_eq!(asked.iter().map(String::as_str).collect::<Vec<_>>(), rights);
}
