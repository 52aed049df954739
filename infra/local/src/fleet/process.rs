//! An attempt's agent as a process of this machine.

use std::{env, fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, process::Stdio, sync::Arc, time::Duration};

use agent::Leftovers;
use cloud::Order;
use domain::agent::{Boot, Room};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    sync::oneshot,
};

use super::{
    AGAIN, Inner,
    record::{Key, LOG, Made},
};
use crate::data;

/// An agent that is told to end does so within ten seconds, or is ended.
const PATIENCE: Duration = Duration::from_secs(12);

/// Of our own environment an agent gets these, where they are set.
const PASSED_ON: [&str; 3] = ["PATH", "HOME", "LANG"];

/// A running agent, and where it is told to end.
pub(super) struct Agent {
    child: Child,
    stop: oneshot::Receiver<()>,
}

impl Agent {
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }
}

impl Inner {
    /// Starts the agent of an attempt.
    pub(super) async fn spawn(&self, order: &Order, made: &Made) -> io::Result<(Agent, oneshot::Sender<()>)> {
        let work_dir = self.files.work_dir((order.workload, order.attempt));
        data::make_dir(&work_dir)?;
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(work_dir.join(LOG))?;
        let simulated = self.settings.nodes.iter().find(|spec| spec.id == order.node).is_none_or(|spec| spec.simulated);
        // The host key lies at the data folder's root.
        let data_root = self.settings.host_key.parent();
        let boot = Boot {
            plane: self.settings.plane_url.clone(),
            workload: order.workload,
            room: Room::Sandbox,
            token: order.enroll_token.clone(),
            listen: self.settings.listen.to_string(),
            ssh_port: made.address.ssh_port,
            jupyter_port: made.address.jupyter_port,
            model_port: made.address.model_port,
            model_server: order.serves.then(|| self.settings.model_server.clone()),
            work_dir: work_dir.to_string_lossy().into_owned(),
            host_key: self.settings.host_key.to_string_lossy().into_owned(),
            hidden: data_root.map(|root| root.to_string_lossy().into_owned()).into_iter().collect(),
            image_root: self.image_root(&order.image).map(|root| root.to_string_lossy().into_owned()),
            image: order.image.clone(),
            gpus: made.gpus.clone(),
            disk: order.disk.is_some(),
            gpus_simulated: simulated,
        };
        let mut line = serde_json::to_vec(&boot)?;
        line.push(b'\n');
        let mut child = self.command(order).stdout(log.try_clone()?).stderr(log).spawn()?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(&line).await
        {
            // An agent that does not read has ended, and its end is seen by whoever attends it.
            tracing::warn!(workload = %order.workload, %error, "fleet.agent_does_not_read");
        }
        let (tell, stop) = oneshot::channel();
        Ok((Agent { child, stop }, tell))
    }

    /// The agent's command line and environment. Nothing of ours goes into it that is not named here.
    fn command(&self, order: &Order) -> Command {
        let mut command = Command::new(&self.settings.program);
        command.args(["agent", "outer"]).current_dir("/").env_clear();
        for name in PASSED_ON {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env(agent::WORKLOAD_MARK, order.workload.to_string());
        command.env("SLIPWAY_SANDBOX", self.settings.sandbox.word()).env("LOG_LEVEL", &self.settings.log_level);
        // A group of its own: Ctrl-C in our terminal is for us, and we end the agents ourselves.
        command.process_group(0).stdin(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Waits for an agent's end, or brings it about, and sees that nothing of the attempt stays.
    pub(super) async fn attend(self: Arc<Self>, key: Key, agent: Agent) {
        let Agent { mut child, mut stop } = agent;
        let status = tokio::select! {
            status = child.wait() => status,
            _told = &mut stop => self.end(&mut child).await,
        };
        match status {
            Ok(status) => tracing::info!(workload = %key.0, attempt = key.1, %status, "fleet.ended"),
            Err(error) => tracing::error!(workload = %key.0, attempt = key.1, %error, "fleet.end_not_seen"),
        }
        self.finish(key).await;
    }

    /// Sees that nothing of an attempt stays, and that its end is told and written down. If the plane stops before that, the record
    /// says that it runs, and the next life does the same.
    pub(super) async fn finish(self: Arc<Self>, key: Key) {
        let over = self.nothing_remains(key).await && self.told_of_end(key).await;
        let mut pods = self.pods.lock().await;
        let Some(pod) = pods.all.get_mut(&key) else { return };
        // The message is in its queue before the end is written down: if we are killed between the two, the next life sends it again.
        if over && let Err(error) = self.files.write(&pod.record) {
            tracing::error!(workload = %key.0, %error, "fleet.end_not_written");
        }
        pod.attended = false;
    }

    /// Ends what is left of an attempt, however long that takes: its GPUs are in use until nothing of it runs. False when the plane stops
    /// before that.
    async fn nothing_remains(&self, key: Key) -> bool {
        loop {
            let (files, end_leftovers) = (self.files.clone(), Arc::clone(&self.end_leftovers));
            let looked = tokio::task::spawn_blocking(move || {
                let workload = key.0.to_string();
                let left = end_leftovers(&|mark| mark == workload);
                if left.remaining == 0 {
                    files.tidy(key);
                }
                left
            });
            match looked.await {
                Ok(Leftovers { found: 0, remaining: 0 }) => return true,
                Ok(Leftovers { found, remaining: 0 }) => {
                    tracing::warn!(workload = %key.0, processes = found, "fleet.agent_left_processes");
                    return true;
                }
                Ok(Leftovers { remaining, .. }) => {
                    tracing::error!(workload = %key.0, processes = remaining, "fleet.processes_do_not_end");
                }
                Err(died) => tracing::error!(workload = %key.0, error = %died, "fleet.processes_not_ended"),
            }
            if self.is_closing().await {
                return false;
            }
            self.clock.sleep(AGAIN).await;
        }
    }

    /// Ends an agent: it ends its job and goes, or is ended with it.
    async fn end(&self, child: &mut Child) -> io::Result<std::process::ExitStatus> {
        // The id is the agent's for as long as nobody has waited for it, so no stranger gets the signal.
        if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok())
            && let Err(error) = kill(Pid::from_raw(id), Signal::SIGTERM)
        {
            tracing::debug!(id, %error, "the agent could not be told to end");
        }
        tokio::select! {
            status = child.wait() => return status,
            () = self.clock.sleep(PATIENCE) => {}
        }
        tracing::warn!(id = child.id(), "fleet.agent_killed");
        child.start_kill()?;
        child.wait().await
    }
}
