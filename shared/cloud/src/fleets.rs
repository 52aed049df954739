//! Several fleets as one.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use domain::{PoolId, credential::CloudKeys};

use crate::{Attempt, Fleet, FleetError, Order, PortError, Provisioned, Sighting, Tagged};

/// The fleets of an installation, by the first part of their pools' names: the pool `ec2/a10g` is the fleet's that is called `ec2`.
#[derive(Clone, Default)]
pub struct Fleets(BTreeMap<&'static str, Arc<dyn Fleet>>);

impl Fleets {
    /// No fleet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the fleet whose pools' names begin with `name` and a slash.
    #[must_use]
    pub fn with(mut self, name: &'static str, fleet: Arc<dyn Fleet>) -> Self {
        self.0.insert(name, fleet);
        self
    }

    fn of(&self, pool: &PoolId) -> Option<&Arc<dyn Fleet>> {
        self.0.get(pool.as_str().split('/').next()?)
    }

    /// A pool whose fleet is not set up any more may still run something, so nothing is concluded.
    fn asked(&self, attempt: &Attempt) -> Result<&Arc<dyn Fleet>, PortError> {
        let missing = || PortError::Unavailable(format!("the fleet of {} is not set up", attempt.pool));
        self.of(&attempt.pool).ok_or_else(missing)
    }
}

#[async_trait]
impl Fleet for Fleets {
    async fn provision(&self, order: &Order) -> Result<Provisioned, FleetError> {
        let missing = || FleetError::Refused(format!("nothing here runs what {} offers", order.pool));
        self.of(&order.pool).ok_or_else(missing)?.provision(order).await
    }

    async fn describe(&self, attempt: &Attempt) -> Result<Sighting, PortError> {
        self.asked(attempt)?.describe(attempt).await
    }

    async fn terminate(&self, attempt: &Attempt) -> Result<(), PortError> {
        self.asked(attempt)?.terminate(attempt).await
    }

    /// What those fleets list that answer: an outage of one must not keep another's machines running. When none answers, that is an error.
    async fn list(&self) -> Result<Vec<Tagged>, PortError> {
        let (mut listed, mut answered, mut failed) = (Vec::new(), self.0.is_empty(), None);
        for (name, fleet) in &self.0 {
            match fleet.list().await {
                Ok(theirs) => {
                    listed.extend(theirs);
                    answered = true;
                }
                Err(error) => {
                    tracing::warn!(fleet = name, %error, "fleet.not_listed");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if !answered => Err(error),
            _ => Ok(listed),
        }
    }

    fn in_account(&self, keys: &CloudKeys) -> Arc<dyn Fleet> {
        Arc::new(Self(self.0.iter().map(|(name, fleet)| (*name, fleet.in_account(keys))).collect()))
    }
}
