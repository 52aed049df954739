//! The agent: the one program of ours on a node.
//!
//! It runs twice. The *outer* copy holds the session with the control plane, sees to the place that the job runs in, and ends everything when
//! time is up. The *inner* copy runs there, beside the user's code: it serves SSH, runs the main process and JupyterLab, and talks to the outer
//! over a Unix socket. The place is one of three ([`domain::agent::Room`]): a sandbox on this machine; a container on a machine that was
//! bought for the job, which ends with it; a pod, where Kubernetes starts both copies.
//!
//! **Invariants.**
//! - The inner copy never has the session secret: user code may become root beside it.
//! - User code is data: every process is started from an argument array and an environment map.
//! - A job with an end is ended by this node's own timer, whether or not anybody can be reached; an outage neither extends nor
//!   ends it. A job without an end that hears nothing for an hour ends itself.
//! - A job with a disk begins when that is in its place, and the disk is let go when nothing of the job runs any more. A file system is made
//!   only where nothing was ever written.
//! - When the outer is killed, nothing of the job stays: bubblewrap ends the sandbox with its parent, and elsewhere the
//!   inner copy ends the processes when its socket closes.
//! - Every process that we start for a job carries `SLIPWAY_WORKLOAD=<id>`, by which [`end_leftovers`] finds what a killed fleet
//!   left behind. One that has thrown that away is still a child of one copy or the other, which adopt what is orphaned, and is
//!   ended by them. Without bubblewrap such a process is missed when both copies are killed at once.

mod boot;
mod cli;
mod coming;
mod deadlines;
mod disk;
mod endpoint;
mod environment;
mod error;
mod gpu;
mod idle;
mod inner;
mod install;
mod jupyter;
mod link;
mod logs;
mod machine;
mod main_process;
mod model;
mod node;
mod orphans;
mod outer;
mod plane;
mod processes;
mod reach;
mod room;
mod sandbox;
mod spawn;
mod ssh;
mod sync;
pub mod tree;

pub use self::{
    cli::run,
    error::AgentError,
    gpu::{GpuSeen, gpus},
    processes::{Leftovers, WORKLOAD_MARK, end_leftovers},
};
