//! Ports that a process does not have: most functions launch nothing and fetch nobody's keys, and their roles would not let them.

use async_trait::async_trait;
use domain::{names::GithubName, ssh::PublicKey};

use crate::{Attempt, Fleet, FleetError, Order, People, PeopleError, PortError, Provisioned, Sighting, Tagged};

/// Answers everything with *not here*. That something asks it is a mistake in how a function was put together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Absent;

fn not_here(port: &str) -> PortError {
    PortError::Unavailable(format!("this function has no {port}"))
}

#[async_trait]
impl Fleet for Absent {
    async fn provision(&self, _: &Order) -> Result<Provisioned, FleetError> {
        Err(not_here("fleet").into())
    }

    async fn describe(&self, _: &Attempt) -> Result<Sighting, PortError> {
        Err(not_here("fleet"))
    }

    async fn terminate(&self, _: &Attempt) -> Result<(), PortError> {
        Err(not_here("fleet"))
    }

    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        Err(not_here("fleet"))
    }
}

#[async_trait]
impl People for Absent {
    async fn keys_of(&self, _: &GithubName) -> Result<Vec<PublicKey>, PeopleError> {
        Err(PeopleError::Unavailable("this function asks nobody".to_owned()))
    }
}
