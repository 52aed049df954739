//! Messages that nobody can work on: where they end, and what becomes of their workloads (invariant I23).

use domain::{TenantId, WorkloadId};
use futures::executor::block_on;
use store::{StoreError, WorkError};

use crate::support::drive::{Bench, Stage, TENANT};

const WHY: &str = "what was to be done about it could not be carried out";

fn id_of(id: &str) -> WorkloadId {
    id.parse().expect("an id")
}

fn outage() -> WorkError {
    cloud::PortError::Unavailable("away".into()).into()
}

fn broken() -> WorkError {
    StoreError::Broken("a row that cannot be read".into()).into()
}

/// A job at `stage`, whose message is given up where there is an `error` to give: what its owner is told after its end, and why.
fn told(stage: Stage, error: Option<Option<&WorkError>>) -> (String, String) {
    let bench = Bench::new();
    let id = bench.job_at(stage, &bench.login("ann"));
    if let Some(error) = error {
        block_on(launcher::give_up(&bench.plane, &TenantId::new(TENANT), id_of(&id), error)).expect("given up");
    }
    // What runs has to be gone before its owner is told that it is over.
    bench.end(&id);
    let job = bench.job(&bench.login("ann"), &id);
    let said = |field: &str| job[field].as_str().unwrap_or_default().to_owned();
    (said("status"), said("failure_reason"))
}

#[test]
fn whose_message_is_given_up_is_failed_and_says_why() {
    for stage in [Stage::Queued, Stage::Placed, Stage::Booting, Stage::Active] {
        for error in [Some(&broken()), None] {
            assert_eq!(told(stage, Some(error)), ("failed".to_owned(), WHY.to_owned()), "{stage:?} {error:?}");
        }
    }
}

#[test]
fn an_outage_fails_nobody_who_is_at_work() {
    for (stage, status) in
        [(Stage::Queued, "failed"), (Stage::Placed, "failed"), (Stage::Booting, "failed"), (Stage::Active, "active")]
    {
        assert_eq!(told(stage, Some(Some(&outage()))).0, status, "{stage:?}");
    }
}

#[test]
fn what_is_ending_or_over_stays_as_it_is() {
    for stage in [Stage::Draining, Stage::Expired, Stage::Cancelled, Stage::Failed] {
        assert_eq!(told(stage, Some(Some(&broken()))), told(stage, None), "{stage:?}");
    }
}

#[test]
fn a_message_for_a_workload_that_is_gone_is_done() {
    let bench = Bench::new();
    let (tenant, id) = (TenantId::new(TENANT), bench.plane.ports.ids.workload(bench.world.now()));
    block_on(launcher::reconcile(&bench.plane, &tenant, id)).expect("done");
    block_on(launcher::give_up(&bench.plane, &tenant, id, None)).expect("done");
}

/// From the message to what its owner is told; and its GPUs are free again.
#[test]
fn a_poison_message_ends_with_the_dead_letters_and_its_job_failed() {
    let bench = Bench::new();
    let id = bench.job_at(Stage::Booting, &bench.login("ann"));
    bench.world.set_outage("fleet", true);
    bench.give_up(&id);
    bench.world.set_outage("fleet", false);
    bench.end(&id);
    let key = bench.login("ann");
    let job = bench.job(&key, &id);
    assert_eq!((&job["status"], &job["failure_reason"]), (&"failed".into(), &WHY.into()), "{job}");
    assert_eq!(bench.world.dead_letters().len(), 1);
    let events = bench.ok(&key, crate::support::wire::Ask::get(format!("/v1/jobs/{id}/events")));
    assert!(events.to_string().contains(WHY), "{events}");
}
