//! The dispatcher on AWS.

use domain::message::Message;
use runtime::{Failure, Worker};

fn main() -> std::process::ExitCode {
    let ring = |plane, message| async move {
        let Message::Doorbell { pool } = message else { return Err(Failure::new("Queue.Message", "no doorbell")) };
        dispatcher::ring(&plane, &pool).await.map_err(|error| Failure::new("Dispatch.Failed", error))
    };
    // A doorbell is about no job, and so fails none: while somebody waits in the pool, the sweep rings again.
    let give_up = |_, _, _: Option<Failure>| std::future::ready(Ok::<(), Failure>(()));
    let worker = Worker::new().consume("Dispatcher", ring, give_up);
    worker.run()
}
