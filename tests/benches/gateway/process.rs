//! A process that says where it answers, and what the kernel says of it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};

/// A program that was started here, and ends with this.
pub(super) struct Process {
    child: Child,
    /// Where it said that it answers.
    pub(super) url: String,
}

impl Process {
    /// This program in another part.
    pub(super) fn start<const N: usize>(words: [&str; N]) -> Self {
        Self::of(Command::new(std::env::current_exe().unwrap()).args(words))
    }

    /// A program that says `answers at URL` on its standard error.
    pub(super) fn of(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines.find_map(|line| Some(line.ok()?.split_once("answers at ")?.1.trim().to_owned()));
        // What it says later is read, so that it never waits for somebody to listen.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.expect("it says where it answers") }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

/// The time that a process has computed, in its own code and in the kernel's, with threads that have ended: `proc_pid_stat(5)`.
pub(super) fn computed(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Its name, which may contain anything, ends with the last bracket; the 14th and the 15th field are what is looked for.
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace().collect::<Vec<_>>();
    let ticks = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    let a_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
    Duration::from_secs(1) * ticks / u32::try_from(a_second).unwrap()
}
