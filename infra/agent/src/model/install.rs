//! Finding the program that serves models, or installing it for this workload, with what `pip` does told as it happens.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use domain::agent::{ModelServer, VLLM_VERSION};
use tokio::process::Command;

use crate::{
    link::{FromInner, Model, ModelNews},
    main_process::said_by,
    node::Node,
    orphans,
};

/// How long each step of an installation may take: vLLM is some gigabytes.
const STEP_WITHIN: Duration = Duration::from_secs(60 * 60);
/// How much of what a program said last explains its failure.
const SAID_LAST: usize = 200;
/// What is installed where the node has none, besides vLLM ([`VLLM_VERSION`]): a version that this agent's arguments are known to fit.
const LLAMA_CPP: &str = "xllamacpp==2026.10.11549";
/// The folder of what is installed, in the home of the job's processes.
const FOLDER: &str = ".slipway-model";
/// The few lines that are llama.cpp's server: the package has no program of its own.
const LLAMA_CPP_SERVER: &str = include_str!("llama_cpp.py");

/// How far the steps are, in percent: the virtual environment is made, everything is there, everything is installed. Between the first two
/// each download takes a quarter of what is left, since nobody knows beforehand how many there will be.
const MADE: u8 = 10;
const FETCHED: u8 = 80;
const INSTALLS: u8 = 85;
const INSTALLED: u8 = 100;

/// A program that is there, and what stands before its other arguments.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) program: PathBuf,
    pub(super) leading: Vec<PathBuf>,
}

/// Sees that the node has the program for this model.
///
/// # Errors
/// When it has none and none can be installed, in words.
pub(super) async fn prepared(node: &Node, model: &Model) -> Result<Prepared, String> {
    let installing = Installing { node };
    match &model.server {
        ModelServer::Vllm => {
            let program = match node.on_path("vllm") {
                Some(program) => {
                    installing.told("The node has vLLM already.".to_owned(), INSTALLED).await;
                    program
                }
                None => installing.environment("vLLM", &format!("vllm=={VLLM_VERSION}")).await?.join("bin/vllm"),
            };
            Ok(Prepared { program, leading: Vec::new() })
        }
        ModelServer::LlamaCpp { .. } => {
            let program = match installing.python_with("xllamacpp").await {
                Some(program) => {
                    installing.told("The node has llama.cpp already.".to_owned(), INSTALLED).await;
                    program
                }
                None => installing.environment("llama.cpp", LLAMA_CPP).await?.join("bin/python3"),
            };
            let script = installing.folder()?.join("llama_cpp.py");
            fs::write(&script, LLAMA_CPP_SERVER).map_err(|error| format!("{}: {error}", script.display()))?;
            Ok(Prepared { program, leading: vec![script] })
        }
        ModelServer::Command { argv } => {
            let program = argv.first().filter(|program| !program.is_empty()).ok_or("its command is empty")?;
            let found = if program.contains('/') { Some(program.into()) } else { node.on_path(program) };
            let program = found.ok_or_else(|| format!("{program} is not on the PATH"))?;
            Ok(Prepared { program, leading: Vec::new() })
        }
    }
}

/// An installation for one workload.
struct Installing<'a> {
    node: &'a Node,
}

impl Installing<'_> {
    /// The Python that has this module, if there is one.
    async fn python_with(&self, module: &str) -> Option<PathBuf> {
        let python = self.node.on_path("python3")?;
        let mut command = self.command(&python);
        command.args(["-c", &format!("import {module}")]);
        self.ran(command, |_line| None).await.is_ok().then_some(python)
    }

    /// A virtual environment with this package.
    async fn environment(&self, name: &str, package: &str) -> Result<PathBuf, String> {
        let python = self.node.on_path("python3");
        let python = python.ok_or_else(|| format!("neither {name} nor a python3 to install it with is on the PATH"))?;
        self.told(format!("Makes a virtual environment for {package}."), 0).await;
        let environment = self.folder()?.join("environment");
        let mut make = self.command(&python);
        make.args(["-m", "venv"]).arg(&environment);
        self.ran(make, |_line| None).await.map_err(|error| format!("python3 -m venv: {error}"))?;
        self.told(format!("Installs {package}."), MADE).await;
        let mut install = self.command(&environment.join("bin/python3"));
        install.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]);
        install.args(["--", package]);
        let mut steps = Steps::default();
        self.ran(install, |line| steps.line(line)).await.map_err(|error| format!("pip install {package}: {error}"))?;
        Ok(environment)
    }

    /// The folder of what is installed; made if it is not there.
    fn folder(&self) -> Result<PathBuf, String> {
        let folder = self.node.home.join(FOLDER);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }

    async fn told(&self, text: String, percent: u8) {
        self.node.tell(FromInner::Model { news: ModelNews::Note { text, percent: Some(percent) } }).await;
    }

    /// A program of the job's, in a process group of its own.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.node.environment).current_dir(&self.node.home).process_group(0);
        // Else what it says of its steps would wait in its own buffer until it ends.
        command.env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end, and tells what `step` makes of its lines; the error is what it said last.
    async fn ran(&self, mut command: Command, mut step: impl FnMut(&str) -> Option<Step>) -> Result<(), String> {
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        orphans::awaited(child.id());
        let mut lines = said_by(&mut child, "an installation's output");
        let mut last = String::new();
        let heard = async {
            while let Some(line) = lines.recv().await {
                if let Some(Step { text, percent }) = step(&line) {
                    self.told(text, percent).await;
                }
                if !line.trim().is_empty() {
                    line.trim().clone_into(&mut last);
                }
            }
            child.wait().await
        };
        match tokio::time::timeout(STEP_WITHIN, heard).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                crate::logs::cut(&mut last, SAID_LAST);
                Err(format!("{status}: {last}"))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_late) => Err(format!("it took longer than {} minutes", STEP_WITHIN.as_secs() / 60)),
        }
    }
}

/// A step of an installation, and how far that is in percent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    text: String,
    percent: u8,
}

/// The steps of `pip install`, by its lines.
#[derive(Debug)]
struct Steps {
    fetched: u8,
}

impl Default for Steps {
    fn default() -> Self {
        Self { fetched: MADE }
    }
}

impl Steps {
    /// Reads a line: `Downloading FILE (SIZE)` for each package, then one line for all.
    fn line(&mut self, line: &str) -> Option<Step> {
        let line = line.trim();
        for (words, does) in [("Downloading ", "Downloads"), ("Using cached ", "Takes")] {
            if let Some(file) = line.strip_prefix(words) {
                // Its other files are what it reads to find out which packages it needs.
                if file.split_whitespace().next().is_some_and(|file| file.ends_with(".metadata")) {
                    return None;
                }
                self.fetched += (FETCHED - self.fetched) / 4;
                return Some(Step { text: format!("{does} {file}."), percent: self.fetched });
            }
        }
        if let Some(packages) = line.strip_prefix("Installing collected packages: ") {
            let count = packages.split(", ").count();
            return Some(Step { text: format!("Installs {count} packages."), percent: INSTALLS });
        }
        line.strip_prefix("Successfully installed ")
            .map(|packages| Step { text: format!("Installed {packages}."), percent: INSTALLED })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_does_is_told_as_it_happens() {
        let mut steps = Steps::default();
        for (line, step) in [
            ("Looking in links: /opt/wheels", None),
            ("Collecting xllamacpp==1", None),
            ("  Downloading xllamacpp-1-cp310.whl.metadata (12 kB)", None),
            ("  Downloading xllamacpp-1-cp310.whl (33.8 MB)", Some(("Downloads xllamacpp-1-cp310.whl (33.8 MB).", 27))),
            ("Collecting numpy>=1.17 (from xllamacpp==1)", None),
            ("  Using cached numpy-2.whl (16 MB)", Some(("Takes numpy-2.whl (16 MB).", 40))),
            ("Installing collected packages: numpy, xllamacpp", Some(("Installs 2 packages.", 85))),
            ("Successfully installed numpy-2 xllamacpp-1", Some(("Installed numpy-2 xllamacpp-1.", 100))),
        ] {
            let step = step.map(|(text, percent): (&str, u8)| Step { text: text.to_owned(), percent });
            assert_eq!(steps.line(line), step, "{line}");
        }
    }

    #[test]
    fn downloads_never_reach_the_step_after_them() {
        let mut steps = Steps::default();
        let mut before = 0;
        for _download in 0..200 {
            let Some(Step { percent, .. }) = steps.line("Downloading a.whl (1 kB)") else { panic!("no step") };
            assert!(percent >= before && percent <= FETCHED, "{percent} after {before}");
            before = percent;
        }
    }
}
