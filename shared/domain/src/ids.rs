//! Every kind of identifier is a type of its own, so that none can be handed over for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::Timestamp;

/// The text is not an id in the one spelling that ours have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a hyphenated, lower-case UUID")]
pub struct NotAnId;

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        ///
        /// It is a UUID of version 7 (RFC 9562), so that ids sort by the time of their making.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id from the instant of its making and random bytes; both come from ports.
            #[must_use]
            pub fn new(at: Timestamp, random: &[u8; 32]) -> Self {
                Self(uuid_v7(at, random))
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let read = Uuid::try_parse(text).map_err(|_malformed| NotAnId)?;
                // Only the hyphenated form is an id of ours: one thing has one address.
                if read.hyphenated().to_string() == text { Ok(Self(read)) } else { Err(NotAnId) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    )*};
}

uuid_ids! {
    /// What identifies one workload: a job, and later a node, an instance, a model server, a service or a pod.
    WorkloadId
    /// What identifies a message: it is allotted before the commit that sends it, so that an answer can name it.
    MessageId
    /// What identifies a disk, whatever it is called.
    DiskId
    /// What identifies a tenant's key: it is shown, and opens nothing.
    KeyId
    /// What identifies something that was asked of a disk and takes its time. What a cloud makes for it is tagged with it.
    OperationId
}

impl WorkloadId {
    /// The last twelve characters, all of them random: enough for a person to tell two workloads apart, not to address one.
    #[must_use]
    pub fn short(self) -> String {
        self.0.simple().to_string().chars().skip(20).collect()
    }
}

/// What comes before a workload's id where it is shown as a node or an instance (checklist K9).
const NODE: &str = "node-";

impl WorkloadId {
    /// As a node's or an instance's id: `node-UUID`.
    #[must_use]
    pub fn as_node(self) -> String {
        format!("{NODE}{self}")
    }

    /// Reads a node's or an instance's id in the one spelling that [`WorkloadId::as_node`] gives it.
    ///
    /// # Errors
    /// When it is of any other form.
    pub fn from_node(text: &str) -> Result<Self, NotAnId> {
        text.strip_prefix(NODE).ok_or(NotAnId)?.parse()
    }

    /// The name of the cluster of one that a workload shown as a node is: `cl-` and twelve hexadecimal digits (checklist 000#12).
    #[must_use]
    pub fn cluster_name(self) -> String {
        format!("cl-{}", self.short())
    }

    /// The name of the request that launched it, as nodes show it (checklist 000#12).
    #[must_use]
    pub fn request_id(self) -> String {
        format!("req-{self}")
    }
}

pub(crate) fn uuid_v7(at: Timestamp, random: &[u8; 32]) -> Uuid {
    let mut counter = [0; 10];
    counter.copy_from_slice(&random[..10]);
    Builder::from_unix_timestamp_millis(u64::try_from(at.millis()).unwrap_or(0), &counter).into_uuid()
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes `text` as it is: it comes from our own configuration or tables, never from a caller.
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_ids! {
    /// A tenant: what owns workloads, keys and limits. It begins every key of a row that a tenant owns.
    TenantId
    /// A person within a tenant, as the identity service names them.
    UserName
    /// A machine with GPUs that workloads are placed on.
    NodeId
    /// GPUs of one type in one place: what a workload queues for. Written `place/gpu`, as in `local/h100`.
    PoolId
    /// What a fleet calls the thing that runs one attempt of a workload: an instance, a pod or a process tree.
    InstanceId
    /// What a cloud calls the device that a disk is while a workload has it.
    VolumeId
    /// What a cloud calls a snapshot.
    SnapshotId
}

impl TenantId {
    /// The id of a tenant that an admin makes at this instant: a UUID, by which it is known as one that has a row.
    #[must_use]
    pub fn fresh(at: Timestamp, random: &[u8; 32]) -> Self {
        Self(uuid_v7(at, random).hyphenated().to_string())
    }

    /// Whether it is one that an admin made, which has a row. Others are named by the installation's login table: their people are the
    /// installation's own team, and have everything.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.0.parse::<KeyId>().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_have_one_spelling() {
        let early = WorkloadId::new(Timestamp::from_millis(1_000), &[0xff; 32]);
        let late = WorkloadId::new(Timestamp::from_millis(2_000), &[0; 32]);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<WorkloadId>().ok(), Some(early));
        for other in ["", "x", &early.to_string().to_uppercase(), &early.to_string().replace('-', "")] {
            assert!(other.parse::<WorkloadId>().is_err(), "{other}");
        }
        assert_eq!(late.short().len(), 12);
        let node = early.as_node();
        assert_eq!(WorkloadId::from_node(&node).ok(), Some(early));
        assert_eq!(early.cluster_name(), format!("cl-{}", &node[node.len() - 12..]));
        for other in
            [&early.to_string(), &node.to_uppercase(), &format!("node-{node}"), &node.replace("-0", "0"), "node-", ""]
        {
            assert!(WorkloadId::from_node(other).is_err(), "{other}");
        }
    }

    #[test]
    fn tenants_that_are_kept() {
        for (id, expected) in
            [("550e8400-e29b-41d4-a716-446655440000", true), ("default", false), ("platform", false), ("", false)]
        {
            assert_eq!(TenantId::new(id).is_kept(), expected, "{id}");
        }
        assert!(TenantId::fresh(Timestamp::from_millis(1_000), &[7; 32]).is_kept());
    }
}
