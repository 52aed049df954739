//! The dispatcher on AWS.

use domain::message::Message;
use runtime::{Failure, Worker};

fn main() -> std::process::ExitCode {
    let worker = Worker::new().consume("Dispatcher", |plane, message| async move {
        let Message::Doorbell { pool } = message else { return Err(Failure::new("Queue.Message", "no doorbell")) };
        dispatcher::ring(&plane, &pool).await.map_err(|error| Failure::new("Dispatch.Failed", error))
    });
    worker.run()
}
