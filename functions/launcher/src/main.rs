//! The launcher on AWS: the steps of the launch, and the consumer of reconcile messages.

use domain::message::Message;
use runtime::{Failure, Worker};

fn main() -> std::process::ExitCode {
    let mut worker = Worker::new().with(fleets::outside).consume("Reconciler", |plane, message| async move {
        let Message::Reconcile { tenant, workload } = message else {
            return Err(Failure::new("Queue.Message", "nothing to reconcile"));
        };
        let done = launcher::reconcile(&plane, &tenant, workload).await;
        done.map_err(|error| Failure::new("Reconcile.Failed", error))
    });
    for (function, step) in launcher::FUNCTIONS {
        worker = worker.step(function, move |plane, input| async move {
            let done = launcher::step(&plane, step, input).await;
            done.map_err(|failed| Failure::new(failed.error, failed.cause))
        });
    }
    worker.run()
}
