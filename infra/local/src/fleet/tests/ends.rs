//! How attempts end: when nothing of them runs any more, and when whoever has to know does.

use std::sync::atomic::AtomicUsize;

use cloud::sim::World;
use tokio::task::JoinHandle;

use super::*;

/// A way to end what is left, of which as many processes of any workload remain as it says at that time.
fn stubborn(workload: &Order) -> (EndLeftovers, Arc<AtomicUsize>) {
    let remaining = Arc::new(AtomicUsize::new(1));
    let (told, mark) = (Arc::clone(&remaining), workload.workload.to_string());
    let end = move |is_ours: &dyn Fn(&str) -> bool| {
        let left = if is_ours(&mark) { told.load(Ordering::SeqCst) } else { 0 };
        Leftovers { found: left, remaining: left }
    };
    (Arc::new(end), remaining)
}

fn real() -> EndLeftovers {
    Arc::new(|is_ours| agent::end_leftovers(is_ours))
}

/// Waits until `found` finds something. Processes are real here, so that there is nothing else to wait for.
async fn eventually<T>(mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2_000 {
        if let Some(found) = found() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not happen");
}

/// Waits until somebody sleeps, and gives until when.
async fn sleeping(world: &World) -> domain::Timestamp {
    eventually(|| world.next_timer()).await
}

/// Lets time pass until the task has ended.
async fn pass<T>(world: &World, task: JoinHandle<T>) -> T {
    while !task.is_finished() {
        if let Some(at) = world.next_timer() {
            world.move_to(at);
        }
        tokio::task::yield_now().await;
    }
    task.await.unwrap()
}

fn stop(fleet: &LocalFleet) -> JoinHandle<()> {
    let fleet = fleet.clone();
    tokio::spawn(async move { fleet.stop(Duration::from_secs(60)).await })
}

fn files(folder: &Path) -> Files {
    Files { attempts: folder.join("attempts"), pods: folder.join("pods") }
}

/// Whether the attempt's end is written down.
fn is_written(folder: &Path, order: &Order) -> bool {
    let path = folder.join("attempts").join(format!("{}-{}.json", order.workload, order.attempt));
    serde_json::from_slice::<Record>(&fs::read(path).unwrap()).unwrap().ended.is_some()
}

/// An attempt that an earlier life left.
fn leave(folder: &Path, order: &Order) {
    let address = Address { host: "127.0.0.1".to_owned(), ssh_port: 1, jupyter_port: 2, model_port: None };
    fs::create_dir(folder.join("attempts")).unwrap();
    files(folder).write(&Record::ordered(order, vec![0], address, SystemClock.now())).unwrap();
}

#[tokio::test]
async fn an_end_is_told_before_it_is_written_down() {
    let (folder, world, order) = (tempfile::tempdir().unwrap(), World::new(1), order(4));
    let (fleet, sent) = fleet_over(folder.path(), "exec true", world.ports().clock, real());
    sent.refuses.store(true, Ordering::SeqCst);
    fleet.provision(&order).await.unwrap();
    for attempt in 1..=3 {
        let until = sleeping(&world).await;
        assert_eq!(until, world.now().plus(Duration::from_secs(1)));
        assert!(fleet.gone(&order).await.is_some(), "others are answered meanwhile");
        fleet.end(&order).await;
        assert!(!is_written(folder.path(), &order), "{attempt}");
        sent.refuses.store(attempt < 3, Ordering::SeqCst);
        world.move_to(until);
    }
    eventually(|| is_written(folder.path(), &order).then_some(())).await;
    assert_eq!(sent.take(), [reconcile(&order)]);
}

#[tokio::test]
async fn an_end_that_nobody_took_before_the_stop_is_told_in_the_next_life() {
    let (folder, world, order) = (tempfile::tempdir().unwrap(), World::new(1), order(4));
    let (before, refused) = fleet_over(folder.path(), "exec true", world.ports().clock, real());
    refused.refuses.store(true, Ordering::SeqCst);
    before.provision(&order).await.unwrap();
    sleeping(&world).await;
    pass(&world, stop(&before)).await;
    assert!(before.terminate(&order.of()).await.is_err());
    assert!(!is_written(folder.path(), &order));
    let (after, sent) = fleet(folder.path(), "exec true");
    after.settle().await.unwrap();
    assert_eq!(sent.take(), [reconcile(&order)]);
    assert!(is_written(folder.path(), &order));
}

#[tokio::test]
async fn gpus_are_free_only_when_nothing_of_the_job_runs() {
    let (folder, world, order) = (tempfile::tempdir().unwrap(), World::new(1), order(1));
    let (end, remaining) = stubborn(&order);
    let (fleet, sent) = fleet_over(folder.path(), "exec true", world.ports().clock, end);
    fleet.provision(&order).await.unwrap();
    runs_until(&world, (&fleet, &sent, &remaining), (&order, folder.path())).await;
}

#[tokio::test]
async fn what_an_earlier_life_left_holds_its_gpus_until_it_ends() {
    let (folder, world, order) = (tempfile::tempdir().unwrap(), World::new(1), order(1));
    leave(folder.path(), &order);
    let (end, remaining) = stubborn(&order);
    let (fleet, sent) = fleet_over(folder.path(), "exec true", world.ports().clock, end);
    fleet.settle().await.unwrap();
    assert!(matches!(fleet.provision(&order).await, Err(FleetError::Refused(_))), "it is ending");
    fleet.end(&order).await;
    runs_until(&world, (&fleet, &sent, &remaining), (&order, folder.path())).await;
}

/// The attempt counts as running for as long as something of it remains, and not longer.
async fn runs_until(
    world: &World,
    (fleet, sent, remaining): (&LocalFleet, &Sent, &AtomicUsize),
    (attempt, folder): (&Order, &Path),
) {
    for look in 1..=3 {
        let until = sleeping(world).await;
        assert_eq!(fleet.see(attempt).await, Sighting::Running, "{look}");
        assert!(matches!(fleet.provision(&order(4)).await, Err(FleetError::Capacity(_))), "{look}");
        let again = Order { attempt: 2, ..attempt.clone() };
        assert!(matches!(fleet.provision(&again).await, Err(FleetError::Capacity(_))), "{look}");
        assert!(!is_written(folder, attempt), "{look}");
        assert_eq!(sent.take(), [], "{look}");
        remaining.store(usize::from(look < 3), Ordering::SeqCst);
        world.move_to(until);
    }
    eventually(|| is_written(folder, attempt).then_some(())).await;
    assert_eq!(fleet.see(attempt).await, Sighting::Gone { stopped_at: Some(world.now()) });
    assert_eq!(sent.take(), [reconcile(attempt)]);
}

#[tokio::test]
async fn what_does_not_end_before_the_stop_is_left_to_the_next_life() {
    let (folder, world, order) = (tempfile::tempdir().unwrap(), World::new(1), order(1));
    leave(folder.path(), &order);
    let (end, remaining) = stubborn(&order);
    let (before, untold) = fleet_over(folder.path(), "exec true", world.ports().clock, Arc::clone(&end));
    sleeping(&world).await;
    pass(&world, stop(&before)).await;
    assert_eq!((is_written(folder.path(), &order), untold.take()), (false, vec![]));
    remaining.store(0, Ordering::SeqCst);
    let (after, sent) = fleet_over(folder.path(), "exec true", world.ports().clock, end);
    after.settle().await.unwrap();
    assert_eq!((is_written(folder.path(), &order), sent.take()), (true, vec![reconcile(&order)]));
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::new(1));
    let (fleet, _) = fleet_over(folder.path(), "exec sleep 60", world.ports().clock, real());
    let [running, ended, unordered] = [order(1), order(1), order(1)];
    for order in [&running, &ended] {
        fleet.provision(order).await.unwrap();
    }
    fleet.end(&ended).await;
    eventually(|| is_written(folder.path(), &ended).then_some(())).await;
    assert_eq!(fleet.see(&unordered).await, Sighting::Gone { stopped_at: None });
    let left = |name: &str| fs::read_dir(folder.path().join(name)).unwrap().count();
    for (days, attempts, pods) in [(0, 3, 2), (6, 3, 2), (1, 1, 1)] {
        world.move_to(world.now().plus(Duration::from_secs(days * 24 * 3600)));
        fleet.forget_old().await;
        assert_eq!((left("attempts"), left("pods"), fleet.0.pods.lock().await.all.len()), (attempts, pods, attempts));
    }
    assert_eq!(fleet.see(&running).await, Sighting::Running);
}
