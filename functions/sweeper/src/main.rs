//! The sweeper on AWS.

use runtime::Worker;

fn main() -> std::process::ExitCode {
    let worker = Worker::new()
        .with(fleets::outside)
        .clock("Sweeper", |plane| async move { sweeper::sweep(&plane).await.map(drop) })
        .clock("Orphans", |plane| async move { sweeper::end_orphans(&plane).await.map(drop) })
        .clock("Nodes", |plane| async move { sweeper::keep_nodes(&plane).await })
        .clock("Meters", |plane| async move { sweeper::close_meters(&plane).await.map(drop) })
        .clock("Tenants", |plane| async move { sweeper::let_tenants_go(&plane).await.map(drop) });
    worker.run()
}
