//! Orders and ends of one attempt at once, in every order of their requests, with a scheduler that binds at every chance.

use cloud::{Fleet as _, FleetError, Sighting};

use super::*;
use crate::fake::Scheduler;

/// A fleet whose requests have turns under this name.
fn fleet(world: &World, who: &'static str) -> EksFleet {
    let mut settings = settings();
    settings.patience = Duration::ZERO;
    EksFleet::new(&client(&world.fake, who), settings, Arc::clone(&world.clock) as Arc<dyn Clock>)
}

/// Runs orders, an end and a look at once, with requests served in this order; who is told to come again does. What comes out:
/// - once an end was answered, no node gets a pod any more, whatever is still under way;
/// - once `describe` says that it is gone, the same;
/// - when the nodes have ended what they were told to end, it is gone, nothing is left, and a late order makes nothing.
async fn run(schedule: Vec<&'static str>, orders: &[&'static str], scheduler: Scheduler) {
    let world = World::new();
    world.fake.schedule(scheduler);
    world.fake.turns().set(schedule.iter().copied());
    let ordering = async |who: &'static str| {
        let fleet = fleet(&world, who);
        let mut answer = fleet.provision(&order(1, 1)).await;
        // A pod that goes while it is looked at is a reason to come again, as a launch does.
        for _again in 0..3 {
            if matches!(answer, Err(FleetError::Port(_))) {
                answer = fleet.provision(&order(1, 1)).await;
            }
        }
        world.fake.turns().done(who);
        // Who has just made a pod may be told so, and who comes too late is refused.
        assert!(matches!(answer, Ok(_) | Err(FleetError::Refused(_))), "{answer:?} {schedule:?}");
    };
    let ending = async {
        let fleet = fleet(&world, "end");
        let mut answer = fleet.terminate(&order(1, 1).of()).await;
        for _again in 0..3 {
            if answer.is_err() {
                answer = fleet.terminate(&order(1, 1).of()).await;
            }
        }
        answer.unwrap();
        world.fake.turns().done("end");
        world.fake.bound()
    };
    let looking = async {
        let seen = fleet(&world, "look").describe(&order(1, 1).of()).await.unwrap();
        world.fake.turns().done("look");
        matches!(seen, Sighting::Gone { .. }).then(|| world.fake.bound())
    };
    let orders = futures::future::join_all(orders.iter().map(|who| ordering(who)));
    let (_, at_end, at_look) = futures::join!(orders, ending, looking);
    assert_eq!(world.fake.bound(), at_end, "a node got a pod after the end was answered: {schedule:?}");
    assert!(at_look.is_none_or(|bound| bound == world.fake.bound()), "a node got a pod that was gone: {schedule:?}");
    settled(&world, &schedule).await;
}

async fn settled(world: &World, schedule: &[&'static str]) {
    let (bound, now) = (world.fake.bound(), world.clock.now());
    for pod in world.fake.objects("pods") {
        assert!(pod["metadata"]["deletionTimestamp"].is_string(), "a pod was not told to end: {schedule:?}");
    }
    world.fake.act(|state| state.stop_deleted(now));
    world.end(1, 1).await.unwrap();
    let stopped_at = (bound > 0).then_some(now);
    assert_eq!(world.see(1, 1).await, Sighting::Gone { stopped_at }, "{schedule:?}");
    assert!(matches!(world.fleet.provision(&order(1, 1)).await, Err(FleetError::Refused(_))), "{schedule:?}");
    for plural in ["pods", "secrets", "services"] {
        assert!(world.fake.names(plural).is_empty(), "{plural} are left: {schedule:?}");
    }
    assert_eq!(world.fake.bound(), bound);
}

#[tokio::test]
async fn an_order_and_an_end_in_every_interleaving() {
    // An order that nobody disturbs makes seven requests. An end makes three, or four when it lets go a pod that no node ever had; a
    // fifth turn is left out when it is not needed.
    const REQUESTS: u32 = 12;
    let mut tried = 0;
    for choice in (0_u32..1 << REQUESTS).filter(|choice| choice.count_ones() == 5) {
        let turn = |at| if choice >> at & 1 == 1 { "end" } else { "order" };
        run((0..REQUESTS).map(turn).collect(), &["order"], Scheduler::Quiet).await;
        tried += 1;
    }
    assert_eq!(tried, 792);
}

#[tokio::test]
async fn two_orders_an_end_and_a_look_in_many_interleavings() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _run in 0..1_000 {
        let turn = |_at| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            ["order", "again", "end", "order", "again", "end", "look"][usize::try_from(seed % 7).unwrap()]
        };
        run((0..40).map(turn).collect(), &["order", "again"], Scheduler::Eager).await;
    }
}
