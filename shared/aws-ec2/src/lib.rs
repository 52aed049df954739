//! The fleet over EC2 and disks over EBS ([`volumes`]): the only crate that names `aws-sdk-ec2`.
//!
//! What is decided stands in modules without a client: which machines are tried in which order ([`offers`]), which of them were refused lately
//! ([`penalties`]), what a machine is told at its first boot ([`user_data`]), and what a list of instances means ([`sightings`]). [`fleet`] asks EC2,
//! and [`request`] writes what is asked for.
//!
//! **One attempt, one instance.** The launcher stores the attempt's number before it orders, and orders its steps one after another. An order
//! looks for the attempt by its tags before it asks for anything, and answers with what is there. Each offer has a client token of its own, a hash
//! of the attempt and the offer; whenever it is not clear what a request did, the same offer is asked again with the same token before any other is, in a
//! later call of the process too, and never more than one offer is left unclear. Should a second instance come to be all the same, because
//! another process asked for another offer before the first one's instance was listed, it holds the same one-time token, cannot enrol with
//! it, and powers itself off (`node/limits.sh`).
//!
//! **No tombstones.** EC2 cannot be told to refuse what is still on its way. That nothing comes of a late order rests on three things. The
//! launcher begins no order for a workload that is ending, and one that was begun before ends with its function, at most two minutes
//! later. What it made appears in the list soon after, so that an attempt of which nothing is seen counts as gone only after
//! [`sightings::SETTLED`]. And what appears later still is ended by the sweep of what nobody knows, which finds it by its tags.

pub mod accounts;
pub mod fleet;
pub mod offers;
pub mod penalties;
pub mod request;
pub mod settings;
pub mod sightings;
pub mod user_data;
pub mod volumes;

#[cfg(test)]
mod tests;

pub use fleet::Ec2Fleet;
pub use settings::{AgentBinary, Market, Settings, Subnet};
pub use volumes::EbsVolumes;
