//! Scenes about disks: launches that end with one in hand, removals that fail, and what the clock finds that nobody knows.

use std::time::Duration;

use cloud::{Attempt, DiskRef, SnapshotOrder, VolumeOrder};
use domain::{UserName, names::DiskName};
use futures::executor::block_on;
use http::Method;
use serde_json::{Value, json};

use crate::support::{
    drive::{A10G, Bench, TENANT, small},
    wire::Ask,
};

const DAY: u64 = 24 * 3600;

/// Every scene.
pub(super) fn all() {
    a_life();
    removals_that_fail();
    launches_that_fail();
    orphans();
}

/// A bench whose snapshots take five minutes.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.world.set(|settings| settings.snapshot = Duration::from_secs(300)..=Duration::from_secs(300));
    bench
}

/// A job with a disk.
fn with_disk() -> Value {
    let mut body = small();
    (body["disk_name"], body["disk_size_gb"]) = (json!("data"), json!(10));
    body
}

/// Runs a job on the disk, which writes to it; gives its id and a key of its owner's.
fn run(bench: &Bench) -> (String, String) {
    let key = bench.login("ann");
    let id = bench.submit(&key, &with_disk());
    bench.dispatch(A10G);
    bench.launch(&id);
    bench.world.write(id.parse().expect("an id"));
    (id, key)
}

/// Ends a job, and lets its disk come to rest.
fn finish(bench: &Bench, (id, key): (String, String)) {
    bench.ok(&key, Ask::post(format!("/v1/jobs/{id}/cancel")));
    bench.end(&id);
    look(bench, 40);
}

/// Lets the worker look so many times at what is due, with half a minute in between.
fn look(bench: &Bench, times: u32) {
    for _ in 0..times {
        bench.sweep_disks();
        bench.pass(30);
    }
}

/// A disk that is used, backed up while it is, waited for, renamed, pruned and deleted.
fn a_life() {
    let bench = bench();
    let (id, key) = run(&bench);
    let waiting = bench.submit(&key, &with_disk());
    bench.dispatch(A10G);
    bench.ok(&key, Ask::post("/v1/disks/data/snapshots"));
    look(&bench, 20);
    bench.world.set(|settings| settings.failing_snapshots = 1000);
    bench.ok(&key, Ask::post(format!("/v1/jobs/{waiting}/cancel")));
    bench.reconcile(&waiting);
    finish(&bench, (id, key));
    bench.world.set(|settings| settings.failing_snapshots = 0);
    look(&bench, 40);
    for _ in 0..5 {
        bench.pass(DAY);
        let job = run(&bench);
        finish(&bench, job);
    }
    bench.ok(&bench.login("ann"), Ask::post("/v1/disks/data/rename").json(&json!({"new_name": "renamed"})));
    bench.tend_disks();
    bench.pass(10 * DAY);
    look(&bench, 2);
    bench.ok(&bench.login("ann"), Ask::new(Method::DELETE, "/v1/disks/renamed"));
    bench.tend_disks();
    bench.pass(31 * DAY);
    look(&bench, 5);
}

/// What could not be removed at once is removed by the sweep.
fn removals_that_fail() {
    let bench = bench();
    bench.world.set_outage("volumes.delete_volume", true);
    let job = run(&bench);
    finish(&bench, job);
    bench.world.set_outage("volumes.delete_volume", false);
    look(&bench, 5);
    bench.ok(&bench.login("ann"), Ask::new(Method::DELETE, "/v1/disks/data"));
    bench.tend_disks();
    bench.world.set_outage("volumes.delete_snapshot", true);
    bench.pass(31 * DAY);
    look(&bench, 5);
    bench.world.set_outage("volumes.delete_snapshot", false);
    look(&bench, 5);
}

/// Launches that end with a disk in hand.
fn launches_that_fail() {
    let bench = bench();
    let key = bench.login("ann");
    let id = bench.submit(&key, &with_disk());
    bench.dispatch(A10G);
    bench.provision(&id);
    let why = json!({"error": {"Error": "Volume.Refused", "Cause": "its snapshot is gone"}});
    bench.step("Undo", &id, &why).expect("undone");
    bench.pass(200);
    bench.step("Undo", &id, &why).expect("undone");
    look(&bench, 40);
    let (id, _) = run(&bench);
    for one in bench.world.instances() {
        bench.world.stop_instance(&one.id);
    }
    bench.reconcile(&id);
    look(&bench, 40);
}

/// A volume that nobody knows, and a second snapshot of one operation.
fn orphans() {
    let bench = bench();
    let job = run(&bench);
    bench.end_disk_orphans();
    let ports = &bench.plane.ports;
    let of = DiskRef {
        tenant: domain::TenantId::new(TENANT),
        owner: UserName::new("ann"),
        disk: ports.ids.disk(bench.world.now()),
    };
    let workload = block_on(bench.plane.store.workload(&of.tenant, job.0.parse().expect("an id")));
    let attempt = Attempt::of(&workload.expect("a row").expect("a job"));
    let name = DiskName::parse("data").expect("a name");
    let lost = VolumeOrder { of, uses: 1, name, size_gb: 10, from: None, attempt };
    block_on(ports.volumes.create(&lost)).expect("a volume");
    bench.ok(&job.1, Ask::post("/v1/disks/data/snapshots"));
    look(&bench, 6);
    let known = bench.world.snapshots().into_iter().next().expect("a snapshot");
    bench.world.set(|settings| settings.forgets_tokens = true);
    let double = SnapshotOrder { of: known.of, operation: known.operation, name: known.name, volume: known.volume };
    block_on(ports.volumes.snapshot(&double)).expect("a double");
    bench.world.set(|settings| settings.forgets_tokens = false);
    look(&bench, 20);
    bench.end_disk_orphans();
    finish(&bench, job);
    bench.end_disk_orphans();
}
