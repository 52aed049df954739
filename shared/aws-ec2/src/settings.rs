//! What an installation says about its machines.

use std::time::Duration;

/// How a machine is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Market {
    /// At the list price, until it is ended.
    OnDemand,
    /// At the price of the hour, until EC2 wants it back.
    Spot,
}

/// A place that machines are put into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnet {
    /// The availability zone, such as `eu-central-1a`.
    pub zone: String,
    /// The subnet's id.
    pub id: String,
}

/// The agent's program, as a node fetches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentBinary {
    /// Where it is: an `https` address that needs no credentials, the same in every repetition of an order.
    pub url: String,
    /// The SHA-256 that it must have, in 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Everything about the machines that an order does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This installation's name: the tag `slipway:deployment`. Two installations in one account never touch each other's machines.
    pub deployment: String,
    /// The region, for client tokens.
    pub region: String,
    /// The image: Linux with systemd, cloud-init, curl and the NVIDIA driver.
    pub image_id: String,
    /// The image's root device, such as `/dev/xvda`.
    pub root_device: String,
    /// The root volume's size in GiB.
    pub root_gib: i32,
    /// Where machines may be put, the preferred first.
    pub subnets: Vec<Subnet>,
    /// How machines may be paid for, the preferred first; usually on demand alone.
    pub markets: Vec<Market>,
    /// The security groups of each machine.
    pub security_groups: Vec<String>,
    /// Whether machines have a public address, which is then the one that users are told.
    pub public_addresses: bool,
    /// The instance profile's name, where machines are to have a role. Whatever runs on a machine may use it.
    pub instance_profile: Option<String>,
    /// Where the control plane answers: [`domain::agent::Boot::plane`].
    pub plane: String,
    /// The agent.
    pub agent: AgentBinary,
    /// A machine whose agent has not enrolled so long after its start powers itself off.
    pub enrol_within: Duration,
    /// The longest life of any workload from its activation, extensions included (`Policy::longest_hours`). The fleet is not told of extensions: a
    /// machine powers itself off for good only when no extension can have kept it.
    pub longest_life: Duration,
}

/// The time that a machine has to enrol unless an installation says otherwise: the launch waits for half of it (`AwaitBoot`), and big machines
/// boot slowly.
pub const ENROL_WITHIN: Duration = Duration::from_secs(30 * 60);
/// The root device of Amazon Linux's images.
pub const ROOT_DEVICE: &str = "/dev/xvda";
