//! A disk's name and an operation's id in paths. What is malformed is unknown.

use std::str::FromStr;

use domain::{
    OperationId,
    ids::NotAnId,
    names::{BadName, DiskName},
};
use web::Identified;

/// The name of one of the caller's disks.
#[derive(Clone, Debug)]
pub(crate) struct Named(pub(crate) DiskName);

impl FromStr for Named {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        DiskName::parse(text).map(Self)
    }
}

impl Identified for Named {
    const PARAMETER: &'static str = "disk_name";
    const UNKNOWN: &'static str = "Disk not found";
}

/// What was asked of a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperationOf(pub(crate) OperationId);

impl FromStr for OperationOf {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.parse().map(Self)
    }
}

impl Identified for OperationOf {
    const PARAMETER: &'static str = "operation_id";
    const UNKNOWN: &'static str = "Operation not found";
}
