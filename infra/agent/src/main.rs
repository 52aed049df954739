//! `slipway-agent`: see `slipway-agent --help`.

use std::{
    env,
    io::{IsTerminal, stderr},
    process::ExitCode,
};

use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

/// There is little to do at any time: what a job does is done by its own processes.
const THREADS: usize = 2;

fn main() -> ExitCode {
    log();
    let args: Vec<String> = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match Builder::new_multi_thread().worker_threads(THREADS).enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(Box::pin(agent::run(&[], args.into_iter())));
            // Nothing that still reads or waits may hold up the program's end.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            ExitCode::FAILURE
        }
    }
}

/// Log lines go to standard error, as text or as JSON.
fn log() {
    let level = env::var("LOG_LEVEL").unwrap_or_else(|_unset| "info".to_owned());
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_unreadable| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    match env::var("LOG_FORMAT").as_deref() {
        Ok("json") => lines.json().init(),
        Ok(_) | Err(_) => lines.with_target(false).init(),
    }
}
