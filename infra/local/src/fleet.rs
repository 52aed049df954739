//! The fleet of one machine: each attempt is a process tree under a real agent.
//!
//! Everything is written down before it is done (see [`record`]), so that this one process can answer for every attempt there ever was:
//! what it did not make in this life runs no more, and what it is asked about without having made it is marked as never to be made.

mod process;
mod record;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use agent::Leftovers;
use async_trait::async_trait;
use cloud::{Attempt, Clock, Fleet, FleetError, Order, PortError, Provisioned, Queue, Sighting, Tagged};
use domain::{NodeId, agent::ModelServer, credential::CloudKeys, workload::Address};
use tokio::sync::{Mutex, oneshot};

use crate::{
    StartError,
    settings::{NodeSpec, SandboxKind},
    volumes::Attempts,
};
use record::{Ended, Files, Key, Record};

/// The pause before what has to be done in the end is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a fleet is told about this machine and this installation.
#[derive(Clone, Debug)]
pub(crate) struct FleetSettings {
    /// The executable that agents are started from.
    pub(crate) program: PathBuf,
    /// The nodes.
    pub(crate) nodes: Vec<NodeSpec>,
    /// Where agents reach the plane.
    pub(crate) plane_url: String,
    /// The address that SSH servers listen on.
    pub(crate) listen: IpAddr,
    /// The host by which users reach them.
    pub(crate) public_host: String,
    /// The SSH host key.
    pub(crate) host_key: PathBuf,
    /// Where records are kept.
    pub(crate) attempts: PathBuf,
    /// Where the attempts' folders are.
    pub(crate) pods: PathBuf,
    /// The folder of unpacked images.
    pub(crate) images: Option<PathBuf>,
    /// What agents run jobs in.
    pub(crate) sandbox: SandboxKind,
    /// What serves models.
    pub(crate) model_server: ModelServer,
    /// What agents log.
    pub(crate) log_level: String,
}

/// Ends every process whose workload is one of those; see [`agent::end_leftovers`].
type EndLeftovers = Arc<dyn Fn(&dyn Fn(&str) -> bool) -> Leftovers + Send + Sync>;

/// The fleet; a clone is the same one.
#[derive(Clone)]
pub(crate) struct LocalFleet(Arc<Inner>);

struct Inner {
    settings: FleetSettings,
    files: Files,
    clock: Arc<dyn Clock>,
    queue: Arc<dyn Queue>,
    end_leftovers: EndLeftovers,
    pods: Mutex<Pods>,
}

#[derive(Default)]
struct Pods {
    all: BTreeMap<Key, Pod>,
    /// What an earlier life left running; see [`LocalFleet::settle`].
    left: Vec<Key>,
    /// Nothing more is made: the plane stops.
    closing: bool,
}

/// An attempt in this life.
struct Pod {
    record: Record,
    /// Tells whoever attends its agent to end it; none before the agent runs, and after it was told.
    stop: Option<oneshot::Sender<()>>,
    /// Something of it runs, or its end has not been told and written down: somebody attends to that.
    attended: bool,
}

impl LocalFleet {
    /// Opens the fleet and ends what an earlier life left running. It answers calls once [`LocalFleet::settle`] was called.
    pub(crate) fn open(
        settings: FleetSettings,
        clock: Arc<dyn Clock>,
        queue: Arc<dyn Queue>,
    ) -> Result<Self, StartError> {
        Self::over(settings, clock, queue, Arc::new(|is_ours| agent::end_leftovers(is_ours)))
    }

    fn over(
        settings: FleetSettings,
        clock: Arc<dyn Clock>,
        queue: Arc<dyn Queue>,
        end_leftovers: EndLeftovers,
    ) -> Result<Self, StartError> {
        let files = Files { attempts: settings.attempts.clone(), pods: settings.pods.clone() };
        let records = files.read(clock.now())?;
        let live = records.iter().filter(|record| record.ended.is_none()).map(|record| record.workload.to_string());
        let met = Met::by_ending(&end_leftovers, &live.collect());
        let mut pods = Pods::default();
        for mut record in records {
            let attended = record.ended.is_none() && met.remaining.contains(&record.workload.to_string());
            if attended {
                // Its GPUs are in use for as long as anything of it runs; and a late order must not take it for a running one.
                record.told_to_end = true;
            } else if record.ended.is_none() {
                // What still ran has stopped just now; of the rest nobody knows when it did.
                let at = met.found.contains(&record.workload.to_string()).then(|| clock.now());
                record.ended = Some(Ended { at });
                record.written_at = clock.now();
                files.tidy(record.key());
                pods.left.push(record.key());
            }
            pods.all.insert(record.key(), Pod { record, stop: None, attended });
        }
        let attended: Vec<Key> = pods.all.iter().filter(|(_, pod)| pod.attended).map(|(key, _)| *key).collect();
        let fleet = Self(Arc::new(Inner { settings, files, clock, queue, end_leftovers, pods: Mutex::new(pods) }));
        for key in attended {
            tokio::spawn(Arc::clone(&fleet.0).finish(key));
        }
        Ok(fleet)
    }

    /// Tells the launcher of everything that an earlier life left and that has now ended.
    pub(crate) async fn settle(&self) -> Result<(), PortError> {
        let mut pods = self.0.pods.lock().await;
        for key in std::mem::take(&mut pods.left) {
            if let Some(pod) = pods.all.get(&key) {
                // Until the message is in its queue the record says that it runs, so that the next life tells of it again.
                self.0.queue.send(&pod.record.reconcile()).await?;
                self.0.write(&pod.record)?;
            }
        }
        Ok(())
    }

    /// Forgets attempts that ended so long ago that nobody asks about them any more.
    pub(crate) async fn forget_old(&self) {
        let mut pods = self.0.pods.lock().await;
        let now = self.0.clock.now();
        let files = &self.0.files;
        pods.all.retain(|_, pod| {
            if pod.attended || !pod.record.is_old(now) {
                return true;
            }
            let forgotten = files.forget(&pod.record);
            if let Err(error) = &forgotten {
                tracing::warn!(workload = %pod.record.workload, %error, "fleet.attempt_not_forgotten");
            }
            forgotten.is_err()
        });
    }

    /// Makes nothing more, tells every agent to end, and waits for that.
    pub(crate) async fn stop(&self, patience: Duration) {
        {
            let mut pods = self.0.pods.lock().await;
            pods.closing = true;
            for pod in pods.all.values_mut() {
                pod.tell_to_end();
            }
        }
        let until = self.0.clock.now().plus(patience);
        while self.0.pods.lock().await.all.values().any(|pod| pod.attended) {
            if self.0.clock.now() >= until {
                tracing::warn!("fleet.agents_left");
                return;
            }
            self.0.clock.sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What was left of an earlier life's workloads.
#[derive(Default)]
struct Met {
    /// Those that anything was left of.
    found: BTreeSet<String>,
    /// Those that something is still left of.
    remaining: BTreeSet<String>,
}

impl Met {
    /// Ends what is left of `workloads`.
    fn by_ending(end_leftovers: &EndLeftovers, workloads: &BTreeSet<String>) -> Self {
        if workloads.is_empty() {
            return Self::default();
        }
        let found = RefCell::new(BTreeSet::new());
        let Leftovers { found: processes, remaining } = end_leftovers(&|workload| {
            let ours = workloads.contains(workload);
            if ours {
                found.borrow_mut().insert(workload.to_owned());
            }
            ours
        });
        tracing::info!(workloads = workloads.len(), processes, remaining, "fleet.leftovers_ended");
        let found = found.into_inner();
        if remaining == 0 {
            return Self { found, ..Self::default() };
        }
        // Whose they are is asked only now, because it takes a while.
        let remains = |workload: &&String| end_leftovers(&|mark| mark == workload.as_str()).remaining > 0;
        Self { remaining: found.iter().filter(remains).cloned().collect(), found }
    }
}

impl Pod {
    fn tell_to_end(&mut self) {
        if let Some(stop) = self.stop.take()
            && stop.send(()).is_err()
        {
            tracing::debug!(workload = %self.record.workload, "the agent has just ended by itself");
        }
    }
}

impl Inner {
    fn write(&self, record: &Record) -> Result<(), PortError> {
        self.files.write(record).map_err(|error| PortError::Unavailable(format!("the record of an attempt: {error}")))
    }

    /// Makes a record for a new order: GPUs, ports.
    fn ordered(&self, pods: &Pods, order: &Order) -> Result<Record, FleetError> {
        let live = || pods.all.values().filter_map(|pod| pod.record.live());
        let before = |pod: &&Pod| pod.record.workload == order.workload && pod.record.live().is_some();
        if pods.all.values().any(|pod| before(&pod)) {
            return Err(FleetError::Capacity("the attempt before this one is still ending".to_owned()));
        }
        let booked = live().filter(|made| made.node == order.node).flat_map(|made| made.gpus.clone()).collect();
        let gpus = self.gpus(&order.node, order.gpus, &booked)?;
        let ports = |at: &Address| [at.ssh_port, at.jupyter_port].into_iter().chain(at.model_port);
        let taken = live().flat_map(|made| ports(&made.address)).collect();
        let ports = self.ports(&taken, order.serves).map_err(|error| PortError::Unavailable(error.to_string()))?;
        let (ssh_port, jupyter_port, model_port) = ports;
        let address = Address { host: self.settings.public_host.clone(), ssh_port, jupyter_port, model_port };
        Ok(Record::ordered(order, gpus, address, self.clock.now()))
    }

    /// The lowest free GPUs of a node.
    fn gpus(&self, node: &NodeId, count: u32, booked: &BTreeSet<u32>) -> Result<Vec<u32>, FleetError> {
        let Some(spec) = self.settings.nodes.iter().find(|spec| spec.id == *node) else {
            return Err(FleetError::Refused(format!("{node} is no node of this machine any more")));
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if spec.indexes.len() < count {
            // It was booked on the node as it was configured before; waiting for GPUs that are in use would never end.
            return Err(FleetError::Refused(format!("{node} has {} GPUs, not {count}", spec.indexes.len())));
        }
        let free: Vec<u32> = spec.indexes.iter().copied().filter(|index| !booked.contains(index)).take(count).collect();
        if free.len() == count {
            Ok(free)
        } else {
            Err(FleetError::Capacity(format!("GPUs of {node} are still in use")))
        }
    }

    /// Ports that nobody listens on now, for SSH, for JupyterLab and, where one is served, for a model. All are held until all are found, so
    /// that they differ.
    fn ports(&self, taken: &BTreeSet<u16>, serves: bool) -> std::io::Result<(u16, u16, Option<u16>)> {
        let mut held = Vec::new();
        let mut found = |address: IpAddr| loop {
            let listener = TcpListener::bind((address, 0))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            // A port of an agent that is still starting is free to see, and is not free.
            if !taken.contains(&port) {
                return Ok::<_, std::io::Error>(port);
            }
        };
        let (ssh, jupyter) = (found(self.settings.listen)?, found(Ipv4Addr::LOCALHOST.into())?);
        let model = serves.then(|| found(self.settings.listen)).transpose()?;
        Ok((ssh, jupyter, model))
    }

    /// The folder with the unpacked image, if there is one: named as the image, or with `_` for `/` and `:`.
    fn image_root(&self, image: &str) -> Option<PathBuf> {
        let images = self.settings.images.as_ref()?;
        let plain = image.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let names = [image.to_owned(), image.replace(['/', ':', '@'], "_")];
        let candidates = names.iter().filter(|_| plain).map(|name| images.join(name));
        // A folder above or below an unpacked root has neither of these.
        candidates.into_iter().find(|root| root.join("bin").exists() || root.join("usr").is_dir())
    }

    /// The plane stops: what is not done by now is done in the next life.
    async fn is_closing(&self) -> bool {
        self.pods.lock().await.closing
    }

    /// Nothing of an attempt runs any more. Whoever asks is told so from now on, and the launcher is told until the queue takes it;
    /// false when the plane stops before that.
    async fn told_of_end(&self, key: Key) -> bool {
        let message = {
            let now = self.clock.now();
            let mut pods = self.pods.lock().await;
            let Some(pod) = pods.all.get_mut(&key) else { return false };
            pod.record.ended = Some(Ended { at: Some(now) });
            pod.record.written_at = now;
            pod.record.reconcile()
        };
        // Others are answered meanwhile.
        while let Err(error) = self.queue.send(&message).await {
            tracing::error!(workload = %key.0, %error, "fleet.reconcile_not_sent");
            if self.is_closing().await {
                return false;
            }
            self.clock.sleep(AGAIN).await;
        }
        true
    }
}

#[async_trait]
impl Attempts for LocalFleet {
    async fn lives(&self, attempt: &Attempt) -> Option<bool> {
        let pods = self.0.pods.lock().await;
        let pod = pods.all.get(&(attempt.workload, attempt.number))?;
        Some(pod.record.live().is_some())
    }
}

#[async_trait]
impl Fleet for LocalFleet {
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError> {
        let key = (order.workload, order.attempt);
        let mut pods = self.0.pods.lock().await;
        if pods.closing {
            return Err(PortError::Unavailable("this process is stopping".to_owned()).into());
        }
        if !pods.all.contains_key(&key) {
            let record = self.0.ordered(&pods, order)?;
            self.0.write(&record)?;
            pods.all.insert(key, Pod { record, stop: None, attended: false });
        }
        let Some(pod) = pods.all.get_mut(&key) else {
            return Err(PortError::Unavailable("the attempt was lost".to_owned()).into());
        };
        let made = pod.record.made.clone().filter(|_| !pod.record.told_to_end);
        let Some(mut made) = made else { return Err(FleetError::Refused("this attempt was ended".to_owned())) };
        if !made.is_for(order) {
            return Err(FleetError::Refused("repeated with other parameters".to_owned()));
        }
        if pod.record.ended.is_some() {
            // The same answer as the first time would have the launch wait for an agent that has gone.
            return Err(FleetError::Refused("what it was running on has ended".to_owned()));
        }
        if !pod.attended {
            let unavailable =
                |error: std::io::Error| PortError::Unavailable(format!("the agent cannot be started: {error}"));
            let (agent, stop) = self.0.spawn(order, &made).await.map_err(unavailable)?;
            made.process = agent.id();
            pod.record.made = Some(made.clone());
            (pod.stop, pod.attended) = (Some(stop), true);
            tokio::spawn(Arc::clone(&self.0).attend(key, agent));
            // The attempt itself was written down before; this is for people.
            self.0.write(&pod.record)?;
            tracing::info!(workload = %order.workload, attempt = order.attempt, node = %order.node, "fleet.started");
        }
        Ok(pod.record.provisioned(&made))
    }

    async fn describe(&self, attempt: &Attempt) -> Result<Sighting, PortError> {
        let key = (attempt.workload, attempt.number);
        let mut pods = self.0.pods.lock().await;
        if let Some(pod) = pods.all.get(&key) {
            return Ok(pod.record.sighting());
        }
        // Only this process makes anything here, so what it does not know was never made; now it never will be.
        let record = Record::tombstone(attempt, self.0.clock.now());
        self.0.write(&record)?;
        let sighting = record.sighting();
        pods.all.insert(key, Pod { record, stop: None, attended: false });
        Ok(sighting)
    }

    async fn terminate(&self, attempt: &Attempt) -> Result<(), PortError> {
        let key = (attempt.workload, attempt.number);
        let mut pods = self.0.pods.lock().await;
        if pods.closing {
            // Everything is told to end already. What of it could not be ended must not be written down as ended.
            return Err(PortError::Unavailable("this process is stopping".to_owned()));
        }
        let Some(pod) = pods.all.get_mut(&key) else {
            let record = Record::tombstone(attempt, self.0.clock.now());
            self.0.write(&record)?;
            pods.all.insert(key, Pod { record, stop: None, attended: false });
            return Ok(());
        };
        if !pod.record.told_to_end {
            let mut record = pod.record.clone();
            record.told_to_end = true;
            record.written_at = self.0.clock.now();
            if !pod.attended && record.ended.is_none() {
                record.ended = Some(Ended { at: None });
            }
            // An end that the launcher has not been told of is not written down yet.
            let written = if pod.attended { Record { ended: None, ..record.clone() } } else { record.clone() };
            self.0.write(&written)?;
            pod.record = record;
        }
        pod.tell_to_end();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        let pods = self.0.pods.lock().await;
        Ok(pods.all.values().filter(|pod| pod.record.live().is_some()).map(|pod| pod.record.tagged()).collect())
    }

    /// One machine stands for any account.
    fn in_account(&self, _: &CloudKeys) -> Arc<dyn Fleet> {
        Arc::new(self.clone())
    }
}
