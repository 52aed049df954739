//! The command line of both of the agent's programs: `slipway agent ...` on one machine, `slipway-agent ...` on nodes and in pods.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{AgentError, boot, inner, install, outer};

/// Where a node's boot file lies when the orders come over standard input instead.
const ETC: &str = "/etc/slipway";

const USAGE: &str = "\
Usage: slipway-agent COMMAND

  outer [--boot FILE] [--socket PATH]  serve one job: its orders are in FILE, or one line on standard input
  inner --socket PATH                  serve the outer copy from beside the user's code
  install PATH                         copy this program to PATH
  --help, --version

LOG_LEVEL is error, warn, info (the default), debug or trace; LOG_FORMAT is text (the default) or json.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Outer { boot: Option<PathBuf>, socket: Option<PathBuf> },
    Inner { socket: PathBuf },
    Install { path: PathBuf },
    Help,
    Version,
}

impl Task {
    /// Reads the words; `None` when they are no command of ours.
    fn read(words: &[&str]) -> Option<Self> {
        Some(match words {
            ["outer", options @ ..] => {
                let (mut boot, mut socket) = (None, None);
                let (pairs, rest) = options.as_chunks::<2>();
                if !rest.is_empty() {
                    return None;
                }
                for [name, value] in pairs {
                    let place = match *name {
                        "--boot" => &mut boot,
                        "--socket" => &mut socket,
                        _ => return None,
                    };
                    if place.replace(PathBuf::from(value)).is_some() {
                        return None;
                    }
                }
                Self::Outer { boot, socket }
            }
            ["inner", "--socket", socket] => Self::Inner { socket: socket.into() },
            ["install", path] if !path.starts_with('-') => Self::Install { path: path.into() },
            ["--help" | "-h"] => Self::Help,
            ["--version" | "-V"] => Self::Version,
            _ => return None,
        })
    }
}

/// Runs the copy that the arguments name, to its end: 0 when the job ended as it should.
///
/// `words` is what stands before them when this program is started, which is how one copy starts the other: `["agent"]` in `slipway agent
/// outer`, nothing in `slipway-agent outer`. Whoever starts `outer` gives it a [`Boot`](domain::agent::Boot) as JSON, in a file or as one
/// line on its standard input, and sets [`WORKLOAD_MARK`](crate::WORKLOAD_MARK) to the workload's id in its environment so that it can be
/// found again.
pub async fn run(words: &'static [&'static str], args: impl Iterator<Item = String>) -> ExitCode {
    let args: Vec<String> = args.collect();
    let ended = match Task::read(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Some(Task::Outer { boot, socket }) => Box::pin(serve(words, boot, socket)).await,
        Some(Task::Inner { socket }) => Box::pin(inner::run(&socket)).await,
        Some(Task::Install { path }) => install::install(&path),
        Some(Task::Help) => return say(USAGE),
        Some(Task::Version) => return say(&format!("slipway-agent {}\n", env!("CARGO_PKG_VERSION"))),
        None => {
            tracing::error!("no command of the agent's\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the agent ended");
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    words: &'static [&'static str],
    file: Option<PathBuf>,
    socket: Option<PathBuf>,
) -> Result<(), AgentError> {
    let boot = match &file {
        Some(file) => boot::read_file(file)?,
        None => boot::read().await?,
    };
    // What the agent tells its machine lies beside what the machine told it.
    let etc = file.as_deref().and_then(Path::parent).unwrap_or(Path::new(ETC)).to_owned();
    outer::run(outer::Orders { boot, socket, etc, words }).await
}

#[expect(clippy::print_stdout, reason = "what was asked for on the command line is answered there")]
fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let outer = |boot: Option<&str>, socket: Option<&str>| {
            Some(Task::Outer { boot: boot.map(PathBuf::from), socket: socket.map(PathBuf::from) })
        };
        for (line, task) in [
            ("outer", outer(None, None)),
            ("outer --boot b", outer(Some("b"), None)),
            ("outer --socket s --boot b", outer(Some("b"), Some("s"))),
            ("outer --boot", None),
            ("outer --boot a --boot b", None),
            ("outer --room pod", None),
            ("inner --socket s", Some(Task::Inner { socket: "s".into() })),
            ("inner", None),
            ("install /slipway/agent", Some(Task::Install { path: "/slipway/agent".into() })),
            ("install --help", None),
            ("--help", Some(Task::Help)),
            ("-V", Some(Task::Version)),
            ("", None),
            ("agent outer", None),
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(Task::read(&words), task, "{line}");
        }
    }
}
