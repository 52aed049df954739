//! Nodes' ids in paths. What is malformed is unknown.

use std::str::FromStr;

use domain::{TenantId, WorkloadId, ids::NotAnId, tenant::PLATFORM};
use web::Identified;

/// What is said of a node that is not there.
pub(crate) const UNKNOWN: &str = "node not found";

/// A node's id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeRef(pub(crate) WorkloadId);

impl FromStr for NodeRef {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        WorkloadId::from_node(text).map(Self)
    }
}

impl Identified for NodeRef {
    const PARAMETER: &'static str = "node_id";
    const UNKNOWN: &'static str = UNKNOWN;
}

/// Whose nodes admins work with.
pub(crate) fn platform() -> TenantId {
    TenantId::new(PLATFORM)
}
