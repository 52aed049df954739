//! The launch state machine's service: it interprets the deployed document and calls the launcher's steps.

use cloud::{
    TaskToken,
    launches::Launch,
    sim::{Completion, Rng, World},
};
use domain::{Secret, Timestamp, WorkloadId};
use launcher::StepError;
use serde_json::{Value, json};
use slipway::machine::{Execution, Invocation, LAUNCH, Machine, TaskError, Work};

use super::mutants::Bug;

/// One launch.
struct Flight {
    workload: WorkloadId,
    execution: Execution,
    /// The attempt whose handler was called last.
    called: u32,
    /// What its step waits with, until it is over.
    token: Option<TaskToken>,
    /// Nothing happens to it before by itself.
    quiet_until: Timestamp,
    ended: bool,
}

/// Every launch that was started.
pub(crate) struct Flights {
    machine: Machine,
    flights: Vec<Flight>,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { machine: Machine::parse(LAUNCH).expect("the launch document"), flights: Vec::new() }
    }

    /// Begins what was started, takes what was completed or timed out, and gives the steps that are to be called now.
    pub(crate) fn calls(&mut self, world: &World, bug: Option<Bug>) -> Vec<(usize, Invocation)> {
        while let Some(launch) = world.take_launch() {
            // A service that forgets names runs every launch twice.
            for copy in 0..if bug == Some(Bug::LaunchesTwice) { 2 } else { 1 } {
                self.begin(&launch, copy, world);
            }
        }
        let now = world.now();
        let mut calls = Vec::new();
        for (number, flight) in self.flights.iter_mut().enumerate().filter(|(_, flight)| !flight.ended) {
            let completion = flight.token.as_ref().and_then(|token| world.completion(token));
            if completion.is_none() && now < flight.quiet_until {
                continue;
            }
            self.machine.tick(&mut flight.execution, now);
            if let Some(completion) = completion {
                flight.complete(&self.machine, completion, now);
            }
            match self.machine.next(&flight.execution) {
                Work::Invoke(invocation) => {
                    flight.quiet_until = invocation.until;
                    if invocation.attempt != flight.called {
                        flight.wait_no_more(world);
                        flight.called = invocation.attempt;
                        flight.token = invocation.token.clone().map(|token| TaskToken(Secret::new(token)));
                        calls.push((number, invocation));
                    }
                }
                Work::AwaitToken { until } => flight.quiet_until = until,
                Work::Sleep { until } => {
                    flight.wait_no_more(world);
                    flight.quiet_until = until;
                }
                Work::Ended(_) => {
                    flight.wait_no_more(world);
                    flight.ended = true;
                }
            }
        }
        calls
    }

    fn begin(&mut self, launch: &Launch, copy: u8, world: &World) {
        let name = launch.workload.to_string();
        let mut secret = [copy; 16];
        secret[..8].copy_from_slice(&world.seed().to_be_bytes());
        let input = json!({ "tenant": launch.tenant, "workload": launch.workload });
        let execution = self.machine.start(&name, secret, input, world.now());
        self.flights.push(Flight {
            workload: launch.workload,
            execution,
            called: 0,
            token: None,
            quiet_until: world.now(),
            ended: false,
        });
    }

    /// A step came back; `None` when it died. The service then sees an error that it may or may not know to retry, or sees nothing until
    /// the step's time is over.
    pub(crate) fn answered(
        &mut self,
        flight: usize,
        attempt: u32,
        result: Option<Result<Value, StepError>>,
        world: &World,
        rng: &mut Rng,
    ) {
        let outcome = match result {
            Some(result) => result.map_err(|failed| TaskError::new(failed.error, failed.cause)),
            // Where a token is waited for, the call itself is asynchronous and its death is reported.
            None => match rng.below(4) {
                0 if self.flights.get(flight).is_some_and(|flight| flight.token.is_none()) => return,
                1 => Err(TaskError::new("Runtime.ExitError", "the handler died")),
                _ => Err(TaskError::new("Lambda.ServiceException", "the handler's host died")),
            },
        };
        if let Some(flight) = self.flights.get_mut(flight) {
            self.machine.finished(&mut flight.execution, attempt, outcome, world.now());
            flight.quiet_until = world.now();
        }
    }

    /// When a launch goes on by itself next.
    pub(crate) fn next_event(&self) -> Option<Timestamp> {
        self.flights.iter().filter(|flight| !flight.ended).map(|flight| flight.quiet_until).min()
    }

    /// The launches that have not ended.
    pub(crate) fn under_way(&self) -> Vec<WorkloadId> {
        self.flights.iter().filter(|flight| !flight.ended).map(|flight| flight.workload).collect()
    }
}

impl Flight {
    fn complete(&mut self, machine: &Machine, completion: Completion, now: Timestamp) {
        let Some(token) = self.token.take() else { return };
        let outcome = match completion {
            Completion::Done => Ok(Value::Null),
            Completion::Failed { error, cause } => Err(TaskError::new(error, cause)),
        };
        // The step may have timed out at this very instant; its token then changes nothing, as Step Functions answers.
        let _taken_or_late = machine.token(&mut self.execution, token.0.reveal(), outcome, now);
    }

    fn wait_no_more(&mut self, world: &World) {
        if let Some(token) = self.token.take() {
            world.retire(&token);
        }
    }
}
