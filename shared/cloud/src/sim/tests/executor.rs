use std::{cell::RefCell, collections::BTreeSet, future::pending, rc::Rc, time::Duration};

use domain::{Secret, message::QueueName};
use futures::executor::block_on;

use super::*;
use crate::{
    TaskToken,
    sim::{Completion, Executor, Fault, FaultPlan, Outcome},
};

/// Three tasks that send three messages each, under random faults: what the world has seen in the end.
fn busy(seed: u64) -> (World, Vec<String>) {
    let world = World::new(seed);
    world.set(|settings| settings.skew = Duration::from_secs(5));
    world.follow(FaultPlan::Random { per_mille: 200 });
    let mut executor = Executor::new(&world);
    for number in 1..=3 {
        let ports = world.ports();
        executor.spawn(format!("task {number}"), async move {
            for attempt in 1..=3 {
                drop(ports.queue.send(&reconcile(number)).await);
                ports.clock.sleep(Duration::from_millis(u64::from(ports.ids.random()[0]))).await;
                drop(ports.fleet.provision(&order(number, attempt)).await);
            }
        });
    }
    executor.advance(later(&world, 300)).unwrap();
    let mut seen = world.log().iter().map(ToString::to_string).collect::<Vec<_>>();
    seen.extend(world.instances().iter().map(|one| format!("{one:?}")));
    seen.extend(world.messages(QueueName::Reconciles).iter().map(|one| format!("{one:?}")));
    (world, seen)
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..50 {
        assert_eq!(busy(seed).1, busy(seed).1, "seed {seed}");
    }
    let logs = (0..50).map(|seed| busy(seed).1).collect::<BTreeSet<_>>();
    assert_eq!(logs.len(), 50, "and another seed is another run");
    let faults = (0..300).flat_map(|seed| busy(seed).0.log()).filter_map(|call| call.fault).collect::<BTreeSet<_>>();
    assert!(Fault::ALL.iter().all(|fault| *fault == Fault::StaleRead || faults.contains(fault)), "{faults:?}");
}

#[test]
fn tasks_take_turns_at_every_call() {
    let order_of = |seed| {
        let world = World::new(seed);
        let mut executor = Executor::new(&world);
        for number in [1, 2] {
            let ports = world.ports();
            executor.spawn("sender", async move {
                for _ in 0..2 {
                    drop(ports.queue.send(&reconcile(number)).await);
                }
            });
        }
        executor.run_until_stalled().unwrap();
        world.log().iter().filter_map(|call| call.task).collect::<Vec<_>>()
    };
    let interleavings = (0..200).map(order_of).collect::<BTreeSet<_>>();
    assert_eq!(interleavings.len(), 6, "two calls of each of two tasks, in every order: 4 over 2");
}

#[test]
fn a_task_dies_with_all_its_parts() {
    for (fault, sent) in [(Fault::CrashBefore, 0), (Fault::CrashAfter, 1)] {
        let world = World::new(1);
        world.follow(FaultPlan::Nth { n: 1, fault });
        let mut executor = Executor::new(&world);
        let (ports, kept) = (world.ports(), Rc::new(()));
        let held = kept.clone();
        let dying = executor.spawn("dying", async move {
            let (one, two) = (reconcile(1), reconcile(2));
            // Both parts wait at their fault points when the first of them dies; the second must not get through any more.
            let sent = futures::join!(ports.queue.send(&one), ports.queue.send(&two));
            drop((sent, held));
        });
        let ports = world.ports();
        let living = executor.spawn("living", async move { ports.clock.now() });
        executor.advance(later(&world, 60)).unwrap();
        assert_eq!(executor.outcome(dying), Some(Outcome::Crashed));
        assert_eq!(executor.take::<()>(dying), None);
        assert_eq!(Rc::strong_count(&kept), 1, "what it held is gone");
        assert_eq!(executor.outcome(living), Some(Outcome::Finished));
        assert_eq!(world.messages(QueueName::Reconciles).len(), sent, "{fault:?}");
    }
}

#[test]
fn sleepers_wake_in_order_and_on_time() {
    let world = World::new(1);
    let mut executor = Executor::new(&world);
    let woken = Rc::new(RefCell::new(Vec::new()));
    let start = world.now();
    for seconds in [30, 10, 20] {
        let (ports, woken) = (world.ports(), woken.clone());
        executor.spawn("sleeper", async move {
            ports.clock.sleep(Duration::from_secs(seconds)).await;
            woken.borrow_mut().push((seconds, ports.clock.now().since(start).as_secs()));
        });
    }
    executor.run_until_stalled().unwrap();
    assert_eq!(world.next_timer(), Some(start.plus(Duration::from_secs(10))));
    executor.advance(start.plus(Duration::from_secs(25))).unwrap();
    assert_eq!(*woken.borrow(), [(10, 10), (20, 20)]);
    let last = executor.unfinished()[0].0;
    executor.kill(last);
    assert_eq!(world.next_timer(), None, "nobody sleeps any more");
    executor.advance(start.plus(Duration::from_secs(60))).unwrap();
    assert_eq!(woken.borrow().len(), 2);
    assert_eq!(world.now(), start.plus(Duration::from_secs(60)));
}

#[test]
fn a_task_runs_to_its_end_through_time() {
    let world = World::new(1);
    let mut executor = Executor::new(&world);
    let ports = world.ports();
    let slept = async move {
        ports.clock.sleep(Duration::from_secs(3600)).await;
        7
    };
    assert_eq!(executor.run("sleeper", slept), Ok(Some(7)));
    assert_eq!(executor.run("waiter", pending::<()>()), Ok(None));
    assert_eq!(executor.unfinished().iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["waiter"]);
}

#[test]
fn results_are_taken_once_and_by_their_type() {
    let world = World::new(1);
    let mut executor = Executor::new(&world);
    let task = executor.spawn("seven", async { 7_u32 });
    assert_eq!((executor.outcome(task), executor.take::<u32>(task)), (Some(Outcome::Unfinished), None));
    executor.run_until_stalled().unwrap();
    assert_eq!(executor.take::<String>(task), None);
    assert_eq!(executor.take::<u32>(task), Some(7));
    assert_eq!((executor.outcome(task), executor.take::<u32>(task)), (Some(Outcome::Finished), None));
}

#[test]
fn going_on_without_end_is_found() {
    let world = World::new(1);
    let mut executor = Executor::new(&world).with_most_steps(100);
    let ports = world.ports();
    executor.spawn("restless", async move { while ports.queue.healthy().await {} });
    let livelock = executor.run_until_stalled().unwrap_err();
    assert_eq!((livelock.steps, livelock.tasks), (100, vec!["restless".to_owned()]));
}

#[test]
fn a_step_waits_for_its_token() {
    let world = World::new(1);
    let mut executor = Executor::new(&world);
    let [token, other] = ["step", "other"].map(|name| TaskToken(Secret::new(name)));
    let waiting = executor.spawn("machine", world.completed(&token));
    executor.run_until_stalled().unwrap();
    let launches = world.ports().launches;
    block_on(launches.complete(&other)).unwrap();
    executor.run_until_stalled().unwrap();
    assert_eq!(executor.outcome(waiting), Some(Outcome::Unfinished));
    block_on(launches.fail(&token, "Job.Died", "it died")).unwrap();
    block_on(launches.complete(&token)).unwrap();
    executor.run_until_stalled().unwrap();
    let failed = Completion::Failed { error: "Job.Died".into(), cause: "it died".into() };
    assert_eq!(executor.take::<Completion>(waiting), Some(failed), "the first completion counts");
    world.retire(&other);
    assert_eq!(world.completion(&other), None);
}
