//! Instances' ids in paths. What is malformed is unknown.

use std::str::FromStr;

use domain::{WorkloadId, ids::NotAnId};
use web::Identified;

/// What is said of an instance that is not there, or is another tenant's.
pub(crate) const UNKNOWN: &str = "instance not found";

/// An instance's id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InstanceRef(pub(crate) WorkloadId);

impl FromStr for InstanceRef {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        WorkloadId::from_node(text).map(Self)
    }
}

impl Identified for InstanceRef {
    const PARAMETER: &'static str = "instance_id";
    const UNKNOWN: &'static str = UNKNOWN;
}
