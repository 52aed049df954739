//! The command line: the plane on this machine; and, as `slipway agent`, the agent of each of its jobs.

use std::{
    env,
    io::{IsTerminal, stderr},
    process::ExitCode,
};

use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use crate::{
    Local, Settings,
    settings::{LogFormat, help},
};

/// Threads of an agent: there are two agents a job, and what a job does is done by its own processes.
const AGENT_THREADS: usize = 2;

/// Does what the command line says. It is a function of the library, so that a program for tests can be the same one.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<String> = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => serve(),
        ["agent", ..] => agent(args.into_iter().skip(1)),
        ["--help" | "-h" | "help"] => say(&help()),
        ["--version" | "-V"] => say(&format!("slipway {}\n", env!("CARGO_PKG_VERSION"))),
        _ => {
            log("info", LogFormat::Text);
            tracing::error!(
                "slipway takes no argument {:?}: it is set up by environment variables, see slipway --help",
                words.join(" ")
            );
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for on the command line is answered there")]
fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

/// Runs the plane until it is told to end.
fn serve() -> ExitCode {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => {
            log("info", LogFormat::Text);
            tracing::error!("{error}");
            return ExitCode::from(2);
        }
    };
    log(&settings.log_level, settings.log_format);
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(Box::pin(served(settings)));
    // After a second signal, work may still be under way; it is left as `kill -9` would leave it.
    runtime.shutdown_background();
    code
}

async fn served(settings: Settings) -> ExitCode {
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals cannot be listened for");
            return ExitCode::FAILURE;
        }
    };
    let local = match Box::pin(Local::start(settings)).await {
        Ok(local) => local,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(token) = local.made_admin_token() {
        show_token(token);
    }
    either(&mut interrupt, &mut terminate).await;
    tokio::select! {
        () = Box::pin(local.stop()) => ExitCode::SUCCESS,
        () = either(&mut interrupt, &mut terminate) => {
            tracing::warn!("told to end a second time: ending at once");
            ExitCode::FAILURE
        }
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(clippy::print_stdout, reason = "a token that was just made is shown this once, and must not go into a log")]
fn show_token(token: &domain::Secret) {
    println!("The admin's token, shown this once (it is kept in the data folder): {}", token.reveal());
}

/// Runs one of a job's two agents. Whoever starts it has read the settings already.
fn agent(args: impl Iterator<Item = String>) -> ExitCode {
    log(&env::var("LOG_LEVEL").unwrap_or_else(|_unset| "info".to_owned()), LogFormat::Text);
    match Builder::new_multi_thread().worker_threads(AGENT_THREADS).enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(Box::pin(::agent::run(&["agent"], args)));
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            ExitCode::FAILURE
        }
    }
}

/// Log lines go to standard error.
fn log(level: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_unreadable| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    match format {
        LogFormat::Text => lines.with_target(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}
