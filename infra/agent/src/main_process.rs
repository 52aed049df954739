//! The job's main process: started once, its output captured line by line.

use std::{
    io,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use cloud::{Clock, SystemClock};
use domain::{
    Secret,
    agent::{LogLine, MainProcess, Stream},
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
};

use crate::{link::FromInner, logs::LONGEST_LINE, node::Node, orphans};

/// How long after the process's end its output is still read: something that it left running may hold the pipe for ever.
pub(crate) const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Runs the user's command line, which is one argument to the shell and nothing of ours, to its end.
pub(crate) async fn run(node: Arc<Node>, command: Secret) {
    let mut program = Command::new("/bin/sh");
    program.arg("-c").arg(command.reveal()).env_clear().envs(&node.environment).current_dir(&node.home);
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
        output.spawn(capture(Arc::clone(&node), stdout, Stream::Stdout, |_text| {}));
    }
    if let Some(stderr) = child.stderr.take() {
        output.spawn(capture(Arc::clone(&node), stderr, Stream::Stderr, |_text| {}));
    }
    let code = exit_code(child.wait().await);
    let drained = async { while output.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_OUTPUT, drained).await.is_err() {
        // It goes on being read in the background; the exit code need not wait for it.
        output.detach_all();
    }
    node.tell(FromInner::Main { main: MainProcess::Exited { code } }).await;
}

/// The code, as shells count: 128 + n for signal n.
pub(crate) fn exit_code(status: io::Result<ExitStatus>) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            tracing::error!(%error, "the main process's end could not be seen");
            return 255;
        }
    };
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// Puts what is said at `output` into the job's log until its end; `see` is shown each line.
pub(crate) async fn capture(
    node: Arc<Node>,
    output: impl AsyncRead + Unpin,
    stream: Stream,
    mut see: impl FnMut(&str) + Send,
) {
    let mut output = Lines::new(BufReader::new(output));
    loop {
        match output.next().await {
            Ok(Some(text)) => {
                see(&text);
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

/// Everything that a process says, on both of its outputs, line by line; `what` that is, for the log.
pub(crate) fn said_by(child: &mut Child, what: &'static str) -> mpsc::Receiver<String> {
    let (tell, lines) = mpsc::channel(64);
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(forward(stdout, tell.clone(), what));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(forward(stderr, tell, what));
    }
    lines
}

async fn forward(output: impl AsyncRead + Unpin, tell: mpsc::Sender<String>, what: &'static str) {
    let mut lines = Lines::new(BufReader::new(output));
    loop {
        match lines.next().await {
            Ok(Some(line)) => {
                if tell.send(line).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, what, "output.unreadable");
                return;
            }
        }
    }
}

/// Output as lines of text. A line that is too long for one comes as several, and no character is cut in two or lost.
pub(crate) struct Lines<R> {
    from: R,
    /// What has been read and not given out yet: of one line, without its end.
    rest: Vec<u8>,
    /// Whether all of that line has been read.
    whole: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, rest: Vec::new(), whole: false }
    }

    /// The next line without its end, or so much of it as a line may hold.
    pub(crate) async fn next(&mut self) -> io::Result<Option<String>> {
        // One byte more than fits, so that the end of a line that just fits is seen.
        while !self.whole && self.rest.len() <= LONGEST_LINE {
            let available = self.from.fill_buf().await?;
            if available.is_empty() {
                if self.rest.is_empty() {
                    return Ok(None);
                }
                self.whole = true;
                break;
            }
            let part = &available[..available.len().min(LONGEST_LINE + 1 - self.rest.len())];
            let end = part.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(part.len());
            self.rest.extend_from_slice(&part[..length]);
            self.whole = end.is_some();
            self.from.consume(length + usize::from(self.whole));
            if self.whole && self.rest.last() == Some(&b'\r') {
                self.rest.pop();
            }
        }
        let (text, used) = decoded(&self.rest, self.whole);
        self.rest.drain(..used);
        self.whole &= !self.rest.is_empty();
        Ok(Some(text))
    }
}

/// As much of `bytes` as a line may hold, as text, and how many of them that is. What is no text is replaced, which makes it longer;
/// a character at the end that may not be all there is left for later, unless they are the `whole` line.
fn decoded(bytes: &[u8], whole: bool) -> (String, usize) {
    let (mut text, mut used) = (String::new(), 0);
    for chunk in bytes.utf8_chunks() {
        let fits = chunk.valid().floor_char_boundary(LONGEST_LINE - text.len());
        text.push_str(&chunk.valid()[..fits]);
        used += fits;
        let invalid = chunk.invalid();
        let cut_off = !whole && used + invalid.len() == bytes.len();
        let replaced = char::REPLACEMENT_CHARACTER;
        if fits < chunk.valid().len() || cut_off || text.len() + replaced.len_utf8() > LONGEST_LINE {
            break;
        }
        if !invalid.is_empty() {
            text.push(replaced);
            used += invalid.len();
        }
    }
    (text, used)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::environment::tests::setup;

    #[tokio::test]
    async fn output_becomes_lines() {
        let (long, just) = ("x".repeat(LONGEST_LINE + 3), "y".repeat(LONGEST_LINE) + "\nz");
        // The boundary falls into a character, and what is no text becomes three times as long.
        let (accents, none) = ("x".to_owned() + &"é".repeat(LONGEST_LINE / 2), vec![0xff; LONGEST_LINE + 1]);
        let replaced = "\u{fffd}".repeat(LONGEST_LINE / 3);
        for (output, lines) in [
            (&b""[..], vec![]),
            (b"a\nb\r\n\nlast", vec!["a", "b", "", "last"]),
            (b"\xff\n", vec!["\u{fffd}"]),
            (b"a\xc3", vec!["a\u{fffd}"]),
            (long.as_bytes(), vec![&long[..LONGEST_LINE], "xxx"]),
            (just.as_bytes(), vec![&just[..LONGEST_LINE], "z"]),
            (accents.as_bytes(), vec![&accents[..LONGEST_LINE - 1], "é"]),
            (&none, vec![&replaced, &replaced, &replaced, "\u{fffd}\u{fffd}\u{fffd}"]),
        ] {
            let mut from = Lines::new(BufReader::with_capacity(7, output));
            let mut found = Vec::new();
            while let Some(text) = from.next().await.unwrap() {
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
        tokio::spawn(run(node, Secret::new(command)));
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
