//! A member's own workloads: to be read, and to be acted upon.

use std::future::Future;

use domain::{Timestamp, Workload};
use store::{Plane, workloads::Write};

use crate::{Error, Member, id::OfWorkload};

/// Decides upon the member's workload and writes what was decided ([`Plane::decide`]).
///
/// An unknown workload and somebody else's look the same (trap T1).
///
/// # Errors
/// What `decide` refuses, or [`Error::NotFound`].
pub async fn act<I: OfWorkload, T, F>(
    plane: &Plane,
    member: &Member,
    id: I,
    decide: impl Fn(Workload, Timestamp) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<(Write, T), Error>>,
{
    let decide = &decide;
    plane
        .decide((&member.tenant, id.workload()), |workload, now| async move {
            let workload = owned::<I>(workload, member)?;
            let (write, answer) = decide(workload, now).await?;
            Ok((Some(write), answer))
        })
        .await
}

fn owned<I: OfWorkload>(workload: Option<Workload>, member: &Member) -> Result<Workload, Error> {
    workload.filter(|workload| workload.owner == member.user).ok_or(Error::NotFound(I::UNKNOWN))
}

/// The member's own workload, to be read.
///
/// # Errors
/// [`Error::NotFound`] when there is none of that id, or it is somebody else's.
pub async fn read<I: OfWorkload>(plane: &Plane, member: &Member, id: I) -> Result<Workload, Error> {
    owned::<I>(plane.store.workload(&member.tenant, id.workload()).await?, member)
}
