//! How long the document waits follows from how long a workload may stay in its states: the sweep has to give up first, because it says
//! what was late, and because nothing catches the limit of the whole execution.

use std::time::Duration;

use domain::{lifecycle::State, policy};

use super::*;
use crate::machine::document::Step;

/// What the sweep gets beyond the deadline that it watches.
const A_SWEEP: Duration = Duration::from_secs(60);

fn stays(states: &[State]) -> Duration {
    states.iter().map(|state| policy::longest_stay(*state).unwrap()).sum()
}

/// `wait` is longer than the stays in `states` together, and the sweep's turn after them.
#[track_caller]
fn check(machine: &Machine, wait: &str, states: &[State]) {
    let limit = machine.document.step(wait).and_then(Step::task).unwrap().timeout;
    assert!(limit >= stays(states) + A_SWEEP, "{wait} waits for {limit:?}, {states:?} last {:?}", stays(states));
}

#[test]
fn the_sweep_gives_up_before_a_wait_does() {
    let machine = launch();
    check(&machine, "AwaitBoot", &[State::Provisioning]);
    let preparing = [State::InstanceReady, State::Installing, State::ModelLoading, State::HealthCheck];
    check(&machine, "AwaitReady", &preparing);
}

#[test]
fn the_whole_launch_has_time_for_each_of_its_steps() {
    let document = launch().document;
    let first_tries: Duration =
        document.states.iter().filter_map(|(_, step)| step.task()).map(|task| task.timeout).sum();
    // A launch that waits for capacity is being provisioned all the while.
    let needed = first_tries + stays(&[State::Provisioning]);
    assert!(document.timeout >= needed, "the document has {:?} and needs {needed:?}", document.timeout);
}
