//! The job's main process: started once, its output captured line by line.

use std::{process::Stdio, sync::Arc, time::Duration};

use cloud::{Clock, SystemClock};
use domain::agent::{LogLine, MainProcess, Stream};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    task::JoinSet,
};

use crate::{
    link::FromInner,
    logs::{LONGEST_LINE, cut},
    node::Node,
    orphans,
};

/// How long after the process's end its output is still read: something that it left running may hold the pipe for ever.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Runs the user's command line, which is one argument to the shell and nothing of ours, to its end.
pub(crate) async fn run(node: Arc<Node>, command: String) {
    let mut program = Command::new("/bin/sh");
    program.arg("-c").arg(command).env_clear().envs(&node.environment).current_dir(&node.home);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = match program.spawn() {
        Ok(child) => child,
        Err(error) => {
            let text = format!("[slipway] the command could not be started: {error}");
            node.tell(FromInner::Log { line: LogLine { at: SystemClock.now(), stream: Stream::Stderr, text } }).await;
            // What a shell says when it cannot run something.
            node.tell(FromInner::Main { main: MainProcess::Exited { code: 126 } }).await;
            return;
        }
    };
    orphans::awaited(child.id());
    node.tell(FromInner::Main { main: MainProcess::Running }).await;
    let mut output = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        output.spawn(capture(Arc::clone(&node), stdout, Stream::Stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn(capture(Arc::clone(&node), stderr, Stream::Stderr));
    }
    let code = match child.wait().await {
        Ok(status) => exit_code(status),
        Err(error) => {
            tracing::error!(%error, "the main process's end could not be seen");
            255
        }
    };
    let drained = async { while output.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_OUTPUT, drained).await.is_err() {
        // It goes on being read in the background; the exit code need not wait for it.
        output.detach_all();
    }
    node.tell(FromInner::Main { main: MainProcess::Exited { code } }).await;
}

/// The code, as shells count: 128 + n for signal n.
fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

async fn capture(node: Arc<Node>, output: impl AsyncRead + Unpin, stream: Stream) {
    let mut output = BufReader::new(output);
    loop {
        match line(&mut output).await {
            Ok(Some(text)) => {
                let line = LogLine { at: SystemClock.now(), stream, text };
                node.tell(FromInner::Log { line }).await;
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the main process's output");
                return;
            }
        }
    }
}

/// The next line without its end, or so much of it as a line may hold: the rest then comes as the next line.
async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let available = from.fill_buf().await?;
        if available.is_empty() {
            if line.is_empty() {
                return Ok(None);
            }
            break;
        }
        let room = (LONGEST_LINE - line.len()).min(available.len());
        let (take, ended) = match available[..room].iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (room, false),
        };
        line.extend_from_slice(&available[..take]);
        from.consume(take);
        if ended || line.len() >= LONGEST_LINE {
            break;
        }
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    let mut text = String::from_utf8_lossy(&line).into_owned();
    cut(&mut text, LONGEST_LINE);
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::environment::tests::setup;

    #[tokio::test]
    async fn output_becomes_lines() {
        let long = "x".repeat(LONGEST_LINE + 3);
        for (output, lines) in [
            (&b""[..], vec![]),
            (b"a\nb\r\n\nlast", vec!["a", "b", "", "last"]),
            (b"\xff\n", vec!["\u{fffd}"]),
            (long.as_bytes(), vec![&long[..LONGEST_LINE], "xxx"]),
        ] {
            let mut from = BufReader::with_capacity(7, output);
            let mut found = Vec::new();
            while let Some(text) = line(&mut from).await.unwrap() {
                found.push(text);
            }
            assert_eq!(found, lines);
        }
    }

    /// What a command's output and exit code are.
    async fn ran(command: &str) -> (Vec<String>, i32) {
        let home = tempfile::tempdir().unwrap();
        let (tell, mut told) = mpsc::channel(64);
        let node = Arc::new(Node::new(&setup(home.path()), tell));
        tokio::spawn(run(node, command.to_owned()));
        let mut lines = Vec::new();
        loop {
            match told.recv().await.unwrap() {
                FromInner::Log { line } => lines.push(line.text),
                FromInner::Main { main: MainProcess::Exited { code } } => return (lines, code),
                _ => {}
            }
        }
    }

    #[tokio::test]
    async fn the_exit_code_is_as_shells_count() {
        for (command, lines, code) in [
            ("echo $SLIPWAY_GPUS $USER; echo \"$HOME\" | grep -c /", vec!["2 dev", "1"], 0),
            ("exit 7", vec![], 7),
            ("kill -9 $$", vec![], 137),
            ("no-such-program 2>/dev/null", vec![], 127),
        ] {
            assert_eq!(ran(command).await, (lines.into_iter().map(str::to_owned).collect(), code), "{command}");
        }
    }
}
