//! Whose request is served next: how a test goes through the interleavings of several clients.

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::watch;

/// Clients are told apart by their bearer token. Where no order is set, everybody is served at once.
pub(crate) struct Turns(watch::Sender<Order>);

#[derive(Default)]
struct Order {
    next: VecDeque<String>,
    done: BTreeSet<String>,
}

impl Default for Turns {
    fn default() -> Self {
        Self(watch::Sender::new(Order::default()))
    }
}

impl Order {
    fn may(&self, who: &str) -> bool {
        self.next.iter().find(|next| !self.done.contains(*next)).is_none_or(|next| next == who)
    }
}

impl Turns {
    /// From now on requests are served in this order, and when it is used up, as they come.
    pub(crate) fn set(&self, order: impl IntoIterator<Item = &'static str>) {
        let next = order.into_iter().map(str::to_owned).collect();
        self.0.send_replace(Order { next, done: BTreeSet::new() });
    }

    /// Comes back when it is this client's turn.
    pub(crate) async fn wait(&self, who: &str) {
        self.0.subscribe().wait_for(|order| order.may(who)).await.unwrap();
    }

    /// Its request was served.
    pub(crate) fn served(&self, who: &str) {
        self.0.send_modify(|order| {
            if let Some(at) = order.next.iter().position(|next| next == who) {
                order.next.remove(at);
            }
        });
    }

    /// This client asks for nothing more: its turns are left out.
    pub(crate) fn done(&self, who: &str) {
        self.0.send_modify(|order| order.done.extend([who.to_owned()]));
    }
}
