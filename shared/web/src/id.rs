//! Ids in paths. A malformed id is an unknown id: nobody learns anything from the difference.

use std::{collections::HashMap, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use domain::WorkloadId;

use crate::Error;

/// Something that can stand in a path, and what is said when there is none.
pub trait Identified: FromStr {
    /// The parameter's name in the path.
    const PARAMETER: &'static str;
    /// What is said when there is no such thing.
    const UNKNOWN: &'static str;
}

/// An id that is a workload's, in a surface's own word for one: a job's, a pod's.
pub trait OfWorkload: Identified + Copy + Send + Sync {
    /// The workload's id.
    fn workload(self) -> WorkloadId;
}

/// A path's id.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: Identified> FromRequestParts<S> for Id<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let unknown = || Error::NotFound(T::UNKNOWN);
        let Path(names) =
            Path::<HashMap<String, String>>::from_request_parts(parts, state).await.map_err(|_unreadable| unknown())?;
        names.get(T::PARAMETER).and_then(|text| text.parse().ok()).map(Self).ok_or_else(unknown)
    }
}
