//! The pattern of every action upon a workload: read, decide, write, and again if somebody else was faster.

use std::future::Future;

use domain::{Timestamp, Workload, WorkloadId};
use store::{Plane, StoreError};

use crate::{Error, Member};

/// How often an action is decided anew before its caller is told to try again.
const ATTEMPTS: u32 = 5;

/// Reads the member's workload, lets `decide` decide and write, and begins again when the workload was changed in between.
///
/// An unknown workload and somebody else's look the same (trap T1).
///
/// # Errors
/// What `decide` refuses, or [`Error::NotFound`].
pub async fn act<T, F>(
    plane: &Plane,
    member: &Member,
    id: WorkloadId,
    decide: impl Fn(Workload, Timestamp) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, ActError>>,
{
    let mut last = Error::from(StoreError::Moved);
    for _ in 0..ATTEMPTS {
        let workload = owned(plane, member, id).await?;
        match decide(workload, plane.ports.clock.now()).await {
            Ok(done) => return Ok(done),
            Err(ActError::Store(StoreError::Moved)) => last = StoreError::Moved.into(),
            Err(ActError::Store(error)) => return Err(error.into()),
            Err(ActError::Refused(error)) => return Err(error),
        }
    }
    Err(last)
}

/// The member's own workload.
///
/// # Errors
/// [`Error::NotFound`] when there is none of that id, or it is somebody else's.
pub async fn owned(plane: &Plane, member: &Member, id: WorkloadId) -> Result<Workload, Error> {
    let found = plane.store.workload(&member.tenant, id).await?;
    found.filter(|workload| workload.owner == member.user).ok_or(Error::NotFound("Job not found"))
}

/// Why an action was not done.
#[derive(Debug)]
pub enum ActError {
    /// The store objected; [`StoreError::Moved`] means that it is to be decided anew.
    Store(StoreError),
    /// A rule said no.
    Refused(Error),
}

impl From<StoreError> for ActError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<domain::Refusal> for ActError {
    fn from(refusal: domain::Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Error> for ActError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<cloud::VaultError> for ActError {
    fn from(error: cloud::VaultError) -> Self {
        Self::Refused(error.into())
    }
}
