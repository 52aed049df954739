//! A Kubernetes API server in memory: as much of it as the fleet stands on, and enough for `kubectl get`.
//!
//! It keeps the promises that the crate's documentation names (one creation of a name, writes at a version, finalizers, collection of
//! what is owned), and plays the scheduler and the node as far as a test asks for it.

mod discovery;
mod merge;
mod node;
mod selectors;
mod server;
mod store;
mod tests;
mod turns;
mod watch;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use cloud::Clock;
use serde_json::Value;
use tokio::sync::watch as channel;

use self::{
    node::Nodes,
    store::{RESOURCES, Resource, Store},
};
pub(crate) use self::{node::Scheduler, server::router, turns::Turns};

/// What the server does wrong, once.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It refuses, and nothing happens.
    Refuse(u16, &'static str, String),
    /// It does what it was asked, and the answer is lost on its way.
    LoseAnswer,
}

/// The server. A clone is the same one.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: channel::Sender<u64>,
    turns: Turns,
    clock: Arc<dyn Clock>,
}

pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) nodes: Nodes,
    /// The fault, and which request it meets: its verb and resource.
    pub(crate) faults: Vec<(&'static str, &'static str, Fault)>,
    /// Who may come in; everybody where it is empty.
    pub(crate) bearers: BTreeSet<String>,
    /// What was asked, by whom.
    pub(crate) asked: Vec<(String, String, String)>,
}

impl Fake {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            store: Store::default(),
            nodes: Nodes::default(),
            faults: Vec::new(),
            bearers: BTreeSet::new(),
            asked: Vec::new(),
        };
        let (state, changed) = (Mutex::new(state), channel::Sender::new(0));
        Self(Arc::new(Inner { state, changed, turns: Turns::default(), clock }))
    }

    /// Listens on loopback.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = axum::serve(listener, router(self.clone()));
        tokio::spawn(async move { served.await.unwrap() });
        address
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// The next request of this kind meets this fault.
    pub(crate) fn fault(&self, verb: &'static str, resource: &'static str, fault: Fault) {
        self.state().faults.push((verb, resource, fault));
    }

    pub(crate) fn schedule(&self, scheduler: Scheduler) {
        self.state().nodes.scheduler = scheduler;
        self.act(|_| {});
    }

    /// Something happens in the cluster that no client asked for.
    pub(crate) fn act(&self, what: impl FnOnce(&mut State)) {
        let mut state = self.state();
        what(&mut state);
        state.settle(self.0.clock.now());
        let version = state.store.version();
        drop(state);
        self.0.changed.send_replace(version);
    }

    /// The objects of a kind, by name.
    pub(crate) fn objects(&self, plural: &str) -> Vec<Value> {
        self.state().store.all(plural).cloned().collect()
    }

    pub(crate) fn names(&self, plural: &str) -> Vec<String> {
        self.objects(plural).iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// How often a pod was given to a node.
    pub(crate) fn bound(&self) -> usize {
        self.state().nodes.bound
    }
}

/// The kind of this name.
pub(crate) fn resource(plural: &str) -> &'static Resource {
    RESOURCES.iter().find(|one| one.plural == plural).unwrap()
}
