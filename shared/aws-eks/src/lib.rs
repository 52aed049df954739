//! The fleet over EKS: each attempt is one pod, with what it needs owned by that pod; and the disks of its pods ([`EksAttacher`]).
//!
//! # Asked twice, made once; ended, never made
//!
//! Kubernetes has no transaction over two objects. What it has, and what this crate stands on, is this:
//! - of several creations of one name exactly one succeeds, and the others are told that it exists;
//! - a write that names a resource version happens only if the object still has that version, and versions are never used again;
//! - a read without a resource version sees every write that was answered before it began;
//! - a pod with a scheduling gate is not bound to a node, nor is one with a deletion timestamp: the binding itself is refused;
//! - an object with a finalizer stays, deletion timestamp and status and all, until the finalizer is taken off;
//! - what is owned by an object that is gone, by its unique id, is collected.
//!
//! An *order* (`provision`) and an *end* (`terminate`) of one attempt then go like this:
//!
//! | | order | | end |
//! |---|---|---|---|
//! | O1 | create the pod, gated and with a finalizer | E1 | create the tombstone, a small config map |
//! | O2 | read the tombstone; if it is there, delete the pod and refuse | E2 | read the pod |
//! | O3 | create the secret and the service, owned by the pod | E3 | delete the pod, if there is one |
//! | O4 | lift the gate, if the pod is still at the version read before O2 | | |
//!
//! *An ended attempt runs nothing.* Take an order and an end of one attempt, as slow and as often repeated as you like. If O2 came
//! before E1, then so did O1, and E2 sees the pod; E3 deletes it. From then on the gate cannot be lifted any more, because the version
//! has changed, and lifted before or not, the pod is not bound any more or is being ended by its node. If O2 came after E1, the
//! order sees the tombstone and deletes its own pod, which was gated all the time. So a tombstone that was there before an order
//! began keeps that order from ever running anything, also one that comes hours later, and also when the pod it once made is gone.
//! A test goes through all interleavings of the requests of an order and an end, with a scheduler that binds at every chance.
//!
//! A check of a tombstone *before* the creation would not do (the end may come between the two), nor would a secret whose name
//! stands for the attempt (it may be replaced after the order saw it, and the pod is made all the same).
//!
//! *Who reads, reads the tombstone first.* `describe` answers that an attempt is gone when a tombstone was there and, after that, no
//! pod, or a pod that ended, or one that was deleted before it was bound. In the other order it could miss a pod that is made between the
//! two reads and takes its turn before the tombstone.
//!
//! *A pod does not vanish unseen.* Its finalizer keeps it, with the times at which its containers finished, when its node is drained or
//! somebody deletes it; the next end writes that time into the tombstone and lets the pod go. Without a tombstone, absence says nothing.
//! Tombstones are removed by the sweep ([`cloud::Fleet::list`]) after a day: no request is under way for so long.
//!
//! *Nothing is left over.* The secret and the service are born with the pod as their owner. So the fleet needs no right to read, list or
//! delete secrets.
//!
//! # What the namespace must allow
//!
//! The role of the fleet's identity: `pods` get, list, create, patch, delete; `configmaps` get, list, create, patch, delete; `services` get,
//! create; `secrets` create; `persistentvolumeclaims` get, create. And in the whole cluster, where persistent volumes belong to no
//! namespace: `persistentvolumes` get, list, create, delete. It makes and removes those with its own labels alone, and what they stand for outlives
//! them. The namespace belongs to the fleet alone and may enforce the `baseline` Pod Security Standard; `restricted` would
//! refuse images that run as root. It needs Kubernetes 1.30 (scheduling gates), and for disks the
//! EBS CSI driver.
//!
//! **Invariants.**
//! - No pod is privileged, sees the host, has a service account's token, or carries a secret in its environment.
//! - The one-time token is in one secret, which only the agent's own container mounts.
//! - User code is data: every command is an array of arguments, and nothing is given to a shell.

mod connect;
mod errors;
mod fleet;
pub mod gang;
mod names;
mod owned;
mod pod;
mod settings;
mod sight;
mod volumes;

pub use connect::{Cluster, ConnectError, Token, Tokens, connect};
pub use fleet::EksFleet;
pub use kube::Client;
pub use settings::{Nodes, Settings, Share, WayIn};
pub use volumes::EksAttacher;
