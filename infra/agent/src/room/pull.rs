//! The pull of the job's image, with how far it has come.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use tokio::process::Command;

use super::{Making, engine::Engine};
use crate::{AgentError, logs::cut, main_process::said_by, orphans};

/// How long a pull may take, how often it is tried, and the pause between.
const PULLED_WITHIN: Duration = Duration::from_secs(60 * 60);
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);
/// How often the timeline is told how far it has come.
const TOLD_EVERY: Duration = Duration::from_secs(30);
/// How much of the engine's words a failure carries: the timeline takes 300 characters of a farewell.
const WORDS_MOST: usize = 220;

/// Sees that the machine has the image. One that is there already is taken as it is: a machine's own image may bring it along.
///
/// # Errors
/// When it cannot be had; in the engine's words.
pub(super) async fn pulled(engine: Engine, making: &Making<'_>) -> Result<(), AgentError> {
    let image = &making.orders.boot.image;
    if engine.has(image).await {
        making.note(format!("Image {image} was on the machine already."));
        return Ok(());
    }
    making.note(format!("Pulls image {image} with {}.", engine.program()));
    let began = making.clock.now();
    let mut attempt = 1;
    loop {
        let tried = tokio::time::timeout(PULLED_WITHIN, once(engine, making)).await;
        let late = format!("it took longer than {} minutes", PULLED_WITHIN.as_secs() / 60);
        match tried.unwrap_or(Err(late)) {
            Ok(()) => break,
            Err(words) if attempt < ATTEMPTS => {
                tracing::warn!(image, words, attempt, "the image could not be pulled");
                attempt += 1;
                making.clock.sleep(PAUSE).await;
            }
            Err(mut words) => {
                making.note(format!("Image {image} cannot be pulled: {words}"));
                cut(&mut words, WORDS_MOST);
                return Err(AgentError::Image(words));
            }
        }
    }
    let seconds = making.clock.now().since(began).as_secs();
    making.note(format!("Image {image} is there after {seconds} s."));
    Ok(())
}

async fn once(engine: Engine, making: &Making<'_>) -> Result<(), String> {
    let image = &making.orders.boot.image;
    let mut command = Command::new(engine.program());
    command.args(engine.pull(image)).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    orphans::awaited(child.id());
    let mut lines = said_by(&mut child, "the container engine's output");
    let mut pulling = Pulling::default();
    let mut told_at = making.clock.now();
    while let Some(line) = lines.recv().await {
        pulling.line(&line);
        if making.clock.now().since(told_at) >= TOLD_EVERY
            && let Some(progress) = pulling.progress()
        {
            told_at = making.clock.now();
            making.note(format!("Image {image}: {progress}"));
        }
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(pulling.failure(&status.to_string())) }
}

/// What an engine has said about a pull.
#[derive(Debug, Default)]
struct Pulling {
    layers: BTreeSet<String>,
    done: BTreeSet<String>,
    told: (usize, usize),
    last: String,
}

impl Pulling {
    /// Reads a line: docker says `ID: Pull complete`, podman `Copying blob ID`, and, when it is a terminal, `Copying blob ID done`.
    fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        line.clone_into(&mut self.last);
        let (layer, done) = if let Some(blob) = line.strip_prefix("Copying blob ") {
            (blob.split_whitespace().next().unwrap_or(blob), blob.ends_with("done") || blob.contains("skipped"))
        } else if let Some((layer, state)) = line.split_once(": ") {
            match state {
                "Pulling fs layer" | "Waiting" | "Verifying Checksum" | "Download complete" => (layer, false),
                "Pull complete" | "Already exists" => (layer, true),
                _ => return,
            }
        } else {
            return;
        };
        self.layers.insert(layer.to_owned());
        if done {
            self.done.insert(layer.to_owned());
        }
    }

    /// How far it has come, if that is news.
    fn progress(&mut self) -> Option<String> {
        let now = (self.done.len(), self.layers.len());
        if now == self.told || now.1 == 0 {
            return None;
        }
        self.told = now;
        Some(match now {
            (0, known) => format!("{known} layers are on their way."),
            (done, known) => format!("{done} of {known} layers are there."),
        })
    }

    /// Why it failed: what was said last, or how it ended when nothing was said.
    fn failure(&self, status: &str) -> String {
        if self.last.is_empty() { status.to_owned() } else { self.last.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_say_is_progress_and_failures() {
        for (lines, progress, failure) in [
            (&[][..], None, "exit status: 1"),
            (&["2.1: Pulling from pytorch/pytorch"], None, "2.1: Pulling from pytorch/pytorch"),
            (
                &[
                    "a: Pulling fs layer",
                    "b: Pulling fs layer",
                    "a: Verifying Checksum",
                    "c: Already exists",
                    "a: Pull complete",
                    "",
                ],
                Some("2 of 3 layers are there."),
                "a: Pull complete",
            ),
            (
                &["Trying to pull docker.io/library/x:1...", "Copying blob sha256:1", "Copying blob sha256:2"],
                Some("2 layers are on their way."),
                "Copying blob sha256:2",
            ),
            (&["Copying blob 1 done", "Copying blob 2 [--]"], Some("1 of 2 layers are there."), "Copying blob 2 [--]"),
            (
                &["Error response from daemon: pull access denied for x"],
                None,
                "Error response from daemon: pull access denied for x",
            ),
        ] {
            let mut pulling = Pulling::default();
            lines.iter().for_each(|line| pulling.line(line));
            assert_eq!(pulling.progress().as_deref(), progress, "{lines:?}");
            assert_eq!(pulling.progress(), None, "it is told once: {lines:?}");
            assert_eq!(pulling.failure("exit status: 1"), failure, "{lines:?}");
        }
    }
}
