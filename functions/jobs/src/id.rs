//! A job's id: the id of the workload that it is.

use std::str::FromStr;

use domain::{WorkloadId, ids::NotAnId};
use web::{Identified, OfWorkload};

/// A job's id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobId(WorkloadId);

impl FromStr for JobId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.parse().map(Self)
    }
}

impl Identified for JobId {
    const PARAMETER: &'static str = "job_id";
    const UNKNOWN: &'static str = "Job not found";
}

impl OfWorkload for JobId {
    fn workload(self) -> WorkloadId {
        self.0
    }
}
