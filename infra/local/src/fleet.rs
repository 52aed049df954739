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

use async_trait::async_trait;
use cloud::{Clock, Fleet, FleetError, Order, PortError, Provisioned, Queue, Sighting, Tagged};
use domain::{NodeId, TenantId, WorkloadId, workload::Address};
use tokio::sync::{Mutex, oneshot};

use crate::{
    StartError,
    settings::{NodeSpec, SandboxKind},
};
use record::{Ended, Files, Key, Record};

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
    /// What agents log.
    pub(crate) log_level: String,
}

/// The fleet; a clone is the same one.
#[derive(Clone)]
pub(crate) struct LocalFleet(Arc<Inner>);

struct Inner {
    settings: FleetSettings,
    files: Files,
    clock: Arc<dyn Clock>,
    queue: Arc<dyn Queue>,
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
    /// Its agent runs, and somebody attends it.
    attended: bool,
}

impl LocalFleet {
    /// Opens the fleet and ends what an earlier life left running. It answers calls once [`LocalFleet::settle`] was called.
    pub(crate) fn open(
        settings: FleetSettings,
        clock: Arc<dyn Clock>,
        queue: Arc<dyn Queue>,
    ) -> Result<Self, StartError> {
        let files = Files { attempts: settings.attempts.clone(), pods: settings.pods.clone() };
        let mut records = files.read(clock.now())?;
        let left: BTreeSet<Key> = records.iter().filter(|record| record.ended.is_none()).map(Record::key).collect();
        let ran = end_leftovers(&left);
        for record in records.iter_mut().filter(|record| record.ended.is_none()) {
            // What still ran has stopped just now; of the rest nobody knows when it did.
            let at = ran.contains(&record.workload.to_string()).then(|| clock.now());
            record.ended = Some(Ended { at });
            record.written_at = clock.now();
            if let Err(error) = files.wipe(record.key()) {
                tracing::warn!(workload = %record.workload, %error, "fleet.folder_not_emptied");
            }
        }
        let pod = |record: Record| (record.key(), Pod { record, stop: None, attended: false });
        let all = records.into_iter().map(pod).collect();
        let pods = Mutex::new(Pods { all, left: left.into_iter().collect(), closing: false });
        Ok(Self(Arc::new(Inner { settings, files, clock, queue, pods })))
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

/// Ends what is left of these attempts; answers the workloads that anything was left of.
fn end_leftovers(left: &BTreeSet<Key>) -> BTreeSet<String> {
    let workloads: BTreeSet<String> = left.iter().map(|(workload, _)| workload.to_string()).collect();
    let seen = RefCell::new(BTreeSet::new());
    if !workloads.is_empty() {
        let processes = agent::end_leftovers(|workload| {
            let ours = workloads.contains(workload);
            if ours {
                seen.borrow_mut().insert(workload.to_owned());
            }
            ours
        });
        tracing::info!(attempts = left.len(), processes, "fleet.leftovers_ended");
    }
    seen.into_inner()
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
        let taken = live().flat_map(|made| [made.address.ssh_port, made.address.jupyter_port]).collect();
        let (ssh_port, jupyter_port) = self.ports(&taken).map_err(|error| PortError::Unavailable(error.to_string()))?;
        let address = Address { host: self.settings.public_host.clone(), ssh_port, jupyter_port };
        Ok(Record::ordered(order, gpus, address, self.clock.now()))
    }

    /// The lowest free GPUs of a node.
    fn gpus(&self, node: &NodeId, count: u32, booked: &BTreeSet<u32>) -> Result<Vec<u32>, FleetError> {
        let Some(spec) = self.settings.nodes.iter().find(|spec| spec.id == *node) else {
            return Err(FleetError::Refused(format!("{node} is no node of this machine any more")));
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let free: Vec<u32> = spec.indexes.iter().copied().filter(|index| !booked.contains(index)).take(count).collect();
        if free.len() == count {
            Ok(free)
        } else {
            Err(FleetError::Capacity(format!("GPUs of {node} are still in use")))
        }
    }

    /// Two ports that nobody listens on now. Both are held until both are found, so that they differ.
    fn ports(&self, taken: &BTreeSet<u16>) -> std::io::Result<(u16, u16)> {
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
        Ok((found(self.settings.listen)?, found(Ipv4Addr::LOCALHOST.into())?))
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

    /// The agent of an attempt has ended, and with it everything that it ran.
    async fn ended(&self, key: Key) {
        let now = self.clock.now();
        let mut pods = self.pods.lock().await;
        let Some(pod) = pods.all.get_mut(&key) else { return };
        pod.record.ended = Some(Ended { at: Some(now) });
        pod.record.written_at = now;
        // The message is in its queue before the end is written down: if we are killed between the two, the next life sends it again.
        if let Err(error) = self.queue.send(&pod.record.reconcile()).await {
            tracing::error!(workload = %key.0, %error, "fleet.reconcile_not_sent");
        }
        if let Err(error) = self.files.write(&pod.record) {
            tracing::error!(workload = %key.0, %error, "fleet.end_not_written");
        }
        pod.attended = false;
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

    async fn describe(&self, tenant: &TenantId, workload: WorkloadId, attempt: u32) -> Result<Sighting, PortError> {
        let key = (workload, attempt);
        let mut pods = self.0.pods.lock().await;
        if let Some(pod) = pods.all.get(&key) {
            return Ok(pod.record.sighting());
        }
        // Only this process makes anything here, so what it does not know was never made; now it never will be.
        let record = Record::tombstone(tenant, key, self.0.clock.now());
        self.0.write(&record)?;
        let sighting = record.sighting();
        pods.all.insert(key, Pod { record, stop: None, attended: false });
        Ok(sighting)
    }

    async fn terminate(&self, tenant: &TenantId, workload: WorkloadId, attempt: u32) -> Result<(), PortError> {
        let key = (workload, attempt);
        let mut pods = self.0.pods.lock().await;
        let Some(pod) = pods.all.get_mut(&key) else {
            let record = Record::tombstone(tenant, key, self.0.clock.now());
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
            self.0.write(&record)?;
            pod.record = record;
        }
        pod.tell_to_end();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        let pods = self.0.pods.lock().await;
        Ok(pods.all.values().filter(|pod| pod.record.live().is_some()).map(|pod| pod.record.tagged()).collect())
    }
}
