//! The disk worker on AWS: the consumer of messages about disks, and the disks' part of the sweep.

use domain::message::Message;
use runtime::{Failure, Worker};

fn main() -> std::process::ExitCode {
    let tend = |plane, message| async move {
        let Message::Disk { tenant, owner, disk } = message else {
            return Err(Failure::new("Queue.Message", "no disk"));
        };
        disk_worker::tend(&plane, &tenant, &owner, disk).await.map_err(|error| Failure::new("Disk.Failed", error))
    };
    // What is left undone about a disk stays due: the sweep sends another message.
    let give_up = |_, _, _: Option<Failure>| std::future::ready(Ok::<(), Failure>(()));
    let worker = Worker::new()
        .with(fleets::storage)
        .consume("DiskWorker", tend, give_up)
        .clock("DiskSweep", |plane| async move { disk_worker::sweep(&plane).await.map(drop) })
        .clock("DiskOrphans", |plane| async move { disk_worker::end_orphans(&plane).await.map(drop) });
    worker.run()
}
