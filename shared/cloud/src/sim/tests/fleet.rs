use std::time::Duration;

use domain::NodeId;
use futures::executor::block_on;

use super::*;
use crate::{
    FleetError, Sighting,
    sim::{Fault, FaultPlan, Life},
};

const SECOND: Duration = Duration::from_secs(1);

/// A world where an instance boots in 10 s, stops in 5 s and is listed 60 s late.
fn world() -> World {
    let world = World::new(5);
    world.set(|settings| {
        settings.boot = 10 * SECOND..=10 * SECOND;
        settings.stop = 5 * SECOND..=5 * SECOND;
        settings.list_lag = 60 * SECOND..=60 * SECOND;
    });
    world
}

fn see(world: &World, number: u32) -> Sighting {
    block_on(world.ports().fleet.describe(&attempt(1, number))).unwrap()
}

fn listed(world: &World) -> usize {
    block_on(world.ports().fleet.list()).unwrap().len()
}

#[test]
fn an_instance_lives() {
    let world = world();
    let ports = world.ports();
    assert_eq!(see(&world, 1), Sighting::Running, "absence alone is no end");
    let made = block_on(ports.fleet.provision(&order(1, 1))).unwrap();
    assert_eq!(block_on(ports.fleet.provision(&order(1, 1))), Ok(made.clone()), "asked twice, made once");
    let (start, life) = (world.now(), |world: &World| world.instances()[0].life(world.now()));
    assert_eq!((life(&world), listed(&world), world.intervals(workload(1)).len()), (Life::Requested, 0, 0));
    world.move_to(later(&world, 10));
    assert_eq!((life(&world), listed(&world), world.intervals(workload(1)).len()), (Life::Running, 0, 1));
    world.move_to(later(&world, 50));
    assert_eq!((listed(&world), see(&world, 1)), (1, Sighting::Running));
    block_on(ports.fleet.terminate(&attempt(1, 1))).unwrap();
    assert_eq!((life(&world), see(&world, 1)), (Life::Running, Sighting::Running), "told to end is not ended");
    world.move_to(later(&world, 5));
    let end = start.plus(65 * SECOND);
    assert_eq!((life(&world), see(&world, 1)), (Life::Stopped, Sighting::Gone { stopped_at: Some(end) }));
    assert_eq!(listed(&world), 1, "the list is late about ends as well");
    world.move_to(later(&world, 60));
    assert_eq!(listed(&world), 0);
    let ran = &world.intervals(workload(1))[0];
    assert_eq!((ran.from, ran.to, ran.gpus), (start.plus(10 * SECOND), Some(end), 4));
    assert!(matches!(block_on(ports.fleet.provision(&order(1, 1))), Err(FleetError::Refused(_))));
}

#[test]
fn what_was_never_made_is_gone_once_it_cannot_be() {
    let world = world();
    block_on(world.ports().fleet.terminate(&attempt(1, 1))).unwrap();
    assert_eq!(see(&world, 1), Sighting::Gone { stopped_at: None });
    assert_eq!(see(&world, 2), Sighting::Running, "the next attempt is another matter");
    assert!(matches!(block_on(world.ports().fleet.provision(&order(1, 1))), Err(FleetError::Refused(_))));
    assert!(world.instances().is_empty());
}

#[test]
fn capacity_runs_out_and_comes_back() {
    let world = world();
    world.set(|settings| settings.capacity = Some(8));
    let ports = world.ports();
    let ask = |number| block_on(ports.fleet.provision(&order(number, 1)));
    assert!(ask(1).is_ok() && ask(2).is_ok());
    assert!(matches!(ask(3), Err(FleetError::Capacity(_))));
    assert!(ask(1).is_ok(), "what is there already needs no room");
    assert!(world.stop_instance(&world.live(workload(1))[0].id));
    assert!(ask(3).is_ok());
    world.set(|settings| settings.refuses = Some("no such type".into()));
    assert_eq!(ask(4), Err(FleetError::Refused("no such type".into())));
}

#[test]
fn a_changed_order_is_refused() {
    let ports = world().ports();
    block_on(ports.fleet.provision(&order(1, 1))).unwrap();
    let changed = crate::Order { enroll_token: domain::Secret::new("another"), ..order(1, 1) };
    assert!(matches!(block_on(ports.fleet.provision(&changed)), Err(FleetError::Refused(_))));
}

#[test]
fn stale_looks_see_the_past() {
    let world = world();
    let ports = world.ports();
    block_on(ports.fleet.provision(&order(1, 1))).unwrap();
    world.move_to(later(&world, 100));
    block_on(ports.fleet.terminate(&attempt(1, 1))).unwrap();
    world.move_to(later(&world, 6));
    world.follow(FaultPlan::Nth { n: world.calls() + 1, fault: Fault::StaleRead });
    assert_eq!(see(&world, 1), Sighting::Running);
    assert!(matches!(see(&world, 1), Sighting::Gone { stopped_at: Some(_) }));
}

#[test]
fn claims_are_counted_per_node_over_time() {
    let world = world();
    let ports = world.ports();
    let node = NodeId::new("node-1");
    block_on(ports.fleet.provision(&order(1, 1))).unwrap();
    let first = world.now();
    world.move_to(later(&world, 20));
    block_on(ports.fleet.provision(&order(2, 1))).unwrap();
    let both = world.now();
    world.stop_instance(&world.live(workload(1))[0].id);
    world.move_to(later(&world, 20));
    block_on(ports.fleet.provision(&order(3, 1))).unwrap();
    let claims = [first, both.minus(SECOND), both, world.now()].map(|at| world.gpus_claimed(at).get(&node).copied());
    // At the very moment that one stops, it claims nothing any more.
    assert_eq!(claims, [Some(4), Some(4), Some(4), Some(8)]);
    assert_eq!(world.most_gpus_claimed().get(&node), Some(&(8, world.now())));
    world.stop_instance(&world.live(workload(3))[0].id);
    assert!(world.intervals(workload(3)).is_empty(), "it ended before it ran");
}
