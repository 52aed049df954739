//! Several fleets as one, each of them simulated.

use std::sync::Arc;

use domain::PoolId;
use futures::executor::block_on;

use super::{World, later, order};
use crate::{Attempt, Fleet, FleetError, Fleets, Order, PortError, Sighting};

/// Two fleets, `one` and `two`.
fn both() -> (World, World, Fleets) {
    let (one, two) = (World::new(1), World::new(2));
    let fleets = Fleets::new().with("one", one.ports().fleet).with("two", two.ports().fleet);
    (one, two, fleets)
}

fn at(pool: &str) -> Order {
    Order { pool: PoolId::new(pool), ..order(1, 1) }
}

/// A pool's fleet alone is asked.
fn check(pool: &str, made: (usize, usize)) {
    let (one, two, fleets) = both();
    let order = at(pool);
    drop(block_on(fleets.provision(&order)));
    assert_eq!((one.instances().len(), two.instances().len()), made, "{pool}");
    let known = made != (0, 0);
    assert_eq!(block_on(fleets.describe(&order.of())).is_ok(), known, "{pool}");
    assert_eq!(block_on(fleets.terminate(&order.of())).is_ok(), known, "{pool}");
    assert_eq!(block_on(fleets.list()).map(|all| all.len()), Ok(0), "{pool}: what was just made is not listed yet");
}

#[test]
fn a_pools_name_says_whose_it_is() {
    check("one/h100", (1, 0));
    check("two/h100", (0, 1));
    check("two", (0, 1));
    check("three/h100", (0, 0));
    check("oneself/h100", (0, 0));
}

#[test]
fn a_fleet_that_is_missing_answers_for_nothing() {
    let fleets = both().2;
    assert!(matches!(block_on(fleets.provision(&at("three/h100"))), Err(FleetError::Refused(_))));
    let attempt: Attempt = at("three/h100").of();
    let seen: Result<Sighting, PortError> = block_on(fleets.describe(&attempt));
    assert!(matches!(seen, Err(PortError::Unavailable(_))), "{seen:?}");
}

#[test]
fn an_outage_of_one_hides_nothing_of_the_others() {
    let (one, two, fleets) = both();
    for pool in ["one/h100", "two/h100"] {
        block_on(fleets.provision(&at(pool))).unwrap();
    }
    for world in [&one, &two] {
        world.move_to(later(world, 600));
    }
    let listed =
        || block_on(fleets.list()).map(|all| all.iter().map(|one| one.attempt.pool.to_string()).collect::<Vec<_>>());
    assert_eq!(listed(), Ok(vec!["one/h100".to_owned(), "two/h100".to_owned()]));
    one.set_outage("fleet", true);
    assert_eq!(listed(), Ok(vec!["two/h100".to_owned()]));
    two.set_outage("fleet", true);
    assert!(listed().is_err());
    assert_eq!(block_on(Arc::new(Fleets::new()).list()), Ok(Vec::new()));
}
