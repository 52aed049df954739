//! The launcher on AWS: the steps of the launch, and the consumer of reconcile messages.

use domain::message::Message;
use runtime::{Failure, Worker};
use store::{Plane, WorkError};

fn main() -> std::process::ExitCode {
    let mut worker = Worker::new().with(fleets::outside).consume("Reconciler", reconcile, give_up);
    for (function, step) in launcher::FUNCTIONS {
        worker = worker.step(function, move |plane, input| async move {
            let done = launcher::step(&plane, step, input).await;
            done.map_err(|failed| Failure::new(failed.error, failed.cause))
        });
    }
    worker.run()
}

async fn reconcile(plane: Plane, message: Message) -> Result<(), WorkError> {
    match message {
        Message::Reconcile { tenant, workload } => Box::pin(launcher::reconcile(&plane, &tenant, workload)).await,
        // The consumer has compared the message with its queue.
        other @ (Message::Doorbell { .. } | Message::Disk { .. }) => {
            tracing::error!(?other, "a message in the reconciler's queue that is not for it is dropped");
            Ok(())
        }
    }
}

async fn give_up(plane: Plane, message: Message, error: Option<WorkError>) -> Result<(), WorkError> {
    match message {
        Message::Reconcile { tenant, workload } => launcher::give_up(&plane, &tenant, workload, error.as_ref()).await,
        Message::Doorbell { .. } | Message::Disk { .. } => Ok(()),
    }
}
